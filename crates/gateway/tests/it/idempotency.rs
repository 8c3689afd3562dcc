//! The same key and the same call run once (R142).

use casemate_gateway::{Ask, CLAIM_GRACE_MS, MAX_REPLAY_BYTES, Recording};
use casemate_ledger::Kind;
use casemate_model::{Cause, Exit, OutcomeStatus, Reason};
use casemate_store::{Idempotency as _, Keys, SqliteStore};

use crate::{
    fake::{Nowhere, ended},
    world::{World, ask, ask_under, io},
};

#[tokio::test]
async fn a_repeat_gets_the_stored_result_and_does_not_run() {
    let mut world = World::new();
    world.script.stdout = b"\xff\x00 once\n".to_vec();
    world.script.ended = Ok(ended(Cause::Completed, Some(Exit::Code(3))));
    world.script.artefact = Some(("chart.png", b"PNG"));
    let first = world.call(ask_under("k")).await.released();
    let second = world.call(ask_under("k")).await.released();
    assert_eq!(world.runs(), 1);
    assert_eq!(second.outcome(), first.outcome());
    let replayed = second.replayed().unwrap();
    assert_eq!(replayed.stdout.as_bytes(), b"\xff\x00 once\n");
    assert!(first.replayed().is_none());
    assert_eq!(second.facts().replay_of, Some(first.facts().decision));
    assert_ne!(second.facts().decision, first.facts().decision);
    // The repeat is a call of its own in the log, which says that it ran nothing.
    use Kind::{Allowed, Outcome};
    assert_eq!(world.kinds(), [Allowed, Outcome, Allowed, Outcome]);
    for record in &world.records()[2..] {
        let of = first.facts().decision.to_string();
        assert_eq!(record.entry.summary["replay_of"], of);
    }
}

#[tokio::test]
async fn the_same_key_for_another_call_is_a_conflict() {
    let world = World::new();
    world.call(ask_under("k")).await.released();
    let mut other = ask_under("k");
    other.command.argv.push("--force".into());
    let refused = world.call(other).await.refused();
    assert_eq!(refused.facts().reason(), Reason::IdempotencyConflict);
    assert_eq!(world.runs(), 1);
    assert_eq!(world.kinds(), [Kind::Allowed, Kind::Outcome, Kind::Denied]);
}

/// Calls without a key of their caller's are never one call, and touch no store.
#[tokio::test]
async fn calls_without_a_key_run_each_time_and_open_no_database() {
    let world = World::new();
    for _ in 0..2 {
        world.call(ask()).await.released();
    }
    assert_eq!(world.runs(), 2);
    assert!(!world.dir.path().join("state/agents/local").exists());
}

#[tokio::test]
async fn a_call_in_flight_is_not_run_a_second_time() {
    let world = World::new();
    let journal = world.journal();
    let allowed = world.allowed(ask_under("k")).await;
    let Recording::Recorded(recorded) = allowed.record(&journal, &world.stores()).await else {
        panic!("not recorded");
    };
    // However old it is: its owner lives.
    for later_ms in [0, CLAIM_GRACE_MS * 1_000] {
        world.clock.advance(later_ms);
        let refused = world.call_in(&journal, ask_under("k")).await.refused();
        assert_eq!(refused.facts().reason(), Reason::CallInFlight);
    }
    assert_eq!(world.runs(), 0);
    drop(recorded);
}

/// A call that was dropped in this process is closed as unknown at once, and its key some time later.
#[tokio::test]
async fn a_dropped_call_is_unknown_and_its_key_is_not_free() {
    let world = World::new();
    let journal = world.journal();
    let allowed = world.allowed(ask_under("k")).await;
    let Recording::Recorded(recorded) = allowed.record(&journal, &world.stores()).await else {
        panic!("not recorded");
    };
    drop(recorded.lease());
    assert_eq!(world.kinds(), [Kind::Allowed, Kind::Outcome]);
    assert_eq!(world.records()[1].entry.summary["status"], "unknown");
    for (later_ms, reason) in [
        (0, Reason::CallInFlight),
        (CLAIM_GRACE_MS + 1, Reason::OutcomeUnknown),
        (0, Reason::OutcomeUnknown),
    ] {
        world.clock.advance(later_ms);
        let refused = world.call(ask_under("k")).await.refused();
        assert_eq!(refused.facts().reason(), reason);
    }
    assert_eq!(world.runs(), 0);
}

#[tokio::test]
async fn a_lost_sandbox_makes_its_key_unknown() {
    let mut world = World::new();
    world.script.ended = Err("the guest died");
    let lost = world.call(ask_under("k")).await.released();
    assert_eq!(lost.outcome().status, OutcomeStatus::Unknown);
    let refused = world.call(ask_under("k")).await.refused();
    assert_eq!(refused.facts().reason(), Reason::OutcomeUnknown);
    assert_eq!(world.runs(), 1);
}

#[tokio::test]
async fn output_too_large_to_keep_runs_once_and_says_so() {
    let mut world = World::new();
    world.script.stdout = vec![b'x'; MAX_REPLAY_BYTES + 1];
    let first = world.call(ask_under("k")).await.released();
    let refused = world.call(ask_under("k")).await.refused();
    assert_eq!(refused.facts().reason(), Reason::IdempotencyConflict);
    let detail = &refused.facts().ruling.as_ref().unwrap().detail;
    assert!(
        detail.contains(&first.facts().decision.to_string()),
        "{detail}"
    );
    assert!(detail.contains("already ran"), "{detail}");
    assert_eq!(world.runs(), 1);
}

/// The result is content: it is gone with its agent's key, and the call is not run again for it.
#[tokio::test]
async fn an_erased_result_is_not_run_again() {
    let world = World::new();
    world.call(ask_under("k")).await.released();
    Keys::open(&world.state()).unwrap().erase("local").unwrap();
    let refused = world.call(ask_under("k")).await.refused();
    assert_eq!(refused.facts().reason(), Reason::IdempotencyConflict);
    let detail = &refused.facts().ruling.as_ref().unwrap().detail;
    assert!(detail.contains("erased"), "{detail}");
    assert_eq!(world.runs(), 1);
}

/// I1: without the store nobody knows whether the call ran before.
#[tokio::test]
async fn a_store_that_cannot_be_opened_is_a_refusal() {
    let world = World::new();
    let agent = world.state().agent("local").unwrap();
    std::fs::write(agent.join("agent.db"), "not a database").unwrap();
    let refused = world.call(ask_under("k")).await.refused();
    assert_eq!(refused.facts().reason(), Reason::RecordUnavailable);
    assert_eq!(world.runs(), 0);
}

/// A claim for a call that could then not be recorded is given back.
#[tokio::test]
async fn a_call_that_could_not_be_recorded_does_not_use_up_its_key() {
    let world = World::new();
    let journal = world.journal();
    let ledger = world.dir.path().join("state/ledger");
    let away = world.dir.path().join("away");
    std::fs::rename(&ledger, &away).unwrap();
    let refused = world.call_in(&journal, ask_under("k")).await.refused();
    assert_eq!(refused.facts().reason(), Reason::RecordUnavailable);
    drop(journal);
    std::fs::remove_dir_all(&ledger).ok();
    std::fs::rename(&away, &ledger).unwrap();
    world.call(ask_under("k")).await.released();
    assert_eq!(world.runs(), 1);
}

/// A process that died between its claim and its record ran nothing, and nobody can prove it.
#[tokio::test]
async fn a_claim_without_a_record_becomes_unknown_and_never_runs() {
    let world = World::new();
    let store = SqliteStore::open(&world.state(), "local").await.unwrap();
    let dead = world.allowed(ask_under("k")).await;
    drop(dead);
    let decision = casemate_model::DecisionId::new(*world.clock.0.lock().unwrap(), [9; 10]);
    let action = hash_of(&world, ask_under("k")).await;
    let claim = casemate_store::Claim {
        tenant: "local",
        tool: "python",
        key: "k",
        action,
        decision,
        at_ms: *world.clock.0.lock().unwrap(),
    };
    store.claim(&claim).await.unwrap();
    let refused = world.call(ask_under("k")).await.refused();
    assert_eq!(refused.facts().reason(), Reason::CallInFlight);
    world.clock.advance(CLAIM_GRACE_MS + 1);
    let refused = world.call(ask_under("k")).await.refused();
    assert_eq!(refused.facts().reason(), Reason::OutcomeUnknown);
    assert_eq!(world.runs(), 0);
}

async fn hash_of(world: &World, asked: Ask) -> casemate_model::Digest {
    let other = World::new();
    let mut twin = asked;
    twin.trace_id = Some("twin".into());
    let released = other.call(twin).await.released();
    assert_eq!(other.profile.digest(), world.profile.digest());
    released.facts().action_hash.unwrap()
}

/// A lease that expired ran nothing: the key is free again.
#[tokio::test]
async fn a_call_that_did_not_start_does_not_use_up_its_key() {
    let world = World::new();
    let journal = world.journal();
    let allowed = world.allowed(ask_under("k")).await;
    let Recording::Recorded(recorded) = allowed.record(&journal, &world.stores()).await else {
        panic!("not recorded");
    };
    let lease = recorded.lease();
    world.clock.advance(casemate_gateway::LEASE_TTL_MS);
    let ended = lease.run(io().0.call).await;
    ended.release(&mut Nowhere).await.unwrap();
    assert_eq!(world.runs(), 0);
    world.call_in(&journal, ask_under("k")).await.released();
    assert_eq!(world.runs(), 1);
}
