//! Theorems hold on the good set, and fall with a replayed counterexample on a careless one.

use casemate_prove::{ProveError, Theorem, Verdict, prove};
use cedar_policy::{Decision, Schema};

use crate::fixture::{
    APPROVAL, DESTINATION, READ_ONLY, SCOPE, TENANT, decide, good, good_and, good_with, schema,
    set, solver, theorem, theorems, violation,
};

/// I13: the theorems hold for the good set.
#[tokio::test]
async fn every_theorem_holds_for_the_good_set() {
    let proofs = prove(&schema(), &good(), &theorems(), &mut solver().await)
        .await
        .unwrap();
    assert_eq!(good().num_of_policies(), 20);
    assert_eq!(proofs.len(), 5);
    for proof in proofs {
        println!("{}: {} ms", proof.theorem.name, proof.took_ms);
        assert_eq!(proof.verdict, Verdict::Proved, "{}", proof.theorem.name);
    }
}

/// A careless `permit` cannot beat a `forbid` for every route, but it does beat the one that belongs to a route.
#[tokio::test]
async fn a_careless_permit_is_found_and_shown() {
    let careless = good_and("permit(principal, action, resource);");
    let proofs = prove(&schema(), &careless, &theorems(), &mut solver().await)
        .await
        .unwrap();
    for proof in &proofs {
        println!("{}: {} ms", proof.theorem.name, proof.took_ms);
        if proof.theorem.name != APPROVAL {
            assert_eq!(proof.verdict, Verdict::Proved, "{}", proof.theorem.name);
            continue;
        }
        let example = violation(&proof.verdict);
        assert_eq!(example.decision, Decision::Allow);
        assert_eq!(example.determined_by, ["policy20"]);
        assert!(example.errors.is_empty(), "{:?}", example.errors);
        assert_eq!(decide(example, &careless), Decision::Allow);
        assert_eq!(decide(example, &set(&proof.theorem.guard)), Decision::Deny);
        assert_eq!(decide(example, &good()), Decision::Deny);
    }
}

/// Each theorem falls when the policy that it stands on is weakened, and only then.
#[tokio::test]
async fn a_weakened_forbid_is_found_and_shown() {
    let weakenings = [
        (
            APPROVAL,
            "context.approval.expires_at_ms > context.now_ms };",
            "context.approval.expires_at_ms > 0 };",
        ),
        (
            APPROVAL,
            "context.approval.action_hash == context.action_hash && ",
            "",
        ),
        (
            TENANT,
            "context.token.tenant == principal.tenant && principal in context.token.tenant",
            "principal in context.token.tenant",
        ),
        (
            SCOPE,
            "context.token.scopes.containsAll(resource.scopes) };",
            "context.token.scopes.containsAny(resource.scopes) };",
        ),
        (
            SCOPE,
            "unless { context.delegated.containsAll(resource.scopes) };",
            "unless { context.delegated.contains(\"*\") };",
        ),
        (
            READ_ONLY,
            r#"context.mode == "read_only" && action != Casemate::Action::"read""#,
            r#"context.mode == "read_only" && action == Casemate::Action::"write""#,
        ),
        (
            DESTINATION,
            r#"context.destination.reach != "public""#,
            r#"context.destination.reach == "private""#,
        ),
        (
            DESTINATION,
            r#"context.destination.class == "unknown" || "#,
            "",
        ),
    ];
    let (schema, mut solver) = (schema(), solver().await);
    for (broken, from, to) in weakenings {
        let weak = good_with(from, to);
        for proof in prove(&schema, &weak, &theorems(), &mut solver)
            .await
            .unwrap()
        {
            let name = &proof.theorem.name;
            if name == broken {
                let example = violation(&proof.verdict);
                assert_eq!(decide(example, &weak), Decision::Allow, "{name}");
                assert_eq!(decide(example, &set(&proof.theorem.guard)), Decision::Deny);
                assert_eq!(decide(example, &good()), Decision::Deny, "{name}");
            } else {
                assert_eq!(proof.verdict, Verdict::Proved, "{name} after {to:?}");
            }
        }
    }
}

/// A guard that allows nothing is violated by anything that is allowed: the good set is not empty.
#[tokio::test]
async fn nothing_is_proved_by_an_empty_set() {
    let nothing = Theorem {
        guard: String::new(),
        ..theorem(TENANT)
    };
    let proofs = prove(&schema(), &good(), &[nothing], &mut solver().await)
        .await
        .unwrap();
    let example = violation(&proofs[0].verdict);
    assert_eq!(decide(example, &good()), Decision::Allow);
}

#[tokio::test]
async fn a_guard_that_is_wrong_is_an_error() {
    let (schema, good, mut solver) = (schema(), good(), solver().await);
    let mut with = async |guard: &str| {
        let guarded = Theorem {
            guard: guard.to_owned(),
            ..theorem(TENANT)
        };
        prove(&schema, &good, &[guarded], &mut solver).await
    };
    let error = with("permit(principal, action").await.unwrap_err();
    assert!(matches!(error, ProveError::Guard { .. }), "{error:?}");
    let error = with("permit(principal, action, resource) when { context.tenant };")
        .await
        .unwrap_err();
    assert!(matches!(error, ProveError::Schema { .. }), "{error:?}");
    assert!(error.to_string().contains("tenant"), "{error}");
}

/// In a schema without requests every claim would hold.
#[tokio::test]
async fn an_empty_schema_proves_nothing() {
    let (empty, _) = Schema::from_cedarschema_str("entity User;").unwrap();
    let error = prove(&empty, &set(""), &theorems(), &mut solver().await)
        .await
        .unwrap_err();
    assert!(matches!(error, ProveError::NoRequests), "{error:?}");
}
