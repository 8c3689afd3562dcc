//! Claims about one policy.

use casemate_prove::{ProveError, Verdict, matches_nothing, never_errors};
use cedar_policy::Policy;

use crate::fixture::{good, schema, solver, violation};

fn policy(text: &str) -> Policy {
    Policy::parse(None, text).unwrap()
}

/// No policy of the good set is dead or can fail.
#[tokio::test]
async fn the_good_set_is_alive_and_sound() {
    let (schema, good, mut solver) = (schema(), good(), solver().await);
    for policy in good.policies() {
        let verdict = matches_nothing(&schema, policy, &mut solver).await.unwrap();
        let id = policy.id().to_string();
        assert_eq!(violation(&verdict).determined_by, [id], "{policy}");
        let verdict = never_errors(&schema, policy, &mut solver).await.unwrap();
        assert_eq!(verdict, Verdict::Proved, "{policy}");
    }
}

#[tokio::test]
async fn a_dead_policy_is_found() {
    let (schema, mut solver) = (schema(), solver().await);
    for dead in [
        r#"permit(principal, action, resource) when { context.mode == "review" && context.mode == "autonomous" };"#,
        "permit(principal, action, resource) when { context.now_ms < 0 && context.now_ms > 10 };",
        r#"forbid(principal, action == Casemate::Action::"read", resource) when { action == Casemate::Action::"write" };"#,
        r#"forbid(principal, action, resource) when { principal in Casemate::Route::"a" && principal.tenant == Casemate::Tenant::"t" && principal.tenant == Casemate::Tenant::"u" };"#,
    ] {
        let verdict = matches_nothing(&schema, &policy(dead), &mut solver)
            .await
            .unwrap();
        assert_eq!(verdict, Verdict::Proved, "{dead}");
    }
}

#[tokio::test]
async fn a_policy_that_can_fail_is_found() {
    let overflows = policy(
        "forbid(principal, action, resource) when { context.now_ms + 1 > context.token.expires_at_ms };",
    );
    let verdict = never_errors(&schema(), &overflows, &mut solver().await)
        .await
        .unwrap();
    let example = violation(&verdict);
    assert_eq!(example.context["now_ms"], i64::MAX);
    assert!(
        example.errors[0].contains("overflow"),
        "{:?}",
        example.errors
    );
}

/// A policy that the schema does not know is no dead policy.
#[tokio::test]
async fn a_policy_that_does_not_fit_is_an_error() {
    let stranger = policy(r#"permit(principal == User::"alice", action, resource);"#);
    let error = matches_nothing(&schema(), &stranger, &mut solver().await)
        .await
        .unwrap_err();
    assert!(matches!(error, ProveError::Schema { .. }), "{error:?}");
}
