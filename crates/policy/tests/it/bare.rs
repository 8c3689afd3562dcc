//! Bare Cedar: every policy of an engine, and a request that is built by its public constructors and validated.

use std::collections::BTreeSet;

use casemate_model::{ControlName, IsolationTier, Strength};
use casemate_policy::{Engine, Inputs};
use cedar_policy::{
    Authorizer, Context, Decision, EntityId, EntityTypeName, EntityUid, Request,
    RestrictedExpression,
};

type Field = (String, RestrictedExpression);

/// Cedar's answer, and the policies that made it so.
pub(crate) fn ask(engine: &Engine, inputs: &Inputs) -> (Decision, BTreeSet<String>) {
    let offer = [inputs.wish.name(), "*"]
        .map(|name| uid("Offer", &format!("{}/{name}", inputs.route)))
        .into_iter()
        .find(|offer| engine.entities().get(offer).is_some());
    let request = Request::new(
        uid("User", &inputs.user),
        uid("Action", inputs.side_effect.as_str()),
        offer.unwrap(),
        context(inputs),
        Some(engine.schema()),
    )
    .unwrap();
    let answer = Authorizer::new().is_authorized(&request, engine.policies(), engine.entities());
    assert_eq!(answer.diagnostics().errors().count(), 0);
    let reason = answer.diagnostics().reason().map(ToString::to_string);
    (answer.decision(), reason.collect())
}

fn uid(kind: &str, id: &str) -> EntityUid {
    let kind: EntityTypeName = format!("Casemate::{kind}").parse().unwrap();
    EntityUid::from_type_name_and_id(kind, EntityId::new(id))
}

fn entity(kind: &str, id: &str) -> RestrictedExpression {
    RestrictedExpression::new_entity_uid(uid(kind, id))
}

fn text(text: &str) -> RestrictedExpression {
    RestrictedExpression::new_string(text.to_owned())
}

fn texts(all: &BTreeSet<String>) -> RestrictedExpression {
    RestrictedExpression::new_set(all.iter().map(|one| text(one)))
}

fn number(number: u64) -> RestrictedExpression {
    RestrictedExpression::new_long(i64::try_from(number).unwrap_or(i64::MAX))
}

fn flag(flag: bool) -> RestrictedExpression {
    RestrictedExpression::new_bool(flag)
}

fn fields<const N: usize>(fields: [(&str, RestrictedExpression); N]) -> Vec<Field> {
    fields.map(|(name, value)| (name.to_owned(), value)).into()
}

fn record<const N: usize>(all: [(&str, RestrictedExpression); N]) -> RestrictedExpression {
    RestrictedExpression::new_record(fields(all)).unwrap()
}

fn context(inputs: &Inputs) -> Context {
    let hash = inputs.action_hash.map(|hash| hash.to_string());
    let token = &inputs.token;
    let mut all = fields([
        ("agent", entity("Agent", &inputs.agent)),
        ("tenant", entity("Tenant", &inputs.tenant)),
        (
            "token",
            record([
                ("issuer", text(&token.issuer)),
                ("audience", text(&token.audience)),
                ("tenant", entity("Tenant", &token.tenant)),
                ("scopes", texts(&token.scopes)),
                ("expires_at_ms", number(token.expires_at_ms)),
            ]),
        ),
        ("mode", text(inputs.mode.as_str())),
        ("now_ms", number(inputs.now_ms)),
        ("idempotency_key", flag(inputs.idempotency_key)),
        ("action_hash", text(&hash.unwrap_or_default())),
    ]);
    let mut add = |name: &str, value| all.push((name.to_owned(), value));
    if let Some(delegated) = &inputs.delegated {
        add("delegated", texts(delegated));
    }
    if let Some(to) = &inputs.destination {
        let host = ("host", text(&to.host));
        let class = ("class", text(to.class.as_str()));
        add(
            "destination",
            record([host, class, ("reach", text(to.reach.as_str()))]),
        );
    }
    if let Some(approval) = &inputs.approval {
        let hash = ("action_hash", text(&approval.action_hash.to_string()));
        let approver = ("approver", entity("User", &approval.approver));
        let end = ("expires_at_ms", number(approval.expires_at_ms));
        add("approval", record([hash, approver, end]));
    }
    if let Some(labels) = inputs.labels {
        let private = ("private", flag(labels.private));
        add(
            "labels",
            record([private, ("untrusted", flag(labels.untrusted))]),
        );
    }
    if let Some(budget) = inputs.budget {
        add("budget", record([("left", number(budget.left))]));
    }
    if let Some(isolation) = &inputs.isolation {
        let tier = match isolation.tier {
            IsolationTier::Namespace => 0,
            IsolationTier::Gvisor => 1,
            IsolationTier::Vm => 2,
        };
        let controls = ControlName::ALL.iter().map(|control| {
            let enforced = isolation.strength(*control) == Strength::Enforced;
            (control.as_str().to_owned(), flag(enforced))
        });
        let all = controls.chain(fields([("tier", number(tier))]));
        add("sandbox", RestrictedExpression::new_record(all).unwrap());
    }
    Context::from_pairs(all).unwrap()
}
