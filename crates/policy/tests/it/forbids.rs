//! Policies that narrow: bare Cedar over all of them gives the same answer, and none ever widens.

use std::{collections::BTreeSet, sync::OnceLock};

use casemate_model::{IsolationTier, Reason, RunMode};
use casemate_policy::{Budget, Engine, Inputs, Manifest, Profile, Verdict};
use cedar_policy::Decision as Answer;
use proptest::{prelude::*, sample::select, strategy::ValueTree, test_runner::TestRunner};

use crate::{
    bare, directory,
    worlds::{Question, TOOLS, USERS, bundles, compile, question},
};

const ACTIONS: &[&str] = &["read", "draft", "write", "external_send"];

/// What a scope can say of a principal, an action and a resource, each way of it.
fn scope() -> impl Strategy<Value = (String, String, String)> {
    let named = |kind: &'static str, names: &'static [&'static str]| {
        select(names).prop_map(move |name| format!("Casemate::{kind}::\"{name}\""))
    };
    let user = || named("User", USERS);
    let principal = prop_oneof![
        2 => Just("principal".to_owned()),
        1 => user().prop_map(|user| format!("principal == {user}")),
        1 => user().prop_map(|user| format!("principal in {user}")),
        1 => Just("principal is Casemate::User".to_owned()),
        1 => user().prop_map(|user| format!("principal is Casemate::User in {user}")),
    ];
    let action = || named("Action", ACTIONS);
    let action = prop_oneof![
        2 => Just("action".to_owned()),
        1 => action().prop_map(|action| format!("action == {action}")),
        1 => action().prop_map(|action| format!("action in {action}")),
        2 => proptest::collection::vec(action(), 1..=3)
            .prop_map(|actions| format!("action in [{}]", actions.join(", "))),
    ];
    let route = || named("Route", &["desk", "lab", "elsewhere"]);
    let tool = || named("Tool", TOOLS);
    let offer = || {
        named(
            "Offer",
            &[
                "desk/python",
                "desk/mail.send",
                "lab/shell",
                "lab/session.open",
                "desk/file.read",
                "desk/*",
            ],
        )
    };
    let resource = prop_oneof![
        1 => Just("resource".to_owned()),
        2 => route().prop_map(|route| format!("resource in {route}")),
        2 => tool().prop_map(|tool| format!("resource in {tool}")),
        2 => offer().prop_map(|offer| format!("resource == {offer}")),
        1 => offer().prop_map(|offer| format!("resource in {offer}")),
        1 => Just("resource is Casemate::Offer".to_owned()),
        1 => route().prop_map(|route| format!("resource is Casemate::Offer in {route}")),
        1 => tool().prop_map(|tool| format!("resource is Casemate::Offer in {tool}")),
    ];
    (principal, action, resource)
}

/// Conditions that hold of less the more is taken away.
const FALLING: &[&str] = &[
    "unless { context has approval && context.approval.action_hash == context.action_hash }",
    "when { context has labels && context.labels.untrusted }",
    "when { context has delegated }",
    "when { context.mode == \"read_only\" }",
    "unless { context.idempotency_key }",
    "unless { context.token.scopes.contains(\"mail\") }",
    "when { resource.private && context has labels && context.labels.private }",
];
/// Conditions that are no order at all.
const OTHER: &[&str] = &[
    "",
    "when { context.tenant == Casemate::Tenant::\"acme\" }",
    "when { context has approval }",
    "when { context.mode == \"autonomous\" }",
    "when { context has destination && context.destination.class == \"customer\" }",
    "when { context has sandbox && context.sandbox.tier < 2 }",
    "when { context has budget && context.budget.left < 10 }",
    "when { !resource.call }",
];

fn forbid(conditions: Vec<&'static str>) -> impl Strategy<Value = String> {
    (scope(), select(conditions)).prop_map(|((principal, action, resource), condition)| {
        format!("forbid ({principal}, {action}, {resource})\n{condition};\n")
    })
}

type Parts = (Vec<Profile>, Vec<Manifest>);

/// Engines of one bundle, each with more policies than the one before.
struct Ladder(Vec<Engine>);

fn ladders(count: usize, conditions: &[&'static str]) -> Vec<Ladder> {
    let mut runner = TestRunner::deterministic();
    let mut ladder = |parts: &Parts| {
        let mut policies = Vec::new();
        let mut steps = vec![compile(parts, &[]).unwrap()];
        // Cedar refuses some: a scope that can match nothing, for one.
        while steps.len() < 4 {
            let before = policies.len();
            for _ in 0..4 {
                let forbid = forbid(conditions.to_vec()).new_tree(&mut runner).unwrap();
                policies.push(forbid.current());
            }
            match compile(parts, &policies) {
                Some(engine) => steps.push(engine),
                None => policies.truncate(before),
            }
        }
        Ladder(steps)
    };
    bundles(count).iter().map(&mut ladder).collect()
}

/// Ladders of any policies.
fn any() -> &'static [Ladder] {
    static LADDERS: OnceLock<Vec<Ladder>> = OnceLock::new();
    LADDERS.get_or_init(|| ladders(6, &[OTHER, FALLING, &FALLING[..1], &FALLING[..1]].concat()))
}

/// Ladders of policies that forbid more when anything is taken away.
fn falling() -> &'static [Ladder] {
    static LADDERS: OnceLock<Vec<Ladder>> = OnceLock::new();
    LADDERS.get_or_init(|| ladders(4, FALLING))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Looking up by scope finds every policy that can match: the answer and the policies that made it are those of a full scan, of a
    /// request that was built and validated in another way.
    #[test]
    fn the_index_answers_as_a_full_scan(nth in 0_usize..6, step in 0_usize..4, question in question()) {
        let engine = &any()[nth].0[step];
        let inputs = question.inputs(engine);
        let decision = engine.judge(&inputs);
        if engine.profile(&inputs.route).is_none() {
            prop_assert_eq!(decision.verdict, Verdict::Deny);
            return Ok(());
        }
        let (answer, policies) = bare::ask(engine, &inputs);
        let allowed = answer == Answer::Allow && inputs.flaw.is_none();
        prop_assert_eq!(decision.verdict == Verdict::Allow, allowed, "{:?}\n{:?}", decision, inputs);
        if allowed {
            prop_assert_eq!(decision.policies.iter().cloned().collect::<BTreeSet<_>>(), policies);
        }
    }

    /// One more policy, or four, or twelve: nothing more happens.
    #[test]
    fn a_policy_never_lets_more_happen(nth in 0_usize..6, question in question()) {
        let mut before = Verdict::Allow;
        for engine in &any()[nth].0 {
            let decision = engine.judge(&question.inputs(engine));
            prop_assert!(decision.verdict <= before, "{before:?} became {decision:?}");
            before = decision.verdict;
        }
    }

    /// DESIGN §2.2: with anything taken from a question, and anything after that, nothing more happens.
    #[test]
    fn asking_with_less_never_lets_more_happen(
        (nth, step) in (0_usize..4, 0_usize..4),
        question in question(),
        less in proptest::collection::vec(0..LESS.len(), 1..=4),
    ) {
        let engine = &falling()[nth].0[step];
        let mut inputs = question.inputs(engine);
        let mut before = engine.judge(&inputs).verdict;
        for (what, take) in less.into_iter().map(|nth| LESS[nth]) {
            take(&mut inputs);
            let decision = engine.judge(&inputs);
            prop_assert!(decision.verdict <= before, "{what}: {before:?} became {decision:?}\n{inputs:?}");
            before = decision.verdict;
        }
    }
}

type Less = (&'static str, fn(&mut Inputs));

/// Each takes something from a question.
const LESS: &[Less] = &[
    ("a scope", |inputs| {
        inputs.token.scopes.pop_first();
    }),
    ("a part of the delegation", |inputs| {
        let all = inputs.token.scopes.clone();
        inputs.delegated.get_or_insert(all).pop_last();
    }),
    ("a mode", |inputs| {
        inputs.mode = match inputs.mode {
            RunMode::Autonomous => RunMode::Review,
            _ => RunMode::ReadOnly,
        };
    }),
    ("the approval", |inputs| inputs.approval = None),
    ("the approval's time", |inputs| {
        if let Some(approval) = &mut inputs.approval {
            approval.expires_at_ms = inputs.now_ms;
        }
    }),
    ("the call's innocence", |inputs| {
        inputs.labels.get_or_insert_default().untrusted = true;
    }),
    ("the call's emptiness", |inputs| {
        inputs.labels.get_or_insert_default().private = true;
    }),
    ("the idempotency key", |inputs| {
        inputs.idempotency_key = false
    }),
    ("the budget", |inputs| {
        inputs.budget = Some(Budget { left: 0 });
    }),
    ("the sandbox", |inputs| inputs.isolation = None),
    ("a weaker sandbox", |inputs| {
        if let Some(isolation) = &mut inputs.isolation {
            isolation.tier = IsolationTier::Namespace;
        }
    }),
    ("the time", |inputs| {
        inputs.token.expires_at_ms = inputs.now_ms
    }),
    ("the issuer", |inputs| inputs.token.issuer = String::new()),
    ("the tenant", |inputs| {
        inputs.tenant = "elsewhere".to_owned()
    }),
];

/// The properties above would hold of policies that never forbid, and of questions that are all denied.
#[test]
fn the_policies_decide() {
    let mut runner = TestRunner::deterministic();
    let (mut forbidden, mut turned, mut held) = (0, 0, 0);
    for nth in 0..2_000 {
        let question: Question = question().new_tree(&mut runner).unwrap().current();
        let steps = &any()[nth % 6].0;
        let verdicts: Vec<_> = steps
            .iter()
            .map(|engine| engine.judge(&question.inputs(engine)))
            .collect();
        let last = &verdicts[3];
        forbidden += usize::from(last.reason == Reason::PolicyForbids);
        turned +=
            usize::from(verdicts[0].verdict == Verdict::Allow && last.verdict == Verdict::Deny);
        held += usize::from(verdicts[0].verdict == Verdict::Allow && last.verdict == Verdict::Hold);
    }
    assert!(
        forbidden > 50 && turned > 50 && held > 5,
        "{forbidden} {turned} {held}"
    );
}

const MORE: &str = r#"
@id("no_approved_refunds")
forbid (principal, action, resource in Casemate::Tool::"refunds.issue_refund")
when { context has approval };

@id("consent_to_sessions")
forbid (principal, action, resource in Casemate::Route::"coding")
unless { resource.call || context has approval };

@id("consent_to_edits")
forbid (principal, action, resource in Casemate::Tool::"repository.edit")
unless { context has approval };

@id("only_the_chief")
forbid (principal, action, resource in Casemate::Tool::"credits.apply")
unless { context has approval && context.approval.approver == Casemate::User::"chief" };

@id("sum")
forbid (principal, action, resource in Casemate::Tool::"web.fetch")
when { context has budget && context.budget.left + context.now_ms < 0 };
"#;

const ASKED: &str = r#"
[[test]]
name = "nobody is asked for an approval with which it would be forbidden"
route = "support_refund_assistant"
tool = "refunds.issue_refund"
expect = "deny"
reason = "policy_forbids"

[[test]]
name = "nobody is asked whether a session may be opened"
route = "coding"
access = "session.open"
expect = "deny"
reason = "policy_forbids"

[[test]]
name = "somebody is asked where a policy lets nothing through without"
route = "coding"
tool = "repository.edit"
expect = "hold"
reason = "approval_required"

[[test]]
name = "and it goes on with the approval"
route = "coding"
tool = "repository.edit"
approval = "valid"
expect = "allow"

[[test]]
name = "an approval of somebody else than the policy wants"
route = "billing"
tool = "credits.apply"
approval = "valid"
expect = "deny"
reason = "policy_forbids"

[[test]]
name = "a policy that cannot be evaluated forbids"
route = "research"
tool = "web.fetch"
budget_left = 9_223_372_036_854_775_807
expect = "deny"
reason = "policy_error"

[[test]]
name = "with smaller numbers it can"
route = "research"
tool = "web.fetch"
budget_left = 1
expect = "allow"

[[test]]
name = "where it does not matter, nobody evaluates it"
route = "data_analysis"
tool = "python"
budget_left = 9_223_372_036_854_775_807
expect = "allow"
"#;

/// I1: what a policy cannot answer is a no. And a person is asked for nothing but what their word can mend.
#[test]
fn approvals_and_errors_of_policies() {
    let mut files = directory::library();
    files.insert("policies/more.cedar".to_owned(), MORE.into());
    files.retain(|name, _| !name.starts_with("tests/"));
    files.insert("tests/asked.toml".to_owned(), ASKED.into());
    let (engine, trials) = directory::compile(&files).unwrap();
    for trial in trials {
        let tried = trial.run(&engine);
        assert_eq!(tried.failure, None, "{}", tried.name);
    }
}
