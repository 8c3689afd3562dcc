use std::{future::poll_fn, pin::pin, task::Poll};

use casemate_egress::{Code, Entry, Host, Origin, Scheme, Target};
use casemate_model::DecisionId;

use super::*;

/// The end of a request.
fn ended(stage: Stage, status: Option<u16>) -> Record {
    let decision = DecisionId::new(0, [1; 10]);
    Record {
        decision,
        at_ms: 0,
        origin: Origin {
            call: decision,
            trace: "trace".to_owned(),
        },
        stage,
        because: None,
        entry: Entry::Connect,
        target: Some(Target {
            scheme: Scheme::Https,
            host: Host::parse("a.example.com").unwrap(),
            port: 443,
        }),
        server_name: None,
        class: None,
        rule: None,
        side_effect: None,
        method: None,
        path: None,
        body: None,
        addresses: Vec::new(),
        credential: None,
        status,
        bytes_out: 0,
        bytes_in: 0,
        hits: 0,
    }
}

/// R116: a destination that answered is known when that is on record. Whoever asks before waits; if it could not be recorded, it stays new.
#[tokio::test]
async fn a_destination_is_known_when_that_is_on_record() {
    let known = Arc::new(Known::new(Vec::new()));
    let is_known = || known.of("a.example.com", 443) == Familiarity::Known;
    for (stage, status) in [
        (Stage::Ended(Some(Code::ClientGone)), Some(200)),
        (Stage::Ended(None), None),
        (Stage::Sent, Some(200)),
        (Stage::Denied(Code::EgressDenied), None),
    ] {
        assert!(known.begin(&ended(stage, status)).is_none(), "{stage:?}");
    }
    for is_written in [false, true] {
        let settling = known.begin(&ended(Stage::Ended(None), Some(200))).unwrap();
        let other = known.begin(&ended(Stage::Ended(None), Some(200))).unwrap();
        assert!(!is_known());
        let mut waits = pin!(known.settled("a.example.com", 443));
        let poll = poll_fn(|context| Poll::Ready(waits.as_mut().poll(context)));
        assert_eq!(poll.await, Poll::Pending);
        // Others do not wait.
        known.settled("a.example.com", 8443).await;
        drop(other);
        match is_written {
            true => settling.learn(),
            false => drop(settling),
        }
        waits.await;
        assert_eq!(is_known(), is_written);
    }
    assert!(known.begin(&ended(Stage::Ended(None), Some(200))).is_none());
}
