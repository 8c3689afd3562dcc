//! Calls that wait for a person.

use casemate_gateway::{Ask, Denied, Key, Pending, Recording, Ruling};
use casemate_ledger::Kind;
use casemate_model::{Digest, Reason, RunMode};
use casemate_policy::{Approval, RoutePolicy};

use crate::{
    fake::{FakeSandbox, Nowhere},
    world::{World, ask, io, profile},
};

fn refund() -> Ask {
    Ask {
        tool: "refund".into(),
        key: Key::Given("order 7".into()),
        ..ask()
    }
}

async fn pending(world: &World) -> Pending {
    let Ruling::Held(held) = world.rule(refund()).await else {
        panic!("not held");
    };
    held.record(&world.journal()).unwrap()
}

fn approval(world: &World, pending: &Pending) -> Approval {
    Approval {
        action_hash: pending.facts().action_hash.unwrap(),
        approver: "uid:2000".into(),
        expires_at_ms: *world.clock.0.lock().unwrap() + 1,
    }
}

/// What is decided about the call when it comes again, with an approval.
async fn again(world: &World, policy: &RoutePolicy, approval: Approval) -> Ruling<FakeSandbox> {
    let checked = world.checked(refund(), policy).await.unwrap();
    checked.decide_approved(policy, RunMode::Autonomous, &world.clock, approval)
}

fn denied(ruling: Ruling<FakeSandbox>) -> Denied {
    match ruling {
        Ruling::Denied(denied) => denied,
        other => panic!("{other:?}"),
    }
}

/// R175: the call pauses before anything has run, and what waits is on disk.
#[tokio::test]
async fn a_held_call_is_recorded_and_does_not_run() {
    let world = World::new();
    let pending = pending(&world).await;
    assert_eq!(world.kinds(), [Kind::Held]);
    let summary = &world.records()[0].entry.summary;
    assert_eq!(summary["policy_decision"], "hold");
    assert_eq!(summary["stop_reason"], "approval_required");
    let refused = pending.refuse();
    assert_eq!(refused.facts().reason(), Reason::ApprovalRequired);
    assert_eq!(refused.receipt().unwrap().index, 0);
    assert_eq!(world.steps(), ["create", "ready", "drop"]);
}

#[tokio::test]
async fn an_approved_call_runs_once_and_names_its_approver() {
    let world = World::new();
    let pending = pending(&world).await;
    let approval = approval(&world, &pending);
    let Ruling::Allowed(allowed) = again(&world, &world.policy(), approval).await else {
        panic!("not allowed");
    };
    let journal = world.journal();
    let Recording::Recorded(recorded) = allowed.record(&journal, &world.stores()).await else {
        panic!("not recorded");
    };
    let ended = recorded.lease().run(io().0.call).await;
    ended.release(&mut Nowhere).await.unwrap();
    assert_eq!(world.runs(), 1);
    assert_eq!(world.kinds(), [Kind::Held, Kind::Allowed, Kind::Outcome]);
    let summary = &world.records()[1].entry.summary;
    assert_eq!(summary["approval"]["approver"], "uid:2000");
    assert_eq!(summary["policy_decision"], "allow");
    assert_eq!(summary["detail"], "approved by uid:2000");
    let checks = summary["checks"].as_array().unwrap();
    assert!(checks.iter().all(|check| check["passed"] == true));
}

/// An approval is for one call, in time, and from somebody else.
#[tokio::test]
async fn an_approval_that_does_not_fit_runs_nothing() {
    let flaws: [fn(&mut Approval); 4] = [
        |approval| approval.action_hash = Digest::of(b"another call"),
        |approval| approval.approver = "uid:1000".into(),
        |approval| approval.approver.clear(),
        |approval| approval.expires_at_ms -= 1,
    ];
    for flaw in flaws {
        let world = World::new();
        let pending = pending(&world).await;
        let mut approval = approval(&world, &pending);
        flaw(&mut approval);
        let denied = denied(again(&world, &world.policy(), approval).await);
        let refused = denied.record(&world.journal());
        assert_eq!(refused.facts().reason(), Reason::ApprovalInvalid);
        assert_eq!(world.kinds(), [Kind::Held, Kind::Denied]);
        assert_eq!(world.runs(), 0);
    }
}

/// An approved call is decided on again: what was allowed yesterday may be refused today.
#[tokio::test]
async fn an_approval_does_not_outlive_the_policy_or_the_claims() {
    let world = World::new();
    let held = pending(&world).await;
    let given = approval(&world, &held);
    let stricter = RoutePolicy::of(profile(r#", "route""#)).unwrap();
    let denied = denied(again(&world, &stricter, given).await);
    assert_eq!(
        denied.record(&world.journal()).facts().reason(),
        Reason::ApprovalInvalid
    );

    let held = pending(&world).await;
    let mut given = approval(&world, &held);
    given.expires_at_ms += 3_600_000;
    let policy = world.policy();
    let checked = world.checked(refund(), &policy).await.unwrap();
    world.clock.advance(60_000);
    let ruling = checked.decide_approved(&policy, RunMode::Autonomous, &world.clock, given);
    let Ruling::Denied(denied) = ruling else {
        panic!("not denied");
    };
    assert_eq!(
        denied.record(&world.journal()).facts().reason(),
        Reason::ExpiredToken
    );
    assert_eq!(world.runs(), 0);
}
