//! The engine and the oracle give the same answer to whatever is asked.

use std::{collections::BTreeMap, sync::OnceLock};

use casemate_model::Reason;
use casemate_policy::{Engine, Verdict};
use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};

use crate::{
    oracle,
    worlds::{Question, alone, bundles, compile, question},
};

/// Bundles, and profiles by themselves.
fn engines() -> &'static [Engine] {
    static ENGINES: OnceLock<Vec<Engine>> = OnceLock::new();
    ENGINES.get_or_init(|| {
        let bundles = bundles(16);
        let compiled = bundles.iter().map(|parts| compile(parts, &[]).unwrap());
        compiled.chain(alone(16)).collect()
    })
}

/// What the oracle says, if the engine has the route.
fn expected(engine: &Engine, question: &Question) -> (Verdict, Reason) {
    let inputs = question.inputs(engine);
    engine
        .profile(&inputs.route)
        .map_or((Verdict::Deny, Reason::InvalidCall), |profile| {
            oracle::judge(profile, &|tool| engine.manifest(tool), &inputs)
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    /// R123–R135, R137, R138: two independent implementations agree on the verdict and on its reason.
    #[test]
    fn engine_and_oracle_agree(nth in 0_usize..32, question in question()) {
        let engine = &engines()[nth];
        let inputs = question.inputs(engine);
        let decision = engine.judge(&inputs);
        prop_assert_eq!(
            (decision.verdict, decision.reason),
            expected(engine, &question),
            "{:?}\n{:?}\n{:#?}", decision, inputs, engine.profile(&inputs.route)
        );
        let last = decision.checks.last().unwrap();
        prop_assert_eq!(last.passed, decision.verdict == Verdict::Allow);
        prop_assert!(!decision.detail.is_empty() && !decision.detail.contains('\n'));
    }
}

/// Agreement on questions that are all denied for one reason would be worth nothing, so count them.
#[test]
fn the_questions_have_every_answer() {
    let mut runner = TestRunner::deterministic();
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for nth in 0..6_000 {
        let question = question().new_tree(&mut runner).unwrap().current();
        let (_, reason) = expected(&engines()[nth % 32], &question);
        *seen.entry(reason.as_str()).or_default() += 1;
    }
    for reason in [
        "allowed",
        "approval_required",
        "untrusted_issuer",
        "invalid_call",
        "limit_exceeded",
        "expired_token",
        "wrong_audience",
        "tenant_boundary",
        "missing_scope",
        "tier_exceeded",
        "missing_idempotency_key",
        "egress_denied",
        "budget_exhausted",
        "isolation_unavailable",
    ] {
        assert!(
            seen.get(reason).is_some_and(|count| *count >= 10),
            "{reason}: {seen:?}"
        );
    }
}
