use std::time::Duration;

use super::*;

fn owner() -> Owner {
    Owner {
        tenant: "local".into(),
        agent: "a".into(),
    }
}

fn id(number: u64) -> DecisionId {
    DecisionId::new(number, [0; 10])
}

fn withdrawn(number: u64) -> Arc<Told> {
    Arc::new(Told::Withdrawn(id(number)))
}

fn output(bytes: usize) -> Event {
    Event::Output(Stream::Stdout, vec![b'x'; bytes])
}

/// I15: what is kept of an endless output is bounded, and it is said what is missing.
#[test]
fn the_newest_output_is_kept() {
    let calls = RunningCalls::default();
    let (control, _kept) = mpsc::channel(1);
    let call = calls.begin(id(1), owner(), Some(control), None);
    let piece = MAX_KEPT_OUTPUT_BYTES / 4;
    for _ in 0..10 {
        call.see(output(piece));
    }
    let pieces = call.pieces(0);
    assert_eq!(
        (pieces.missed, pieces.pieces.len(), pieces.next),
        (6, 4, 10)
    );
    assert!(call.seen().bytes <= MAX_KEPT_OUTPUT_BYTES);
    assert_eq!(call.pieces(9).pieces.len(), 1);
    let beyond = call.pieces(99);
    assert_eq!((beyond.missed, beyond.pieces.len()), (0, 0));
    call.see(output(MAX_KEPT_OUTPUT_BYTES + 1));
    assert!(
        call.pieces(0).pieces.is_empty(),
        "larger than all that is kept"
    );
}

#[tokio::test]
async fn whoever_waits_is_woken_by_output_and_by_the_end() {
    let calls = RunningCalls::default();
    let (control, mut controls) = mpsc::channel(1);
    let call = calls.begin(id(1), owner(), Some(control), None);
    assert_eq!(call.phase(), Phase::Waiting);
    call.progress.runs();
    assert_eq!(call.phase(), Phase::Running);
    let waiter = Arc::clone(&call);
    let waiting = tokio::spawn(async move { waiter.wait(0).await.next });
    tokio::time::sleep(Duration::from_millis(5)).await;
    call.see(output(1));
    assert_eq!(waiting.await.unwrap(), 1);
    let waiter = Arc::clone(&call);
    let waiting = tokio::spawn(async move { waiter.wait(1).await.told.is_some() });
    let waiter = Arc::clone(&call);
    let ended = tokio::spawn(async move { waiter.ended().await });
    assert!(call.cancel() && call.cancel());
    assert_eq!(
        controls.recv().await,
        Some(Control::Interrupt(Signal::Interrupt))
    );
    drop(controls);
    assert!(!call.cancel());
    calls.end(&call, withdrawn(1));
    assert!(waiting.await.unwrap());
    ended.await.unwrap();
    assert_eq!((call.phase(), calls.count()), (Phase::Ended, 0));
}

/// A call is its tenant's, and those that ended are forgotten in time.
#[test]
fn calls_are_their_owners_and_bounded() {
    let calls = RunningCalls::default();
    let most = MAX_ENDED_CALLS as u64;
    for number in 0..most + 10 {
        let (control, _) = mpsc::channel(1);
        let call = calls.begin(id(number), owner(), Some(control), None);
        if number != 3 {
            calls.end(&call, withdrawn(number));
        }
    }
    assert!(calls.get("local", id(0)).is_none(), "forgotten");
    assert!(calls.get("local", id(3)).is_some(), "it runs");
    assert!(calls.get("local", id(most + 9)).is_some());
    assert!(calls.get("others", id(most + 9)).is_none());
    assert_eq!(calls.count(), 1);
}

/// There is no answer before the output that goes with it.
#[tokio::test]
async fn an_answer_waits_for_the_output_that_is_kept() {
    let calls = RunningCalls::default();
    let (control, _kept) = mpsc::channel(1);
    let call = calls.begin(id(1), owner(), Some(control), None);
    call.will_see();
    calls.end(&call, withdrawn(1));
    assert!(call.told().is_none() && call.pieces(0).told.is_none());
    assert_ne!(call.phase(), Phase::Ended);
    call.see(output(3));
    call.seen_all();
    let pieces = call.pieces(0);
    assert_eq!((pieces.pieces.len(), pieces.told.is_some()), (1, true));
    call.ended().await;
}

/// R65: who lets many calls end takes nobody else's answers away.
#[test]
fn a_flood_forgets_its_own() {
    let calls = RunningCalls::default();
    let end = |number, agent: &str| {
        let (control, _) = mpsc::channel(1);
        let owner = Owner {
            agent: agent.into(),
            ..owner()
        };
        calls.end(
            &calls.begin(id(number), owner, Some(control), None),
            withdrawn(number),
        );
    };
    end(1, "quiet");
    let most = MAX_ENDED_CALLS as u64;
    (2..most * 3).for_each(|number| end(number, "loud"));
    assert!(calls.get("local", id(1)).is_some());
    assert!(calls.get("local", id(2)).is_none());
    assert!(calls.get("local", id(most * 3 - 1)).is_some());
    assert_eq!(calls.count(), 0);
}

/// While a call waits for a person there is no way to its program, and none is kept for one that nobody attends.
#[tokio::test]
async fn what_waits_for_a_person_keeps_no_way_to_a_program() {
    let calls = RunningCalls::default();
    let (control, mut to_program) = mpsc::channel(1);
    let (output, mut from_program) = mpsc::channel(1);
    let call = calls.begin(id(1), owner(), Some(control), Some(output));
    call.goes_unattended();
    assert!(from_program.recv().await.is_none());
    call.waits_for_person();
    assert_eq!(call.phase(), Phase::Held);
    assert!(to_program.recv().await.is_none());
    assert!(!call.cancel());
    let (control, mut to_program) = mpsc::channel(1);
    assert!(call.go_on(control).is_none(), "nobody takes its output");
    assert!(call.cancel());
    assert!(to_program.recv().await.is_some());
}
