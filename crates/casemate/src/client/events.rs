//! Server-sent events, as they come.

use http_body_util::BodyExt as _;
use hyper::{Response, body::Incoming};
use serde_json::Value;

use crate::report::Failure;

/// The events of an answer.
pub(crate) struct Events {
    body: Incoming,
    buffer: Vec<u8>,
}

/// One event.
pub(crate) struct Event {
    pub(crate) name: String,
    pub(crate) data: Value,
}

impl Events {
    pub(crate) fn of(response: Response<Incoming>) -> Self {
        Self {
            body: response.into_body(),
            buffer: Vec::new(),
        }
    }

    /// The next event; none when the gateway has gone away.
    pub(crate) async fn next(&mut self) -> Result<Option<Event>, Failure> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|two| two == b"\n\n") {
                let rest = self.buffer.split_off(end + 2);
                let event = std::mem::replace(&mut self.buffer, rest);
                return parse(&String::from_utf8_lossy(&event)).map(Some);
            }
            let Some(frame) = self.body.frame().await else {
                return Ok(None);
            };
            let frame = frame.map_err(|error| {
                Failure::failed(error).context("the gateway's answer was cut off")
            })?;
            if let Ok(data) = frame.into_data() {
                self.buffer.extend_from_slice(&data);
            }
        }
    }
}

fn parse(event: &str) -> Result<Event, Failure> {
    let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name));
    let data = serde_json::from_str(field("data: ").unwrap_or("null"));
    Ok(Event {
        name: field("event: ").unwrap_or_default().to_owned(),
        data: data
            .map_err(|error| Failure::failed(error).context("the gateway's answer is not JSON"))?,
    })
}
