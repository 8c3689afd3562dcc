//! The end: everything is destroyed and stopped, and nothing may be left.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::{ACTORS, records::Records, traces::Traces, world::World};
use crate::{
    process::capture,
    served::{Client, Gateway},
};

/// How long what was killed may take to be gone.
const PATIENCE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(100);

pub(super) fn end(
    runtime: &Runtime,
    mut gateway: Gateway,
    world: &World,
    traces: &mut Traces,
    records: &mut Records,
) -> Result<()> {
    if let Err(error) = runtime.block_on(destroy(&gateway)) {
        world.fault(format!("the end: {error:#}"));
    }
    for keeper in gateway.keepers() {
        traces.saw_keeper(keeper);
    }
    if !gateway.stop()? {
        world.fault(format!("the gateway did not end well: {}", gateway.said()));
    }
    if let Err(error) = gateway.stop_keeper() {
        world.fault(format!("{error:#}"));
    }
    left(&gateway, world, traces)?;
    finish(&gateway, world, records)
}

/// Destroys every session and waits until no call runs.
async fn destroy(gateway: &Gateway) -> Result<()> {
    let mut client = Client::new(&gateway.socket());
    for agent in (0..ACTORS.div_ceil(2)).map(|number| format!("agent{number}")) {
        let path = format!("/v1/sessions?agent={agent}");
        let listed = client.send("GET", &path, "").await?.success()?;
        let sessions = listed.get("sessions").and_then(Value::as_array);
        for session in sessions.into_iter().flatten() {
            if session.get("state") == Some(&json!("alive")) {
                let id = session.get("session").and_then(Value::as_str);
                let path = format!("/v1/sessions/{}?agent={agent}", id.unwrap_or_default());
                // One whose time is over meanwhile is gone as well.
                client.send("DELETE", &path, "").await?;
            }
        }
    }
    let start = Instant::now();
    loop {
        let load = client.send("GET", "/v1/load", "").await?.success()?;
        if load == json!({ "running": 0, "waiting": 0 }) {
            return Ok(());
        }
        anyhow::ensure!(start.elapsed() < PATIENCE, "calls do not end: {load}");
        tokio::time::sleep(POLL).await;
    }
}

/// What is left on the machine.
fn left(gateway: &Gateway, world: &World, traces: &Traces) -> Result<()> {
    let start = Instant::now();
    loop {
        let processes = Traces::processes();
        let cgroups = traces.cgroups();
        if (processes.is_empty() && cgroups.is_empty()) || start.elapsed() >= PATIENCE {
            for process in processes {
                let line = process.command_line().replace('\0', " ");
                world.fault(format!("left: process {process:?} {line}"));
            }
            if !cgroups.is_empty() {
                let first: Vec<_> = cgroups.iter().take(5).collect();
                world.fault(format!(
                    "left: {} cgroups, such as {first:?}",
                    cgroups.len()
                ));
            }
            break;
        }
        thread::sleep(POLL);
    }
    for mount in traces.mounts()? {
        world.fault(format!("left: mount {mount}"));
    }
    for file in Traces::files(&gateway.state().join("run")) {
        world.fault(format!("left: run/{file}"));
    }
    Ok(())
}

/// The log verifies, and every allowed call has one outcome.
fn finish(gateway: &Gateway, world: &World, records: &mut Records) -> Result<()> {
    match capture(&mut gateway.casemate(&["audit", "verify"])) {
        Ok(said) => {
            let said: Vec<_> = said.lines().take(2).collect();
            println!("{}", said.join(", "));
        }
        Err(error) => world.fault(format!("the log does not verify: {error:#}")),
    }
    records.read(gateway)?;
    for finding in records.findings() {
        world.fault(finding);
    }
    println!("{}", records.summary());
    Ok(())
}
