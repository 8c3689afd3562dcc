use std::convert::Infallible;

use bytes::Bytes;
use casemate_identity::{RemoteIdentity, Usage};
use casemate_ports::CrossingContent;
use http::Response;
use http_body_util::Full;
use hyper::{server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, duplex};

use super::*;

/// Writes everything down.
#[derive(Debug)]
struct Writes;

impl Witness for Writes {
    fn record(&self, _: Crossing) -> Pending<'_, Result<(), NotRecorded>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn consent(&self, _: HeldRequest) -> Pending<'_, Result<(), NotConsented>> {
        Box::pin(std::future::ready(Err(NotConsented::Refused)))
    }

    fn consult(&self, _: ConsultedRequest) -> Pending<'_, Advice> {
        Box::pin(std::future::pending())
    }
}

/// What a rule lends for that asks where the agent has been.
fn usage() -> Usage {
    Usage {
        handle: "cred:one".parse().unwrap(),
        rule: "one".to_owned(),
        host: "a.example.com".to_owned(),
        ports: vec![443],
        methods: vec!["GET".to_owned()],
        paths: None,
        query: None,
        escaped_slash: false,
        tools: None,
        login: None,
        known: Some(Vec::new()),
        most: 1,
    }
}

fn crossing(stage: Stage) -> Crossing {
    Crossing {
        decision: DecisionId::new(0, [1; 10]),
        at_ms: 0,
        status: (stage != Stage::Sent).then_some(200),
        stage,
        because: None,
        entry: "connect".into(),
        scheme: Some("https".into()),
        host: Some("a.example.com".to_owned()),
        port: Some(443),
        class: None,
        rule: Some("one".to_owned()),
        side_effect: None,
        method: Some("GET".to_owned()),
        credential: None,
        bytes_out: 0,
        bytes_in: 0,
        hits: 0,
        sealed: CrossingContent::default(),
    }
}

/// Tells of a request that was answered whole.
async fn tell(orders: RemoteIdentity) -> Held {
    let held = Held::new(Right::new(orders, vec![usage()]));
    let telling = Telling::new(Arc::new(Writes), held.clone());
    for stage in [Stage::Sent, Stage::Ended(None)] {
        telling.record(crossing(stage)).await.unwrap();
    }
    held
}

/// I1: an identity that lives and does not answer in time where the agent has been lends no more.
#[tokio::test(start_paused = true)]
async fn a_right_ends_that_does_not_hear_where_the_agent_has_been() {
    let (here, mut identity) = duplex(64 * 1024);
    let held = tell(RemoteIdentity::over(here).await.unwrap()).await;
    assert!(held.has_ended());
    // Its connection is gone, too: it knows.
    identity.read_to_end(&mut Vec::new()).await.unwrap();
}

/// One that hears it goes on.
#[tokio::test(start_paused = true)]
async fn a_right_stands_that_hears_where_the_agent_has_been() {
    let (here, identity) = duplex(64 * 1024);
    let service = service_fn(|_| async {
        let reply = Bytes::from_static(br#"{"reply":"done"}"#);
        Ok::<_, Infallible>(Response::new(Full::new(reply)))
    });
    tokio::spawn(async move {
        let builder = http2::Builder::new(TokioExecutor::new());
        let _ = builder
            .serve_connection(TokioIo::new(identity), service)
            .await;
    });
    let held = tell(RemoteIdentity::over(here).await.unwrap()).await;
    assert!(!held.has_ended());
}
