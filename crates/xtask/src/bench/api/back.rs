//! How long it takes until calls run again after a process was killed.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use serde_json::Value;
use tokio::runtime::Runtime;

use super::calls::{python, ran};
use crate::served::{Client, Server, signal};

/// Longer than anything takes that is looked after.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(5);

/// The times from the death of a process to the next call that ran, by its name.
pub(super) type Back = Vec<(&'static str, Vec<Duration>)>;

/// Kills each process so many times, and asks for a call until one runs.
pub(super) fn measure(runtime: &Runtime, server: &mut Server, deaths: usize) -> Result<Back> {
    let mut found = Back::new();
    for name in ["gateway", "keeper", "identity"] {
        let mut times = Vec::new();
        for _ in 0..deaths {
            let pid = runtime.block_on(pid_of(server, name))?;
            let killed = Instant::now();
            signal(pid, Signal::KILL)?;
            runtime.block_on(until_it_runs(server, killed))?;
            times.push(killed.elapsed());
        }
        found.push((name, times));
    }
    let mut times = Vec::new();
    for _ in 0..deaths {
        // Nobody looks after it: it is started by hand, at once.
        let killed = Instant::now();
        server.kill()?;
        runtime.block_on(until_it_runs(server, killed))?;
        times.push(killed.elapsed());
    }
    found.push(("`casemate up`, started again at once", times));
    Ok(found)
}

/// The process of this name, as soon as everything is well.
async fn pid_of(server: &Server, name: &str) -> Result<i32> {
    let mut client = Client::new(&server.socket());
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        let told = client.send("GET", "/v1/status", "").await?.success()?;
        let processes = told.get("processes").and_then(Value::as_array);
        let one = processes.into_iter().flatten().find(|one| {
            let is_called = one.get("name").and_then(Value::as_str);
            is_called == Some(name)
        });
        let pid = one.and_then(|one| one.get("pid")?.as_i64());
        if let (Some(pid), Some(true)) = (pid, told.get("ready").and_then(Value::as_bool)) {
            return i32::try_from(pid).context("there is no process of that number");
        }
        tokio::time::sleep(POLL).await;
    }
    bail!("there is no {name}")
}

async fn until_it_runs(server: &Server, since: Instant) -> Result<()> {
    let mut last = None;
    while since.elapsed() < PATIENCE {
        let mut client = server.client();
        match client.post("/v1/calls", &python("back")).await {
            // A session that is gone is told of once.
            Ok(answer) => match ran(&answer) {
                Ok(_) => return Ok(()),
                Err(error) => last = Some(error),
            },
            Err(error) => last = Some(error),
        }
        thread::sleep(POLL);
    }
    Err(last.unwrap_or_else(|| anyhow::anyhow!("nothing was asked")))
}
