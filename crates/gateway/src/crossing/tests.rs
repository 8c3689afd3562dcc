use std::sync::mpsc;

use casemate_ports::{ConsultedBody, CrossingContent};

use super::*;

/// Keeps what is written to it, unless it is broken; held up while its lock is held.
#[derive(Debug, Default)]
struct Kept {
    written: Mutex<Vec<(DecisionId, Stage)>>,
    /// What was heard of them.
    heard: Mutex<Vec<String>>,
    broken: AtomicBool,
    /// Ends are durable when so many of them have begun.
    together: Option<Arc<tokio::sync::Barrier>>,
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
        heard: Option<&Heard>,
        _: Urgency,
    ) -> Result<Pending<'static, Result<(), RecordError>>, RecordError> {
        if let Some(heard) = heard {
            let heard = format!("{}: {:?}", heard.by, heard.said.advice);
            self.heard.lock().unwrap().push(heard);
        }
        let mut written = self.written.lock().unwrap();
        if self.broken.load(Ordering::SeqCst) {
            return Err(RecordError::Entropy(std::io::ErrorKind::Other.into()));
        }
        written.push((crossing.decision, crossing.stage.clone()));
        let is_end = matches!(crossing.stage, Stage::Ended(_));
        let together = self.together.clone().filter(|_| is_end);
        Ok(Box::pin(async move {
            if let Some(together) = together {
                together.wait().await;
            }
            Ok(())
        }))
    }
}

impl Kept {
    fn says(&self) -> Vec<(DecisionId, Stage)> {
        self.written.lock().unwrap().clone()
    }
}

/// The call, for nothing, or one of its requests.
fn id(number: u8) -> DecisionId {
    let call = DecisionId::new(0, [200; 10]);
    match number {
        0 => call,
        _ => call.request(0, [number; 4]),
    }
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
    // Of another call, and of a request of another one.
    let other = DecisionId::new(0, [201; 10]);
    for stranger in [other, other.request(0, [1; 4])] {
        for stage in [Stage::Sent, denied()] {
            let decision = stranger;
            let stranger = Crossing {
                decision,
                ..crossing(1, stage)
            };
            assert_eq!(crossings.record(stranger).await, Err(NotRecorded));
        }
    }
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

/// Lost requests are ended together: however many they are, and however long a flush takes, their call ends in time.
#[tokio::test]
async fn lost_requests_share_a_flush() {
    let kept = Arc::new(Kept {
        together: Some(Arc::new(tokio::sync::Barrier::new(9))),
        ..Kept::default()
    });
    let crossings = Crossings::of(Arc::clone(&kept) as _);
    for number in 1..=9 {
        crossings
            .record(crossing(number, Stage::Sent))
            .await
            .unwrap();
    }
    assert_eq!(crossings.close().await, Ok(()));
    assert_eq!(kept.says().len(), 18);
}

/// One call has so many requests in the log's table of what is open, whoever serves it says; the end of one makes room.
#[tokio::test]
async fn requests_in_flight_are_bounded() {
    let (kept, crossings) = world();
    let named = |number: usize, stage| Crossing {
        decision: id(0).request(1, [u8::try_from(number % 256).unwrap(); 4]),
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
    let most = u8::try_from(MAX_ASKS).unwrap();
    for number in 1..=most {
        let (consent, ()) = tokio::join!(crossings.consent(held(number)), async {
            let asked: Asked = asked.recv().await.unwrap();
            asked.answer.send(Consent::Refused).unwrap();
        });
        assert_eq!(consent, Err(NotConsented::Refused));
    }
    let more = crossings.consent(held(most + 1)).await;
    assert_eq!(more, Err(NotConsented::Refused));
    assert!(asked.try_recv().is_err(), "somebody was asked");
}

/// Nobody is asked in the name of another call, nor of this one.
#[tokio::test]
async fn people_are_asked_about_requests_of_this_call() {
    let (_, crossings) = world();
    let (crossings, mut asked) = crossings.asking();
    let other = DecisionId::new(0, [201; 10]);
    for decision in [id(0), other, other.request(0, [1; 4])] {
        let request = HeldRequest {
            decision,
            ..held(1)
        };
        assert_eq!(crossings.consent(request).await, Err(NotConsented::Refused));
    }
    assert!(asked.try_recv().is_err(), "somebody was asked");
}

/// A request that is given up while it waits has one record: of whoever asks people, if it was kept, and otherwise its own; one that
/// was consented to has its own, whatever becomes of it.
#[tokio::test]
async fn a_request_that_is_given_up_has_one_record() {
    for (is_taken, answer, settled, own) in [
        (true, Some(Consent::Refused), None, 0),
        (true, Some(Consent::Nothing), None, 1),
        (true, Some(Consent::Given), None, 1),
        // Nobody took it before the call had ended.
        (false, None, None, 1),
        // The call has ended, and what waits ended with it, or could not.
        (true, None, Some(true), 0),
        (true, None, Some(false), 1),
    ] {
        let (kept, crossings) = world();
        let (crossings, mut asked) = crossings.asking();
        let people = async {
            let asked: Asked = asked.recv().await.unwrap();
            asked.holding.taken.store(is_taken, Ordering::SeqCst);
            asked.holding.gone.notified().await;
            match answer {
                Some(answer) => asked.answer.send(answer).unwrap(),
                None => drop(asked.answer),
            }
            if let Some(settled) = settled {
                tokio::task::yield_now().await;
                crossings.settle(id(1), settled);
            }
        };
        let gives_up = async {
            while asks(&crossings) == 0 {
                tokio::task::yield_now().await;
            }
            crossings.record(crossing(1, denied())).await.unwrap();
        };
        let (consent, (), ()) = tokio::join!(crossings.consent(held(1)), people, gives_up);
        assert_eq!(consent.is_ok(), answer == Some(Consent::Given));
        assert_eq!(kept.says().len(), own, "{is_taken} {answer:?} {settled:?}");
        assert_eq!(crossings.close().await, Ok(()));
    }
}

fn asks(crossings: &Crossings) -> u64 {
    crossings.state().asks
}

fn held(number: u8) -> HeldRequest {
    HeldRequest {
        decision: id(number),
        rule: "rule".to_owned(),
        because: "approval_required".to_owned(),
        side_effect: casemate_model::SideEffect::Read,
        method: "GET".to_owned(),
        target: "https://a.example:443".to_owned(),
        path: "/".to_owned(),
        fields: Vec::new(),
        body: None,
    }
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

/// Says of each request what it is told to.
#[derive(Debug)]
struct Says(Mutex<Option<Said>>);

impl Decider for Says {
    fn name(&self) -> &'static str {
        "dlp"
    }

    fn consult(&self, _: ConsultedRequest) -> Pending<'_, Said> {
        let said = self.0.lock().unwrap().clone();
        Box::pin(async move {
            match said {
                Some(said) => said,
                None => std::future::pending().await,
            }
        })
    }
}

fn consulted(number: u8) -> ConsultedRequest {
    ConsultedRequest {
        decision: id(number),
        method: "GET".to_owned(),
        host: "a.example".to_owned(),
        port: 443,
        server_name: None,
        path: "/".to_owned(),
        query: None,
        fields: Vec::new(),
        body: ConsultedBody::Stream,
    }
}

/// I1: where a program of the operator's is asked, nothing is sent that it did not let pass, whoever serves the way out says: not without
/// asking, not while it is asked, not against it; and the record says what it said.
#[tokio::test]
async fn what_was_not_let_pass_is_not_sent() {
    let pass = Said {
        advice: Advice::Pass {
            without: Vec::new(),
        },
        reason: None,
    };
    let says = Arc::new(Says(Mutex::new(Some(pass.clone()))));
    let (kept, crossings) = world();
    let crossings = crossings.consulting(Some(Arc::clone(&says) as _));
    let refused = async |number| {
        let sent = crossings.record(crossing(number, Stage::Sent)).await;
        assert_eq!(sent, Err(NotRecorded), "{number}");
    };
    refused(1).await;
    assert_eq!(crossings.consult(consulted(2)).await, pass.advice);
    crossings.record(crossing(2, Stage::Sent)).await.unwrap();
    // Once.
    let again = crossings.consult(consulted(2)).await;
    assert!(matches!(again, Advice::Deny { .. }), "{again:?}");
    refused(2).await;
    // Nothing was said of it, and whoever asked has gone.
    *says.0.lock().unwrap() = None;
    let waited = timeout(Duration::from_millis(20), crossings.consult(consulted(3))).await;
    assert!(waited.is_err());
    refused(3).await;
    *says.0.lock().unwrap() = Some(Said::nothing(AdviceCode::Denied));
    crossings.consult(consulted(4)).await;
    refused(4).await;
    crossings.consult(consulted(5)).await;
    crossings.record(crossing(5, denied())).await.unwrap();
    assert_eq!(kept.says(), [(id(2), Stage::Sent), (id(5), denied())]);
    let heard = kept.heard.lock().unwrap().join("\n");
    assert!(
        heard.starts_with("dlp: Pass") && heard.contains("dlp: Deny"),
        "{heard}"
    );
    // Nobody asks in the name of the call, and where nobody is asked there is no yes.
    let own = crossings.consult(consulted(0)).await;
    assert!(matches!(own, Advice::Deny { .. }));
    let (_, nobody) = world();
    let none = nobody.consult(consulted(1)).await;
    assert!(matches!(none, Advice::Deny { .. }));
}

/// Remembers.
#[derive(Debug, Default)]
struct Memory(Mutex<Vec<String>>);

impl Familiar for Memory {
    fn note(&self, destination: KnownDestination, _: u64) -> Pending<'_, ()> {
        let KnownDestination { host, port } = destination;
        self.0.lock().unwrap().push(format!("{host}:{port}"));
        Box::pin(std::future::ready(()))
    }
}

/// A destination is remembered once, and only if it answered a request that was sent: not one that was refused, that failed, or that nobody
/// sent; and by the name that was recorded when it was sent.
#[tokio::test]
async fn destinations_that_answer_are_remembered() {
    let memory = Arc::new(Memory::default());
    let (_, crossings) = world();
    let crossings = crossings.remembering(Some(Arc::clone(&memory) as _));
    let noted = || memory.0.lock().unwrap().clone();
    let ended = |number, code: Option<&'static str>, status| Crossing {
        status,
        host: Some("evil.example".to_owned()),
        ..crossing(number, Stage::Ended(code.map(Into::into)))
    };
    crossings.record(crossing(1, denied())).await.unwrap();
    assert!(crossings.record(ended(2, None, Some(200))).await.is_err());
    for (number, code, status) in [(3, Some("timeout"), Some(200)), (4, None, None)] {
        crossings
            .record(crossing(number, Stage::Sent))
            .await
            .unwrap();
        crossings.record(ended(number, code, status)).await.unwrap();
    }
    tokio::task::yield_now().await;
    assert_eq!(noted(), Vec::<String>::new());
    for number in [5, 6] {
        crossings
            .record(crossing(number, Stage::Sent))
            .await
            .unwrap();
        crossings
            .record(ended(number, None, Some(404)))
            .await
            .unwrap();
    }
    // One that nobody sent was told of.
    assert_eq!(crossings.close().await, Err(NotRecorded));
    assert_eq!(noted(), ["a.example:443"]);
}
