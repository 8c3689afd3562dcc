//! What calls that wait for a person use: memory each, and processor time.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use serde_json::{Value, json};

use crate::{Failure, server::Server};

/// Those with which the gateway comes to its working size.
const FIRST: usize = 500;
const CALLS: usize = 10_000;
const WORKERS: usize = 16;
const POLL: Duration = Duration::from_millis(2);
/// How long the gateway is watched while nothing happens.
const CALM: Duration = Duration::from_secs(10);

pub(crate) fn measure(server: &mut Server) -> Result<Value, Failure> {
    server.restart()?;
    ticks(server)?;
    let fresh = server.anonymous_kib()?;
    hold(server, FIRST)?;
    let before = server.anonymous_kib()?;
    hold(server, CALLS)?;
    let after = server.anonymous_kib()?;
    let ticks = ticks(server)?;
    server.restart()?;
    let ticks_again = self::ticks(server)?;
    // It has taken up all that waits by then.
    let again = server.anonymous_kib()?;
    let each =
        |before: u64, after: u64, calls: usize| after.saturating_sub(before) as f64 / calls as f64;
    Ok(json!({
        "calls": CALLS,
        "KiB each": each(before, after, CALLS),
        "KiB each after a restart": each(fresh, again, FIRST + CALLS),
        "ticks a second": ticks,
        "ticks a second after a restart": ticks_again,
    }))
}

/// Has so many calls more wait.
fn hold(server: &Server, calls: usize) -> Result<(), Failure> {
    let next = &AtomicUsize::new(0);
    thread::scope(|scope| {
        let work = move |worker: usize| {
            while next.fetch_add(1, Ordering::Relaxed) < calls {
                hold_one(server, worker)?;
            }
            Ok::<(), Failure>(())
        };
        let workers: Vec<_> = (0..WORKERS)
            .map(|worker| scope.spawn(move || work(worker)))
            .collect();
        for worker in workers {
            worker.join().map_err(|_| "a thread panicked")??;
        }
        Ok(())
    })
}

fn hold_one(server: &Server, worker: usize) -> Result<(), Failure> {
    let call = json!({
        "tool": "shell",
        "route": "work",
        "thread": format!("t{worker}"),
        "argv": ["sh", "-c", "echo a call of an ordinary size >> log"],
        "wait": false,
    });
    let begun = server.ask("POST", "/v1/calls", &call)?;
    let decision = begun
        .get("decision")
        .and_then(Value::as_str)
        .ok_or("no call")?;
    let path = format!("/v1/calls/{decision}");
    loop {
        let found = server.ask("GET", &path, &Value::Null)?;
        match found.get("state").and_then(Value::as_str) {
            Some("held") => return Ok(()),
            Some("ended") => return Err(found.to_string().into()),
            _ => thread::sleep(POLL),
        }
    }
}

fn ticks(server: &Server) -> Result<f64, Failure> {
    // What a start or the last call left to do is done by then.
    thread::sleep(CALM / 5);
    let before = server.ticks()?;
    thread::sleep(CALM);
    Ok((server.ticks()? - before) as f64 / CALM.as_secs_f64())
}
