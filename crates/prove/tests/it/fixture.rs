//! A schema, a set of policies as a profile would be compiled to, and theorems about it.

use std::str::FromStr;

use casemate_prove::{Counterexample, Solver, Theorem, Verdict};
use cedar_policy::{
    Authorizer, Context, Decision, Entities, EntityUid, PolicySet, Request, Schema,
};

const SCHEMA: &str = include_str!("../policies/schema.cedarschema");
/// What holds for every route, and one route with five tools: 20 policies.
const GOOD: &str = include_str!("../policies/good.cedar");

pub(crate) const APPROVAL: &str = "approval";
pub(crate) const TENANT: &str = "tenant";
pub(crate) const SCOPE: &str = "scope";
pub(crate) const READ_ONLY: &str = "read only";
pub(crate) const DESTINATION: &str = "destination";

pub(crate) fn schema() -> Schema {
    Schema::from_cedarschema_str(SCHEMA).unwrap().0
}

pub(crate) fn set(text: &str) -> PolicySet {
    PolicySet::from_str(text).unwrap()
}

pub(crate) fn good() -> PolicySet {
    set(GOOD)
}

/// The good set, and one policy more.
pub(crate) fn good_and(policy: &str) -> PolicySet {
    set(&format!("{GOOD}\n{policy}"))
}

/// The good set with one piece of text replaced.
pub(crate) fn good_with(from: &str, to: &str) -> PolicySet {
    assert_eq!(GOOD.matches(from).count(), 1, "{from}");
    set(&GOOD.replace(from, to))
}

pub(crate) async fn solver() -> Solver {
    Solver::find(None)
        .await
        .unwrap_or_else(|why| panic!("{why}"))
}

pub(crate) fn theorems() -> Vec<Theorem> {
    let theorem = |name: &str, says: &str, guard: &str| Theorem {
        name: name.to_owned(),
        says: says.to_owned(),
        guard: guard.to_owned(),
    };
    vec![
        theorem(
            APPROVAL,
            "nothing is written or sent without an unexpired approval of this very call",
            r#"permit(principal, action in [Casemate::Action::"read", Casemate::Action::"draft"], resource);
               permit(principal, action in [Casemate::Action::"write", Casemate::Action::"external_send"], resource)
               when { context has approval && context.approval.action_hash == context.action_hash
                      && context.now_ms < context.approval.expires_at_ms };"#,
        ),
        theorem(
            TENANT,
            "the token's tenant is the caller's",
            "permit(principal, action, resource) when { context.token.tenant == principal.tenant };",
        ),
        theorem(
            SCOPE,
            "a tool's scopes are in the token, and in what was delegated",
            "permit(principal, action, resource)
             when { context.token.scopes.containsAll(resource.scopes) }
             when { if context has delegated then context.delegated.containsAll(resource.scopes) else true };",
        ),
        theorem(
            READ_ONLY,
            "a read-only call has no side effect",
            r#"permit(principal, action == Casemate::Action::"read", resource);
               permit(principal, action, resource) unless { context.mode == "read_only" };"#,
        ),
        theorem(
            DESTINATION,
            "private, metadata and unknown destinations are never allowed",
            r#"permit(principal, action, resource) unless { context has destination };
               permit(principal, action, resource) when { context has destination
                   && context.destination.reach == "public" && context.destination.class != "unknown" };"#,
        ),
    ]
}

pub(crate) fn theorem(name: &str) -> Theorem {
    let mut theorems = theorems().into_iter();
    theorems.find(|theorem| theorem.name == name).unwrap()
}

#[track_caller]
pub(crate) fn violation(verdict: &Verdict) -> &Counterexample {
    match verdict {
        Verdict::Violated(example) => example,
        other => panic!("{other:?}"),
    }
}

/// Decides a counterexample again from its text, as somebody would who does not trust the crate.
pub(crate) fn decide(example: &Counterexample, policies: &PolicySet) -> Decision {
    let uid = |text: &str| text.parse::<EntityUid>().unwrap();
    let (schema, action) = (schema(), uid(&example.action));
    let context =
        Context::from_json_value(example.context.clone(), Some((&schema, &action))).unwrap();
    let request = Request::new(
        uid(&example.principal),
        action,
        uid(&example.resource),
        context,
        Some(&schema),
    );
    let entities = Entities::from_json_value(example.entities.clone(), Some(&schema)).unwrap();
    let response = Authorizer::new().is_authorized(&request.unwrap(), policies, &entities);
    response.decision()
}
