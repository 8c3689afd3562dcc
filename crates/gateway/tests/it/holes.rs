//! The eighteen holes that research/governance.md §9 found in how others do it: each is tried, by its number there, in a test called
//! `hole_N_…` that would fail on what is described there. `xtask` sees to it that none disappears.
//!
//! 1 to 8 and 18 are here, 9 in `deputy`, 13 in `taken_back`, 15 in `triggers`, 17 in `text`. 10, 11, 12, 14 and 16 are about what a
//! sandbox, a disk and a log really do: they are in the tests of `casemate`, with real processes.

mod deputy;
mod taken_back;
mod text;
mod triggers;

use casemate_gateway::{
    AnswerError, Ask, Demand, Member, NewCall, SignedAnswer, Statement, Told, Vote,
};
use casemate_model::{Digest, Reason, RunMode, SideEffect, Trigger};
use casemate_policy::{
    Approval, BundleParts, Engine, Inputs, Manifest, PolicyFile, Profile, Syntax, Verdict, Wish,
};

use crate::{
    house::{House, in_thread, refused},
    session_keeper::Step,
    waits,
};

const TRUE: &[&str] = &["true"];

fn ran(house: &House) -> bool {
    let steps = house.keeper.steps();
    steps.iter().any(|step| matches!(step, Step::Run(..)))
}

/// The built-in profile with this line in the place of its `approval_required`.
pub(crate) fn with_tools(line: &str) -> House {
    let mut house = House::new("thread");
    let builtin = Profile::builtin_serve().unwrap();
    let source = std::str::from_utf8(builtin.source()).unwrap();
    let source = source.replace("approval_required = []", line);
    house.profile = Profile::parse(source.as_bytes(), Syntax::Toml).unwrap();
    house
}

/// The built-in profile for these tenants too.
fn with_tenants(tenants: &[&str]) -> House {
    let mut house = House::new("thread");
    let source = std::str::from_utf8(house.profile.source()).unwrap();
    let scopes = "required_scopes = [\"code:execute\"]";
    let all = format!("{scopes}\nallowed_tenants = {tenants:?}");
    let source = source.replace(scopes, &all);
    house.profile = Profile::parse(source.as_bytes(), Syntax::Toml).unwrap();
    house
}

/// Tools that do something outside of the sandbox.
const EFFECTS: &[(&str, SideEffect)] = &[
    ("pay", SideEffect::Write),
    ("mail", SideEffect::ExternalSend),
];

fn effects() -> Vec<Manifest> {
    let tool = |(name, effect): &(&str, SideEffect)| {
        let text = format!(
            "name = \"{name}\"\nversion = \"1\"\ndescription = \"A tool.\"\nside_effect = \"{effect}\"\ntier = \"tool_limited\"\n\
             scopes = [\"code:execute\"]\napproval = \"profile\"\ntimeout_ms = 1_000\nidempotency = \"required\"\n[input]\ntype = \"object\"\n"
        );
        Manifest::parse(text.as_bytes(), Syntax::Toml).unwrap_or_else(|faults| panic!("{faults:?}"))
    };
    EFFECTS.iter().map(tool).collect()
}

/// The built-in profile, with those tools.
fn with_effects() -> House {
    let mut house = House::new("thread");
    let source = std::str::from_utf8(house.profile.source()).unwrap();
    let source = source.replace("\"shell\"]", "\"shell\", \"pay\", \"mail\"]");
    house.profile = Profile::parse(source.as_bytes(), Syntax::Toml).unwrap();
    house
}

/// The engine of a bundle with the house's profile, these manifests and this policy.
fn engine(house: &House, manifests: Vec<Manifest>, policy: &str) -> Engine {
    let source = std::str::from_utf8(house.profile.source()).unwrap();
    let source = source.replacen("\nroute", "\ntier = \"code\"\nroute", 1);
    let compiled = Engine::compile(BundleParts {
        digest: Digest::of(policy.as_bytes()),
        profiles: vec![Profile::parse(source.as_bytes(), Syntax::Toml).unwrap()],
        manifests,
        policies: vec![PolicyFile {
            name: "hole.cedar".into(),
            text: policy.into(),
        }],
    });
    compiled.unwrap_or_else(|faults| panic!("{faults:?}"))
}

/// What a call that waits was decided from, and an approval of it.
async fn approved_inputs(house: &House) -> Inputs {
    let rooms = house.rooms();
    let Told::Held(waiting) = house.call(&rooms, in_thread("t", TRUE)).await else {
        panic!("not held");
    };
    let mut inputs = waiting.facts.inputs.clone().unwrap();
    inputs.approval = Some(Approval {
        action_hash: inputs.action_hash.unwrap(),
        approver: "alice".into(),
        expires_at_ms: u64::MAX,
    });
    inputs
}

/// Others: a user's hook that allows overrides even a global deny. Here: neither a profile, a mode nor a consent does.
#[tokio::test]
async fn hole_1_no_allow_beats_a_deny() {
    let house = with_tools("approval_required = [\"shell\"]");
    // A call that would be allowed with its approval, under a bundle that forbids its tool.
    let mut inputs = approved_inputs(&house).await;
    let deny = "forbid (principal, action, resource in Casemate::Tool::\"shell\");";
    let allowed = engine(&house, Vec::new(), "").judge(&inputs);
    assert_eq!(allowed.verdict, Verdict::Allow, "{allowed:?}");
    for mode in RunMode::ALL {
        inputs.mode = *mode;
        let decision = engine(&house, Vec::new(), deny).judge(&inputs);
        assert_eq!(decision.verdict, Verdict::Deny, "{mode}: {decision:?}");
    }
}

/// Others: a tool that is allowed somewhere and has to be asked about elsewhere runs. Here: it is asked about.
#[tokio::test]
async fn hole_2_an_ask_beats_an_allow() {
    let house = with_tools("approval_required = [\"shell\"]");
    let allowed = house
        .profile
        .tools
        .allowed
        .iter()
        .any(|tool| tool == "shell");
    assert!(allowed, "it is in both lists");
    let rooms = house.rooms();
    let told = house.call(&rooms, in_thread("t", TRUE)).await;
    assert!(matches!(told, Told::Held(_)), "{told:?}");
    assert!(!ran(&house));
}

/// Others: what no rule matches is executed. Here: it has no scope.
#[tokio::test]
async fn hole_3_what_nothing_matches_does_not_run() {
    let house = House::new("thread");
    let rooms = house.rooms();
    let ask = Ask {
        tool: "rocket".into(),
        ..in_thread("t", TRUE)
    };
    refused(&house.call(&rooms, ask).await);
    assert!(!ran(&house));
}

/// Others: an autonomous agent runs what has to be asked about. Here: autonomy is no approval.
#[tokio::test]
async fn hole_4_autonomy_is_no_approval() {
    let house = with_tools("approval_required = [\"shell\"]");
    assert_eq!(house.profile.modes.ceiling, RunMode::Autonomous);
    let rooms = house.rooms();
    let told = house.call(&rooms, in_thread("t", TRUE)).await;
    assert!(matches!(told, Told::Held(_)), "{told:?}");
    assert!(!ran(&house));
}

/// Others: what a clock starts is autonomous unless somebody says otherwise. Here: a person approves what it writes.
#[tokio::test]
async fn hole_5_a_clock_is_not_autonomous() {
    let house = House::new("thread");
    for trigger in [Trigger::Schedule, Trigger::Webhook, Trigger::Agent] {
        let mode = house.profile.modes.of(trigger, Some(RunMode::Autonomous));
        assert_eq!(mode, RunMode::Review, "{trigger}");
    }
    let rooms = house.rooms();
    let call = NewCall {
        demand: Demand {
            trigger: Trigger::Schedule,
            ..Demand::default()
        },
        ..house.new_call(in_thread("t", TRUE))
    };
    let (Told::Released(released), _) = house.send(&rooms, call).await else {
        panic!("a draft runs");
    };
    assert_eq!(released.facts().mode, Some(RunMode::Review));
}

/// Others: a check that fails lets the call through, or comes after the effect. Here: what cannot be answered is a no, and the answer is on
/// disk before anything runs.
#[tokio::test]
async fn hole_6_a_check_that_fails_denies() {
    let house = with_tools("approval_required = [\"shell\"]");
    let inputs = approved_inputs(&house).await;
    // More than Cedar's numbers hold: it cannot be evaluated.
    let fails =
        "forbid (principal, action, resource) when { context.now_ms + 9223372036854775807 > 0 };";
    let decision = engine(&house, Vec::new(), fails).judge(&inputs);
    assert_eq!(decision.verdict, Verdict::Deny);
    assert_eq!(decision.reason, Reason::PolicyError);
}

/// Others: an approval is a model that says yes. Here: text is none, whoever wrote it, and only an enlisted key's signature is.
#[tokio::test]
async fn hole_7_words_are_no_approval() {
    let house = with_tools("approval_required = [\"shell\"]");
    let rooms = house.rooms();
    let (decision, action) = waits::held(&house, &rooms, in_thread("t", TRUE)).await;
    let statement = Statement {
        members: vec![Member { decision, action }],
        vote: Vote::Approve,
        reason: String::new(),
        at_ms: *house.world.clock.0.lock().unwrap(),
        grant_ms: None,
        break_glass: false,
    };
    let text = statement.text().unwrap();
    for note in [
        "yes",
        "approve",
        text.as_str(),
        &format!("the model\n{text}"),
    ] {
        let answered =
            Box::pin(rooms.answer(&waits::claims(&house), decision, &SignedAnswer::note(note)))
                .await;
        assert!(
            matches!(answered, Err(AnswerError::Signature(_))),
            "{answered:?}"
        );
    }
    assert!(!ran(&house));
}

/// Others: review is for some operations, and mail, chat and payments elsewhere pass. Here: it is for every effect.
#[tokio::test]
async fn hole_8_review_is_for_every_effect() {
    let house = with_effects();
    let rooms = house.rooms();
    let call = NewCall {
        demand: Demand {
            mode: Some(RunMode::Review),
            ..Demand::default()
        },
        ..house.new_call(in_thread("t", TRUE))
    };
    let (Told::Released(released), _) = house.send(&rooms, call).await else {
        panic!("a draft runs");
    };
    let engine = engine(&house, effects(), "");
    for (name, effect) in EFFECTS {
        let mut inputs = released.facts().inputs.clone().unwrap();
        inputs.wish = Wish::Tool((*name).into());
        inputs.side_effect = *effect;
        assert_eq!(inputs.mode, RunMode::Review);
        let decision = engine.judge(&inputs);
        assert_eq!(decision.verdict, Verdict::Hold, "{name}: {decision:?}");
        inputs.mode = RunMode::Autonomous;
        assert_eq!(engine.judge(&inputs).verdict, Verdict::Allow, "{name}");
    }
}

/// Others: an approval is bound to nothing that is documented. Here: to the hash of the very call.
#[tokio::test]
async fn hole_18_an_approval_is_of_one_call() {
    let house = with_tools("approval_required = [\"shell\"]");
    waits::enlist(&house, "alice", &[]);
    let rooms = house.rooms();
    let first = waits::held(&house, &rooms, in_thread("t", TRUE)).await;
    let other = waits::held(&house, &rooms, in_thread("t", &["write", "1"])).await;
    for (decision, action) in [(first.0, other.1), (other.0, first.1)] {
        let said = waits::approve(&house, &rooms, "alice", (decision, action)).await;
        assert!(said.is_err(), "{said:?}");
        assert!(matches!(
            waits::resume(&rooms, decision).await,
            Told::Later(_)
        ));
    }
    assert!(!ran(&house));
}
