//! Authority only shrinks: nothing that is taken away can let more happen.

use casemate_model::{ControlName, IsolationTier, Limits, RunMode, SideEffect, Strength};
use casemate_policy::Verdict;
use proptest::{
    prelude::*,
    sample::{select, subsequence},
};

use crate::build::Case;

const TOOLS: &[&str] = &["python", "shell", "mail"];
const SCOPES: &[&str] = &["code:execute", "files:read", "mail:send"];

/// Mostly the usual value, sometimes any other.
fn weighted<T: Clone + std::fmt::Debug + 'static>(
    usual: T,
    any: &[T],
) -> impl Strategy<Value = T> + use<T> {
    prop_oneof![3 => Just(usual), 1 => select(any.to_vec())]
}

prop_compose! {
    /// A request that is often allowed, sometimes held, and denied for many reasons.
    fn case()(
        tool in select(TOOLS),
        allowed in subsequence(TOOLS, 2..=3),
        approval in subsequence(TOOLS, 0..=1),
        scopes in subsequence(SCOPES, 2..=3),
        tool_scope in proptest::option::of(select(SCOPES)),
        side_effect in select(SideEffect::ALL),
        mode in weighted(RunMode::Autonomous, RunMode::ALL),
        key in proptest::option::weighted(0.8, Just("key")),
        destination in proptest::option::weighted(0.3, select(&["a.example.com", "evil.org"][..])),
        tier in weighted(IsolationTier::Namespace, IsolationTier::ALL),
        given in weighted(IsolationTier::Vm, IsolationTier::ALL),
        asked_ms in 1_u64..60,
        given_ms in 40_u64..100,
        tenants in weighted(vec!["local", "other"], &[vec!["local"], vec!["other"]]),
    ) -> Case {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let mut case = Case::run();
        case.profile.tools.allowed = owned(&allowed);
        case.profile.tools.approval_required = owned(&approval);
        case.profile.tools.scopes = tool_scope
            .map(|scope| (tool.to_owned(), scope.to_owned()))
            .into_iter()
            .collect();
        case.profile.identity.allowed_tenants = owned(&tenants);
        case.profile.sandbox.network.allowed_domains =
            crate::build::domains("*.example.com");
        case.profile.sandbox.tier = tier;
        case.profile.sandbox.limits.wall_ms = given_ms;
        case.claims.scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        case.call.tool = tool.to_owned();
        case.call.side_effect = side_effect;
        case.call.idempotency_key = key.map(str::to_owned);
        case.call.destination = destination.map(str::to_owned);
        case.call.limits = Limits { wall_ms: asked_ms, ..case.profile.sandbox.limits };
        case.isolation.tier = given;
        case.mode = mode;
        case
    }
}

type Narrowing = (&'static str, fn(&mut Case, usize));

/// Each takes something away; the number says which.
const NARROWINGS: &[Narrowing] = &[
    ("a scope of the caller", |case, nth| {
        let scope = case
            .claims
            .scopes
            .iter()
            .nth(nth % case.claims.scopes.len())
            .cloned();
        case.claims.scopes.remove(&scope.unwrap());
    }),
    ("a tool", |case, nth| {
        let tool = TOOLS[nth % TOOLS.len()];
        case.profile.tools.allowed.retain(|name| name != tool);
        case.profile
            .tools
            .approval_required
            .retain(|name| name != tool);
    }),
    ("a tool's freedom from approval", |case, nth| {
        let tool = TOOLS[nth % TOOLS.len()].to_owned();
        if case.profile.tools.allowed.contains(&tool) {
            case.profile.tools.approval_required.push(tool);
        }
    }),
    ("a tool's freedom from scopes", |case, nth| {
        let scope = SCOPES[nth % SCOPES.len()].to_owned();
        case.profile.identity.required_scopes.push(scope);
    }),
    ("the run mode", |case, nth| {
        case.mode = *RunMode::ALL
            .iter()
            .filter(|mode| **mode <= case.mode)
            .nth(nth % 2)
            .unwrap_or(&case.mode);
    }),
    ("time", |case, nth| {
        let limit = &mut case.profile.sandbox.limits.wall_ms;
        *limit = (*limit / 2).max(1 + nth as u64 % 2).min(*limit);
    }),
    ("every destination", |case, _| {
        case.profile.sandbox.network.allowed_domains.clear()
    }),
    ("a tenant", |case, nth| {
        let tenants = &mut case.profile.identity.allowed_tenants;
        tenants.remove(nth % tenants.len());
    }),
    ("an issuer", |case, _| {
        case.profile.identity.allowed_issuers.clear()
    }),
    ("a weaker boundary", |case, _| {
        case.profile.sandbox.tier = IsolationTier::Vm
    }),
    ("a control that is enforced", |case, nth| {
        let nth = nth % case.isolation.controls.len();
        case.isolation.controls[nth].strength = Strength::Partial;
    }),
    ("a control that need not be enforced", |case, _| {
        case.profile.sandbox.require = ControlName::ALL.to_vec();
    }),
    ("the idempotency key", |case, _| {
        case.call.idempotency_key = None
    }),
    ("life", |case, _| case.claims.expires_at_ms = 0),
    ("variables", |case, _| {
        case.profile.sandbox.environment = Some(Vec::new())
    }),
    ("input types", |case, _| {
        case.profile.sandbox.input_file_types = Some(Vec::new())
    }),
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// DESIGN §2.2: any narrowing, and any second one after it, gives a verdict that lets no more happen.
    #[test]
    fn less_authority_never_lets_more_happen(
        case in case(),
        first in 0..NARROWINGS.len(),
        second in 0..NARROWINGS.len(),
        nth in 0_usize..12,
    ) {
        let mut narrower = case.clone();
        let mut engine = case.engine();
        let mut before = engine.judge(&case.inputs(&engine)).verdict;
        for (what, narrow) in [NARROWINGS[first], NARROWINGS[second]] {
            if narrower.claims.scopes.is_empty() || narrower.profile.identity.allowed_tenants.is_empty() {
                break;
            }
            let profile = format!("{:?}", narrower.profile);
            narrow(&mut narrower, nth);
            // An engine is what takes long, and most that is taken away is not the profile's.
            if format!("{:?}", narrower.profile) != profile {
                engine = narrower.engine();
            }
            let after = engine.judge(&narrower.inputs(&engine));
            prop_assert!(after.verdict <= before, "without {what}: {after:?}");
            before = after.verdict;
        }
    }
}

/// The property above would hold of cases that are all denied, so count them.
#[test]
fn the_cases_are_allowed_held_and_denied() {
    use proptest::{strategy::ValueTree, test_runner::TestRunner};
    let mut runner = TestRunner::deterministic();
    let mut seen = [0; 3];
    for _ in 0..250 {
        let verdict = case()
            .new_tree(&mut runner)
            .unwrap()
            .current()
            .decide()
            .verdict;
        seen[match verdict {
            Verdict::Deny => 0,
            Verdict::Hold => 1,
            Verdict::Allow => 2,
        }] += 1;
    }
    assert!(seen.iter().all(|count| *count >= 5), "{seen:?}");
}
