//! From an answer until the call's first output, and the same without anybody to ask.

use std::{
    io::Read as _,
    os::unix::net::UnixStream,
    thread::sleep,
    time::{Duration, Instant},
};

use casemate_bundle::PolicyKey;
use casemate_gateway::{Member, Statement, Vote};
use serde_json::{Value, json};

use crate::{Failure, server::Server, summary};

const ROUNDS: usize = 200;
const POLL: Duration = Duration::from_millis(2);
const MOST_POLLS: usize = 10_000;
/// What the program says first.
const FIRST: &[u8] = b"begun";
const EVENTS: &str = "text/event-stream";

pub(crate) fn measure(server: &Server) -> Result<Value, Failure> {
    let public = server.casemate(&["approvals", "new-key", "bob.key", "--name", "bob"])?;
    server.casemate(&["approvals", "enlist", "bob", public.trim()])?;
    let key = PolicyKey::load(&server.path("bob.key"))?;
    let (mut approved, mut free) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        approved.push(approve(server, &key)?);
        let begun = Instant::now();
        let mut stream = server.send("POST", "/v1/calls", EVENTS, &call("free"))?;
        wait_for_output(&mut stream)?;
        free.push(begun.elapsed());
        wait_for_end(stream)?;
    }
    Ok(
        json!({ "answer until output": summary(approved), "call without approval until output": summary(free) }),
    )
}

fn call(route: &str) -> Value {
    json!({ "tool": "shell", "route": route, "thread": route, "argv": ["echo", "begun"] })
}

fn approve(server: &Server, key: &PolicyKey) -> Result<Duration, Failure> {
    let mut stream = server.send("POST", "/v1/calls", EVENTS, &call("work"))?;
    let mut polls = 0;
    let waiting = loop {
        let found = server.ask("GET", "/v1/approvals?state=pending", &Value::Null)?;
        let all = found.get("approvals").and_then(Value::as_array);
        match all.and_then(|all| all.first()) {
            Some(waiting) => break waiting.clone(),
            None if polls > MOST_POLLS => return Err("the call does not wait".into()),
            None => sleep(POLL),
        }
        polls += 1;
    };
    let text = |key: &str| {
        waiting
            .get(key)
            .and_then(Value::as_str)
            .ok_or("a key is missing")
    };
    let decision = text("decision")?;
    let statement = Statement {
        members: vec![Member {
            decision: decision.parse()?,
            action: text("action")?.parse()?,
        }],
        vote: Vote::Approve,
        reason: String::new(),
        at_ms: waiting
            .get("held_at_ms")
            .and_then(Value::as_u64)
            .ok_or("no time")?,
        grant_ms: None,
        break_glass: false,
    };
    let note = json!({ "note": key.sign_note(&statement.text()?) });
    let path = format!("/v1/approvals/{decision}/answer");
    let begun = Instant::now();
    let mut answer = server.send("POST", &path, "application/json", &note)?;
    wait_for_output(&mut stream)?;
    let took = begun.elapsed();
    answer.read_to_end(&mut Vec::new())?;
    wait_for_end(stream)?;
    Ok(took)
}

/// A caller that goes away takes its call along, and that is a failure of it.
fn wait_for_end(mut stream: UnixStream) -> Result<(), Failure> {
    stream.read_to_end(&mut Vec::new())?;
    Ok(())
}

fn wait_for_output(stream: &mut UnixStream) -> Result<(), Failure> {
    let (mut all, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        let count = stream.read(&mut piece)?;
        all.extend_from_slice(piece.get(..count).unwrap_or_default());
        if all.windows(FIRST.len()).any(|part| part == FIRST) {
            return Ok(());
        }
        if count == 0 {
            return Err(String::from_utf8_lossy(&all).into());
        }
    }
}
