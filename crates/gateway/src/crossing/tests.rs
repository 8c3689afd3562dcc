use std::sync::mpsc;

use casemate_ports::CrossingContent;

use super::*;

/// Keeps what is written to it, unless it is broken; held up while its lock is held.
#[derive(Debug, Default)]
struct Kept {
    written: Mutex<Vec<(DecisionId, Stage)>>,
    broken: AtomicBool,
}

impl Log for Kept {
    fn call(&self) -> DecisionId {
        id(0)
    }

    fn now_ms(&self) -> u64 {
        7
    }

    fn begin(
        &self,
        crossing: &Crossing,
        _: Urgency,
    ) -> Result<Pending<'static, Result<(), RecordError>>, RecordError> {
        let mut written = self.written.lock().unwrap();
        if self.broken.load(Ordering::SeqCst) {
            return Err(RecordError::Entropy(std::io::ErrorKind::Other.into()));
        }
        written.push((crossing.decision, crossing.stage.clone()));
        Ok(Box::pin(std::future::ready(Ok(()))))
    }
}

impl Kept {
    fn says(&self) -> Vec<(DecisionId, Stage)> {
        self.written.lock().unwrap().clone()
    }
}

fn id(number: u8) -> DecisionId {
    DecisionId::new(0, [number; 10])
}

fn crossing(number: u8, stage: Stage) -> Crossing {
    Crossing {
        decision: id(number),
        at_ms: 0,
        stage,
        because: None,
        entry: "connect".into(),
        scheme: Some("https".into()),
        host: Some("a.example".to_owned()),
        port: Some(443),
        class: None,
        rule: None,
        side_effect: None,
        method: None,
        credential: None,
        status: None,
        bytes_out: 0,
        bytes_in: 0,
        hits: 0,
        sealed: CrossingContent::default(),
    }
}

fn denied() -> Stage {
    Stage::Denied("egress_denied".into())
}

fn world() -> (Arc<Kept>, Crossings) {
    let kept = Arc::new(Kept::default());
    let crossings = Crossings::of(Arc::clone(&kept) as _);
    (kept, crossings)
}

/// How a request that was sent ended is in the log, also when there is no room for another request.
#[tokio::test]
async fn the_last_requests_have_an_end() {
    let (kept, crossings) = world();
    crossings.record(crossing(1, Stage::Sent)).await.unwrap();
    crossings.taken.store(MAX_RECORDS, Ordering::Relaxed);
    for refused in [Stage::Sent, denied()] {
        let refused = crossings.record(crossing(2, refused)).await;
        assert_eq!(refused, Err(NotRecorded));
    }
    let end = Stage::Ended(Some("revoked".into()));
    crossings.record(crossing(1, end.clone())).await.unwrap();
    assert_eq!(kept.says(), [(id(1), Stage::Sent), (id(1), end)]);
    // Those that were refused are not on record.
    assert_eq!(crossings.close().await, Err(NotRecorded));
}

/// Whoever serves the way out cannot end what it did not send, send what has a name already, or speak for the call.
#[tokio::test]
async fn records_are_of_this_call_only_and_once() {
    let (kept, crossings) = world();
    let refused = async |number, stage| {
        let refused = crossings.record(crossing(number, stage)).await;
        assert_eq!(refused, Err(NotRecorded), "{number}");
    };
    refused(0, Stage::Sent).await;
    refused(0, Stage::Ended(None)).await;
    refused(1, Stage::Ended(None)).await;
    crossings.record(crossing(1, Stage::Sent)).await.unwrap();
    refused(1, Stage::Sent).await;
    refused(1, denied()).await;
    crossings
        .record(crossing(1, Stage::Ended(None)))
        .await
        .unwrap();
    refused(1, Stage::Ended(None)).await;
    // Its name is used, for ever.
    refused(1, Stage::Sent).await;
    refused(1, denied()).await;
    let mut moved = crossing(2, Stage::Sent);
    moved.host = Some("a\u{1b}[2Jb".to_owned());
    assert_eq!(crossings.record(moved).await, Err(NotRecorded));
    // What it said that nobody believes is not on record.
    assert_eq!(crossings.close().await, Err(NotRecorded));
    refused(3, Stage::Sent).await;
    refused(3, denied()).await;
    assert_eq!(kept.says().len(), 2);
    assert_eq!(crossings.denied(), []);
}

/// I1: when nobody says how a request ended, the log says that nobody knows.
#[tokio::test]
async fn what_was_sent_and_lost_is_ended() {
    let (kept, crossings) = world();
    crossings.record(crossing(1, Stage::Sent)).await.unwrap();
    crossings.record(crossing(2, denied())).await.unwrap();
    crossings.close().await.unwrap();
    let lost = Stage::Ended(Some(LOST.into()));
    assert_eq!(
        kept.says(),
        [(id(1), Stage::Sent), (id(2), denied()), (id(1), lost)]
    );
    let [attempt] = crossings.denied().try_into().unwrap();
    assert_eq!(attempt.what, "https://a.example:443 egress_denied");
}

/// One call has so many requests in the log's table of what is open, whoever serves it says; the end of one makes room.
#[tokio::test]
async fn requests_in_flight_are_bounded() {
    let (kept, crossings) = world();
    let named = |number: usize, stage| Crossing {
        decision: DecisionId::new(1, [u8::try_from(number % 256).unwrap(); 10]),
        ..crossing(0, stage)
    };
    for number in 0..MAX_OPEN_REQUESTS {
        crossings.record(named(number, Stage::Sent)).await.unwrap();
    }
    let more = crossings.record(crossing(1, Stage::Sent)).await;
    assert_eq!(more, Err(NotRecorded));
    assert_eq!(kept.says().len(), MAX_OPEN_REQUESTS);
    let end = Stage::Ended(None);
    crossings.record(named(0, end)).await.unwrap();
    crossings.record(crossing(1, Stage::Sent)).await.unwrap();
    assert_eq!(kept.says().len(), MAX_OPEN_REQUESTS + 2);
}

/// It is not said that all is written when it is not; and nothing that the log does not take may be sent.
#[tokio::test]
async fn what_is_not_written_is_said() {
    let (kept, crossings) = world();
    kept.broken.store(true, Ordering::SeqCst);
    assert_eq!(
        crossings.record(crossing(1, Stage::Sent)).await,
        Err(NotRecorded)
    );
    kept.broken.store(false, Ordering::SeqCst);
    // Its end would be the end of nothing.
    let end = crossings.record(crossing(1, Stage::Ended(None))).await;
    assert_eq!(end, Err(NotRecorded));
    assert_eq!(crossings.close().await, Err(NotRecorded));
}

/// I1: whatever was not recorded, for whatever reason, is said; what comes when it is closed is nobody's any more.
#[tokio::test]
async fn what_is_not_taken_is_said() {
    let (_, full) = world();
    full.taken.store(MAX_RECORDS, Ordering::Relaxed);
    let (_, odd) = world();
    let mut two_lines = crossing(1, denied());
    two_lines.host = Some("a\nb".to_owned());
    for (crossings, crossing) in [(full, crossing(1, denied())), (odd, two_lines)] {
        assert_eq!(crossings.record(crossing).await, Err(NotRecorded));
        assert_eq!(crossings.close().await, Err(NotRecorded));
    }
    let (_, closed) = world();
    assert_eq!(closed.close().await, Ok(()));
    let late = closed.record(crossing(1, denied())).await;
    assert_eq!(late, Err(NotRecorded));
    assert_eq!(closed.close().await, Ok(()));
}

/// Of one call people are asked so often and no more, whoever serves it says.
#[tokio::test]
async fn people_are_asked_so_often() {
    let (_, crossings) = world();
    let (crossings, mut asked) = crossings.asking();
    let request = |number: u8| HeldRequest {
        decision: id(number),
        rule: "rule".to_owned(),
        because: "approval_required".to_owned(),
        side_effect: casemate_model::SideEffect::Read,
        method: "GET".to_owned(),
        target: "https://a.example:443".to_owned(),
        path: "/".to_owned(),
        body: None,
    };
    let most = u8::try_from(MAX_ASKS).unwrap();
    for number in 1..=most {
        let (consent, ()) = tokio::join!(crossings.consent(request(number)), async {
            let asked: Asked = asked.recv().await.unwrap();
            asked.answer.send(Consent::Refused).unwrap();
        });
        assert_eq!(consent, Err(NotConsented));
    }
    let more = crossings.consent(request(most + 1)).await;
    assert_eq!(more, Err(NotConsented));
    assert!(asked.try_recv().is_err(), "somebody was asked");
}

/// A record for which nobody waits any more is written before it is said that all is.
#[tokio::test]
async fn a_record_that_nobody_waits_for_is_waited_for() {
    let (kept, crossings) = world();
    let (held, holds) = mpsc::channel();
    let (free, freed) = mpsc::channel::<()>();
    let holder = Arc::clone(&kept);
    let holder = std::thread::spawn(move || {
        let log = holder.written.lock().unwrap();
        held.send(()).unwrap();
        let _ = freed.recv();
        drop(log);
    });
    holds.recv().unwrap();
    {
        let mut recording = std::pin::pin!(crossings.record(crossing(1, Stage::Sent)));
        let waited = timeout(Duration::from_millis(20), &mut recording).await;
        assert!(waited.is_err(), "the log is held up");
    }
    let mut closing = std::pin::pin!(crossings.close());
    let waited = timeout(Duration::from_millis(20), &mut closing).await;
    assert!(waited.is_err(), "it is not written");
    drop(free);
    assert_eq!(closing.await, Ok(()));
    holder.join().unwrap();
    let lost = Stage::Ended(Some(LOST.into()));
    assert_eq!(kept.says(), [(id(1), Stage::Sent), (id(1), lost)]);
}
