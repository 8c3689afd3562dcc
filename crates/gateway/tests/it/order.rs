//! What happens, and in which order.

use std::sync::Arc;

use casemate_gateway::{LEASE_TTL_MS, Recording};
use casemate_ledger::Kind;
use casemate_model::{Cause, Exit, OutcomeStatus, Stream};
use casemate_ports::{CHANNEL_CAPACITY, CallIo, Event};
use tokio::sync::mpsc;

use crate::{
    fake::{Nowhere, ended},
    world::{World, ask, io, records},
};

/// R210: what a program has made that violated its sandbox is gone with it.
#[tokio::test]
async fn nothing_is_taken_from_a_sandbox_after_a_violation() {
    let mut world = World::new();
    world.script.ended = Ok(ended(Cause::Violation, None));
    world.script.artefact = Some(("report.txt", b"42"));
    let released = world.call(ask()).await.released();
    assert_eq!(world.steps(), ["create", "ready", "run", "drop"]);
    assert!(released.outcome().artefacts.is_empty());
}

/// R123, R231: the decision is on disk when the program starts; the outcome closes it.
#[tokio::test]
async fn the_decision_is_on_disk_before_the_program_starts() {
    let mut world = World::new();
    let ledger = world.dir.path().join("state/ledger");
    world.script.on_run = Arc::new(move || {
        let kinds: Vec<_> = records(&ledger)
            .iter()
            .map(|record| record.entry.kind)
            .collect();
        assert_eq!(kinds, [Kind::Allowed]);
    });
    let released = world.call(ask()).await.released();
    assert_eq!(world.steps(), ["create", "ready", "run", "collect", "drop"]);
    assert_eq!(world.kinds(), [Kind::Allowed, Kind::Outcome]);
    assert_eq!(released.receipt().index, 1);
    for record in world.records() {
        assert_eq!(record.entry.decision, released.facts().decision);
    }
}

/// What is run is what was asked, decided and recorded.
#[tokio::test]
async fn the_command_that_runs_is_the_one_in_the_record() {
    let world = World::new();
    world.call(ask()).await.released();
    let command = world.script.command.lock().unwrap().take().unwrap();
    assert_eq!(command.argv, ask().command.argv);
    assert_eq!(command.env, ask().command.env);
    let content = world.content(&world.records()[0]);
    assert_eq!(
        content["call"]["program"]["argv"],
        serde_json::json!(["python3", "/workspace/in/a.py"])
    );
}

#[tokio::test]
async fn an_outcome_is_a_success_only_with_exit_code_0() {
    for (cause, exit, status) in [
        (
            Cause::Completed,
            Some(Exit::Code(0)),
            OutcomeStatus::Succeeded,
        ),
        (Cause::Completed, Some(Exit::Code(1)), OutcomeStatus::Failed),
        (
            Cause::Completed,
            Some(Exit::Signal(11)),
            OutcomeStatus::Failed,
        ),
        (Cause::Completed, None, OutcomeStatus::Failed),
        (
            Cause::NotExecutable,
            Some(Exit::Code(127)),
            OutcomeStatus::Failed,
        ),
        (
            Cause::TimedOut,
            Some(Exit::Signal(9)),
            OutcomeStatus::Failed,
        ),
        (Cause::TimedOut, Some(Exit::Code(0)), OutcomeStatus::Failed),
        (
            Cause::MemoryExceeded,
            Some(Exit::Signal(9)),
            OutcomeStatus::Failed,
        ),
        (Cause::Cancelled, None, OutcomeStatus::Failed),
        (Cause::SandboxLost, None, OutcomeStatus::Unknown),
    ] {
        let mut world = World::new();
        world.script.ended = Ok(ended(cause, exit));
        let released = world.call(ask()).await.released();
        assert_eq!(released.outcome().status, status, "{cause} {exit:?}");
        let summary = &world.records()[1].entry.summary;
        assert_eq!(summary["status"], status.as_str());
        assert_eq!(summary["stop_reason"], cause.as_str());
    }
}

/// A sandbox that breaks may have run the program in part.
#[tokio::test]
async fn a_lost_sandbox_is_an_unknown_outcome() {
    let mut world = World::new();
    world.script.ended = Err("the guest died");
    let released = world.call(ask()).await.released();
    assert_eq!(released.outcome().status, OutcomeStatus::Unknown);
    assert_eq!(released.outcome().cause, Cause::SandboxLost);
    assert_eq!(
        released.trouble(),
        Some("the sandbox was lost: the guest died")
    );
    assert_eq!(world.kinds(), [Kind::Allowed, Kind::Outcome]);
}

/// An action token is for one run that starts soon.
#[tokio::test]
async fn a_lease_that_expired_runs_nothing() {
    let world = World::new();
    let journal = world.journal();
    let allowed = world.allowed(ask()).await;
    let Recording::Recorded(recorded) = allowed.record(&journal, &world.stores()).await else {
        panic!("not recorded");
    };
    let lease = recorded.lease();
    world.clock.advance(LEASE_TTL_MS);
    let ended = lease.run(io().0.call).await;
    let released = ended.release(&mut Nowhere).await.unwrap();
    assert_eq!(world.runs(), 0);
    assert_eq!(released.outcome().status, OutcomeStatus::Failed);
    assert_eq!(released.outcome().exit, None);
    assert_eq!(world.kinds(), [Kind::Allowed, Kind::Outcome]);
}

/// Its consumer sees every byte, and the record says which bytes they were.
#[tokio::test]
async fn output_arrives_whole_and_is_recorded_by_its_digest() {
    let mut world = World::new();
    world.script.stdout = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let journal = world.journal();
    let allowed = world.allowed(ask()).await;
    let Recording::Recorded(recorded) = allowed.record(&journal, &world.stores()).await else {
        panic!("not recorded");
    };
    let (ends, output) = io();
    let ended = recorded.lease().run(ends.call).await;
    ended.release(&mut Nowhere).await.unwrap();
    let output = output.await.unwrap();
    assert!(output == world.script.stdout);
    let content = world.content(&world.records()[1]);
    let digest = casemate_model::Digest::of(&output).to_string();
    assert_eq!(content["streams"]["stdout"], digest);
}

/// A consumer that does not read cannot keep the outcome out of the record.
#[tokio::test]
async fn a_stalled_consumer_does_not_hold_up_the_record() {
    let mut world = World::new();
    world.script.stdout = vec![b'x'; 20 * 64 * 1024];
    let journal = world.journal();
    let allowed = world.allowed(ask()).await;
    let Recording::Recorded(recorded) = allowed.record(&journal, &world.stores()).await else {
        panic!("not recorded");
    };
    let (_stdin, stdin) = mpsc::channel(1);
    let (_control, control) = mpsc::channel(1);
    let (events, mut output) = mpsc::channel(CHANNEL_CAPACITY);
    let ended = recorded
        .lease()
        .run(CallIo {
            stdin,
            control,
            events,
        })
        .await;
    let mut nowhere = Nowhere;
    let release = ended.release(&mut nowhere);
    let read = async {
        // The release has been polled, and not one byte has been read.
        assert_eq!(world.kinds(), [Kind::Allowed, Kind::Outcome]);
        let mut bytes = 0;
        while let Some(Event::Output(Stream::Stdout, chunk)) = output.recv().await {
            bytes += chunk.len();
        }
        bytes
    };
    let (released, bytes) = tokio::join!(release, read);
    released.unwrap();
    assert_eq!(bytes, world.script.stdout.len());
}

/// A consumer that goes away cancels the program.
#[tokio::test]
async fn a_consumer_that_goes_away_is_seen_by_the_keeper() {
    let mut world = World::new();
    world.script.stdout = vec![b'x'; 40 * 64 * 1024];
    let journal = world.journal();
    let allowed = world.allowed(ask()).await;
    let Recording::Recorded(recorded) = allowed.record(&journal, &world.stores()).await else {
        panic!("not recorded");
    };
    let (_stdin, stdin) = mpsc::channel(1);
    let (_control, control) = mpsc::channel(1);
    let (events, output) = mpsc::channel(CHANNEL_CAPACITY);
    drop(output);
    let ended = recorded
        .lease()
        .run(CallIo {
            stdin,
            control,
            events,
        })
        .await;
    let released = ended.release(&mut Nowhere).await.unwrap();
    assert_eq!(released.outcome().cause, Cause::Cancelled);
}
