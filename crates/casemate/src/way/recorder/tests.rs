use casemate_egress::{Code, Entry, Origin};
use casemate_model::DecisionId;

use super::*;

/// Keeps what is written to it, unless it is broken.
#[derive(Debug, Default)]
struct Kept {
    written: Mutex<Vec<gateway::Stage>>,
    broken: std::sync::atomic::AtomicBool,
}

impl Log for Kept {
    fn write(&self, crossing: &Crossing) -> Result<(), gateway::RecordError> {
        if self.broken.load(Ordering::SeqCst) {
            return Err(gateway::RecordError::Entropy(
                std::io::ErrorKind::Other.into(),
            ));
        }
        self.written.lock().unwrap().push(crossing.stage);
        Ok(())
    }
}

fn record(stage: Stage) -> Record {
    let decision = DecisionId::new(0, [0; 10]);
    Record {
        decision,
        at_ms: 0,
        origin: Origin {
            call: decision,
            trace: String::new(),
        },
        stage,
        because: None,
        entry: Entry::Connect,
        target: None,
        server_name: None,
        class: None,
        rule: None,
        side_effect: None,
        method: None,
        path: None,
        body: None,
        addresses: Vec::new(),
        credential: None,
        status: None,
        bytes_out: 0,
        bytes_in: 0,
        hits: 0,
    }
}

/// How a request that was sent ended is in the log, also when there is no room for another request.
#[tokio::test]
async fn the_last_requests_have_an_end() {
    let kept = Arc::new(Kept::default());
    let records = Records::new(Arc::clone(&kept) as _);
    records.record(&record(Stage::Sent)).await.unwrap();
    records.taken.store(MAX_RECORDS, Ordering::Relaxed);
    for refused in [Stage::Sent, Stage::Denied(Code::EgressDenied)] {
        assert!(records.record(&record(refused)).await.is_err());
    }
    records.broken().await;
    let end = Stage::Ended(Some(Code::Revoked));
    records.record(&record(end)).await.unwrap();
    assert_eq!(
        *kept.written.lock().unwrap(),
        [
            gateway::Stage::Sent,
            gateway::Stage::Ended(Some(Code::Revoked.as_str()))
        ]
    );
}

/// It is said that all is written when it is: each refusal, and the end of each request.
#[tokio::test]
async fn what_is_not_written_is_said() {
    let kept = Arc::new(Kept::default());
    let records = Records::new(Arc::clone(&kept) as _);
    records
        .record(&record(Stage::Denied(Code::EgressDenied)))
        .await
        .unwrap();
    records.record(&record(Stage::Sent)).await.unwrap();
    assert_eq!(records.settled(), Err(Unwritten::Pending(1)));
    records.record(&record(Stage::Ended(None))).await.unwrap();
    assert_eq!(records.settled(), Ok(()));
    // Nobody waits for this one, and the log is held up.
    let log = kept.written.lock().unwrap();
    let denied = record(Stage::Denied(Code::ClientGone));
    let _ = futures_util::future::poll_immediate(records.record(&denied)).await;
    assert_eq!(records.settled(), Err(Unwritten::Pending(1)));
    drop(log);
    while records.settled().is_err() {
        tokio::task::yield_now().await;
    }
    kept.broken.store(true, Ordering::SeqCst);
    assert!(records.record(&denied).await.is_err());
    assert_eq!(records.settled(), Err(Unwritten::Failed));
}
