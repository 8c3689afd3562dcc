//! `casemate status`: how this user's server stands.

use std::fmt::Write as _;

use casemate_model::Strength;
use serde_json::{Value, json};

use crate::{
    client::{GatewayArgs, block_on},
    exit::Exit,
    report::{self, Failure},
};

/// Say how this user's server stands.
///
/// Exits with 0 when calls can be run, and with 1 when they cannot, or no server is there.
#[derive(Debug, clap::Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    gateway: GatewayArgs,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &StatusArgs) -> Result<Exit, Failure> {
    block_on(async {
        let status = match args.gateway.ask("GET", "/v1/status", None).await {
            Ok(status) => status,
            Err(failure) if args.json => {
                let why = failure.in_full();
                report::print(format_args!("{}\n", json!({ "ready": false, "why": why })))?;
                return Ok(Exit::Invalid);
            }
            Err(failure) => return Err(failure.exits(Exit::Invalid)),
        };
        let text = match args.json {
            true => format!("{status}\n"),
            false => shown(&status),
        };
        report::print(format_args!("{text}"))?;
        match status.get("ready") {
            Some(Value::Bool(true)) => Ok(Exit::Success),
            _ => Ok(Exit::Invalid),
        }
    })
}

/// What a status says, for people.
fn shown(status: &Value) -> String {
    let mut text = String::new();
    let mut row = |name: &str, value: &str| {
        // A `String` takes everything.
        let _ = writeln!(text, "{name:<18} {}", value.escape_debug());
    };
    let missing: Vec<_> = items(&status["missing"])
        .filter_map(Value::as_str)
        .collect();
    match missing.as_slice() {
        [] => row("ready", "yes"),
        missing => row("ready", &format!("no: {} missing", missing.join(", "))),
    }
    row("version", status["version"].as_str().unwrap_or_default());
    for process in items(&status["processes"]) {
        let pid = process["pid"].as_i64();
        let pid = pid.map_or_else(|| "not there".to_owned(), |pid| format!("process {pid}"));
        row(process["name"].as_str().unwrap_or_default(), &pid);
    }
    row("sessions", &number(&status["sessions"]));
    let calls = &status["calls"];
    let (running, waiting) = (number(&calls["running"]), number(&calls["waiting"]));
    row("calls", &format!("{running} running, {waiting} waiting"));
    row("waiting approvals", &number(&status["waiting_approvals"]));
    let ledger = &status["ledger"];
    let root = ledger["root"].as_str().unwrap_or("empty");
    row(
        "ledger",
        &format!("{} records, {root}", number(&ledger["records"])),
    );
    row("enforced", &enforced(&status["enforced"]));
    text
}

/// What the newest sandbox of a call really enforced, as its measurement says.
fn enforced(isolation: &Value) -> String {
    if isolation.is_null() {
        return "nothing was run yet: `casemate doctor` measures a sandbox".to_owned();
    }
    let mut text = isolation["tier"].as_str().unwrap_or_default().to_owned();
    for strength in Strength::ALL.iter().rev() {
        let with = items(&isolation["controls"])
            .filter(|control| control["strength"] == strength.as_str())
            .filter_map(|control| control["name"].as_str());
        let with: Vec<_> = with.collect();
        if !with.is_empty() {
            let _ = write!(text, "; {strength}: {}", with.join(", "));
        }
    }
    text
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn number(value: &Value) -> String {
    value
        .as_u64()
        .map_or_else(|| "?".to_owned(), |number| number.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_shown_row_by_row_and_cannot_drive_a_terminal() {
        let status = json!({
            "version": "0.1.0\u{1b}[2J", "ready": false, "missing": ["keeper"],
            "processes": [{ "name": "gateway", "pid": 7 }, { "name": "keeper", "pid": null }],
            "sessions": 2, "waiting_approvals": 1, "calls": { "running": 3, "waiting": 4 },
            "ledger": { "records": 5, "root": "sha256:00" },
            "enforced": { "tier": "process", "controls": [
                { "name": "seccomp", "strength": "enforced" },
                { "name": "cpu", "strength": "absent" },
            ] },
        });
        assert_eq!(
            shown(&status),
            "ready              no: keeper missing\n\
             version            0.1.0\\u{1b}[2J\n\
             gateway            process 7\n\
             keeper             not there\n\
             sessions           2\n\
             calls              3 running, 4 waiting\n\
             waiting approvals  1\n\
             ledger             5 records, sha256:00\n\
             enforced           process; enforced: seccomp; absent: cpu\n"
        );
    }
}
