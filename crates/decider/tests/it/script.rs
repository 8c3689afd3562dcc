//! A decider that says what a test wants it to.

use casemate_decider::{Answer, Decider, DeciderError, Denial, Question, QuestionBody};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, ReadHalf, WriteHalf},
    task::JoinHandle,
};

pub(crate) struct Script(DuplexStream);

pub(crate) type Ours = (ReadHalf<DuplexStream>, WriteHalf<DuplexStream>);

impl Script {
    /// The two ends of a stream.
    pub(crate) fn new() -> (Self, Ours) {
        let (ours, theirs) = tokio::io::duplex(8 << 20);
        (Self(theirs), tokio::io::split(ours))
    }

    pub(crate) async fn read(&mut self) -> Value {
        let length = self.0.read_u32().await.unwrap();
        let mut frame = vec![0; usize::try_from(length).unwrap()];
        self.0.read_exact(&mut frame).await.unwrap();
        serde_json::from_slice(&frame).unwrap()
    }

    pub(crate) async fn write(&mut self, message: &str) {
        self.0
            .write_u32(u32::try_from(message.len()).unwrap())
            .await
            .unwrap();
        self.0.write_all(message.as_bytes()).await.unwrap();
    }

    pub(crate) async fn bytes(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    pub(crate) async fn verdict(&mut self, id: &Value, rest: &Value) {
        let mut message = json!({ "t": "verdict", "id": id });
        message
            .as_object_mut()
            .unwrap()
            .extend(rest.as_object().unwrap().clone());
        self.write(&message.to_string()).await;
    }
}

/// A decider that has said hello and lets requests go to `a.test`.
pub(crate) async fn connected() -> (Script, Decider, JoinHandle<DeciderError>) {
    let (mut script, (reader, writer)) = Script::new();
    script.write(r#"{"t":"hello","proto":1,"allowedDomains":["a.test","*.b.test"],"deniedDomains":["x.b.test"]}"#).await;
    let (decider, driver) = Decider::connect(reader, writer).await.unwrap();
    assert_eq!(script.read().await, json!({ "t": "hello", "proto": 1 }));
    (script, decider, tokio::spawn(driver.run()))
}

pub(crate) const QUESTION: Question<'static> = Question {
    method: "POST",
    host: "a.test",
    port: 443,
    server_name: None,
    path: "/v1",
    query: "",
    headers: &[],
    body: QuestionBody::Whole(b"0123456789"),
};

pub(crate) fn passes() -> Answer {
    Answer::Pass {
        remove_headers: Vec::new(),
    }
}

pub(crate) fn denied(denial: Denial) -> Answer {
    Answer::Deny(denial)
}

/// Asks in the background.
pub(crate) fn asked(decider: &Decider) -> JoinHandle<Answer> {
    let decider = decider.clone();
    tokio::spawn(async move { decider.ask(&QUESTION).await })
}
