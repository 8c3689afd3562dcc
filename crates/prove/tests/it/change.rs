//! What a change of policies permits.

use casemate_prove::{Change, compare};
use cedar_policy::Decision;

use crate::fixture::{decide, good, good_and, good_with, schema, set, solver};

/// I13: what is newly permitted is shown, for each action, by a request that the old policies deny.
#[tokio::test]
async fn a_widening_is_shown_by_example() {
    let wide = good_with(
        r#"["https://identity.example.com"]"#,
        r#"["https://identity.example.com", "https://other.example.com"]"#,
    );
    let change = compare(&schema(), &good(), &wide, &mut solver().await)
        .await
        .unwrap();
    let Change::Wider(examples) = change else {
        panic!("{change:?}");
    };
    let actions: Vec<_> = examples.iter().map(|one| one.action.as_str()).collect();
    assert_eq!(
        actions,
        ["draft", "external_send", "read", "write"].map(|a| format!("Casemate::Action::{a:?}"))
    );
    for example in &examples {
        assert_eq!(
            example.context["token"]["issuer"],
            "https://other.example.com"
        );
        assert_eq!(decide(example, &good()), Decision::Deny);
        assert_eq!(decide(example, &wide), Decision::Allow);
    }
}

/// The same from the other side, and a set that only looks different.
#[tokio::test]
async fn narrower_and_equal_are_told_apart() {
    let (schema, mut solver) = (schema(), solver().await);
    let narrow =
        good_and(r#"forbid(principal, action, resource) when { context.labels.untrusted };"#);
    let narrower = compare(&schema, &good(), &narrow, &mut solver)
        .await
        .unwrap();
    assert_eq!(narrower, Change::Narrower);
    let wider = compare(&schema, &narrow, &good(), &mut solver)
        .await
        .unwrap();
    assert!(matches!(wider, Change::Wider(_)), "{wider:?}");

    let same = good_and(
        r#"permit(principal in Casemate::Route::"support", action == Casemate::Action::"read", resource == Casemate::Tool::"mail.send");
           forbid(principal, action, resource) when { context.now_ms > context.token.expires_at_ms };"#,
    );
    let equal = compare(&schema, &good(), &same, &mut solver).await.unwrap();
    assert_eq!(equal, Change::Equal);
    let equal = compare(&schema, &set(""), &set(""), &mut solver)
        .await
        .unwrap();
    assert_eq!(equal, Change::Equal);
}

/// One that takes something away and permits something else is wider.
#[tokio::test]
async fn an_exchange_is_a_widening() {
    let exchanged = good_with(
        r#"Casemate::Tool::"mail.send""#,
        r#"Casemate::Tool::"mail.read""#,
    );
    let change = compare(&schema(), &good(), &exchanged, &mut solver().await)
        .await
        .unwrap();
    let Change::Wider(examples) = change else {
        panic!("{change:?}");
    };
    for example in examples {
        assert_eq!(example.resource, r#"Casemate::Tool::"mail.read""#);
    }
}
