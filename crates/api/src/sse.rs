//! Server-sent events: what a call gives back, as it comes.

use std::{mem, sync::Arc};

use axum::{
    body::Body,
    http::{HeaderValue, header},
    response::{IntoResponse as _, Response},
};
use casemate_gateway::{Answer, Output, Progress, RunningCall, Told};
use casemate_model::{DecisionId, Stream, Text};
use casemate_ports::Event;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::{body::Pieces, limits::ANSWER_QUEUE, problem::Problem, state::Begun};

/// A response of events, and where they go.
pub(crate) fn response() -> (mpsc::Sender<Vec<u8>>, Response) {
    let (sender, receiver) = mpsc::channel(ANSWER_QUEUE);
    let mut response = Body::new(Pieces::endless(receiver)).into_response();
    let headers = response.headers_mut();
    let kind = HeaderValue::from_static("text/event-stream");
    headers.insert(header::CONTENT_TYPE, kind);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    (sender, response)
}

/// An event: JSON has no line breaks, so it is one line of data.
pub(crate) fn frame(name: &str, id: Option<u64>, data: &impl Serialize) -> Vec<u8> {
    let data = serde_json::to_string(data).unwrap_or_default();
    match id {
        Some(id) => format!("id: {id}\nevent: {name}\ndata: {data}\n\n"),
        None => format!("event: {name}\ndata: {data}\n\n"),
    }
    .into_bytes()
}

/// A piece of output, as events: results one by one, the rest as it came.
fn output(stream: Stream, bytes: &[u8], id: Option<u64>, lines: &mut Lines) -> Vec<u8> {
    match stream {
        Stream::Results => lines
            .push(bytes)
            .iter()
            .flat_map(|result| frame("result", id, result))
            .collect(),
        Stream::Stdout | Stream::Stderr => {
            let name = match stream {
                Stream::Stderr => "stderr",
                _ => "stdout",
            };
            let text = Text::from(bytes.to_vec());
            frame("output", id, &json!({ "stream": name, "text": text }))
        }
    }
}

/// The end of a call: its answer without the output, or the problem.
fn ended(told: &Told) -> Vec<u8> {
    match told {
        Told::Released(released) => {
            let output = released.replayed().cloned();
            frame(
                "ended",
                None,
                &Answer::released(released, output.unwrap_or_default()),
            )
        }
        _ => frame("ended", None, &Problem::of_call(told)),
    }
}

/// Results that come in pieces.
#[derive(Default)]
struct Lines(Vec<u8>);

impl Lines {
    fn push(&mut self, bytes: &[u8]) -> Vec<Value> {
        self.0.extend_from_slice(bytes);
        let Some(end) = self.0.iter().rposition(|byte| *byte == b'\n') else {
            return Vec::new();
        };
        let rest = self.0.split_off(end + 1);
        let whole = mem::replace(&mut self.0, rest);
        whole
            .split(|byte| *byte == b'\n')
            .filter_map(|line| serde_json::from_slice(line).ok())
            .filter(Value::is_object)
            .collect()
    }
}

/// Streams a call to the caller who waits for it. A call that was refused before it ran is a problem, not a
/// stream.
pub(crate) async fn attached(mut begun: Begun) -> Response {
    drop(begun.stdin);
    let mut events = begun.events;
    let first = tokio::select! {
        first = events.recv() => first,
        // It is told at once that it waits.
        true = begun.call.held() => {
            let (sender, response) = response();
            let held = frame("held", None, &json!({ "decision": begun.call.id }));
            tokio::spawn(async move {
                if sender.send(held).await.is_ok() {
                    let first = tokio::select! {
                        first = events.recv() => first,
                        () = sender.closed() => return,
                    };
                    pass_on(begun.call, events, first, sender).await;
                }
            });
            return response;
        }
    };
    begun.events = events;
    if first.is_none() {
        let told = begun.call.ended().await;
        if let Some(problem) = Problem::of_call(&told) {
            return problem.into_response();
        }
    }
    let (sender, response) = response();
    tokio::spawn(pass_on(begun.call, begun.events, first, sender));
    response
}

async fn pass_on(
    call: Arc<RunningCall>,
    mut events: mpsc::Receiver<Event>,
    first: Option<Event>,
    to: mpsc::Sender<Vec<u8>>,
) {
    let mut lines = Lines::default();
    if to.send(begin(call.id)).await.is_err() {
        return;
    }
    let mut next = first;
    while let Some(Event::Output(stream, bytes)) = next {
        if to
            .send(output(stream, &bytes, None, &mut lines))
            .await
            .is_err()
        {
            return;
        }
        next = tokio::select! {
            event = events.recv() => event,
            // Nobody reads: dropping the events cancels the call.
            () = to.closed() => return,
        };
    }
    let told = call.ended().await;
    drop(to.send(ended(&told)).await);
}

/// Streams what is kept of a call to whoever asks after it, and goes on with it.
pub(crate) fn observed(call: Arc<RunningCall>, from: u64) -> Response {
    let (sender, response) = response();
    tokio::spawn(async move {
        let mut next = from;
        let mut lines = Lines::default();
        if sender.send(begin(call.id)).await.is_err() {
            return;
        }
        loop {
            let seen = tokio::select! {
                seen = call.wait(next) => seen,
                () = sender.closed() => return,
            };
            if seen.missed > 0 {
                let missed = frame("missed", None, &json!({ "pieces": seen.missed }));
                if sender.send(missed).await.is_err() {
                    return;
                }
            }
            let first = seen.next - seen.pieces.len() as u64;
            for (number, (stream, bytes)) in (first + 1..).zip(&seen.pieces) {
                let event = output(*stream, bytes, Some(number), &mut lines);
                if sender.send(event).await.is_err() {
                    return;
                }
            }
            next = seen.next;
            // What came between the look at the output and the end is not lost.
            if let Some(told) = seen.told
                && call.pieces(next).pieces.is_empty()
            {
                drop(sender.send(ended(&told)).await);
                return;
            }
        }
    });
    response
}

fn begin(id: DecisionId) -> Vec<u8> {
    frame("call", None, &json!({ "decision": id }))
}

/// Everything that a call gives back, in memory: what its limits allow is not much.
pub(crate) async fn collect(events: &mut mpsc::Receiver<Event>, progress: &Progress) -> Output {
    let (mut stdout, mut stderr, mut results) = (Vec::new(), Vec::new(), Vec::new());
    let mut is_first = true;
    while let Some(Event::Output(stream, bytes)) = events.recv().await {
        if mem::take(&mut is_first) {
            progress.done("output");
        }
        match stream {
            Stream::Stdout => stdout.extend(bytes),
            Stream::Stderr => stderr.extend(bytes),
            Stream::Results => results.extend(bytes),
        }
    }
    Output {
        stdout: stdout.into(),
        stderr: stderr.into(),
        results: results.into(),
    }
}
