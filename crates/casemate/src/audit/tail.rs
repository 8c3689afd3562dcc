//! `casemate audit tail`: the newest records, one line each.

use std::{fs, path::Path, thread, time::Duration};

use casemate_ledger::{Record, tail};
use casemate_model::{SessionId, Text};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    audit::{Format, ledger},
    cli::TailArgs,
    exit::Exit,
    report::{self, Delivery, Failure},
};

/// How often a followed log is looked at.
const POLL: Duration = Duration::from_millis(250);

pub(crate) fn run(args: &TailArgs) -> Result<Exit, Failure> {
    let ledger = ledger()?;
    let format = Format::from(args.json);
    let mut next = 0;
    for record in tail(&ledger, args.count).map_err(Failure::failed)? {
        next = record.index + 1;
        if print(&record, format)? == Delivery::Unwanted {
            return Ok(Exit::Success);
        }
    }
    if !args.follow {
        return Ok(Exit::Success);
    }
    if next == 0 {
        next = tail(&ledger, 1)
            .map_err(Failure::failed)?
            .last()
            .map_or(0, |record| record.index + 1);
    }
    follow(&ledger, next, format)
}

/// Prints records from `next` on, as they come, until nobody reads them.
fn follow(ledger: &Path, mut next: u64, format: Format) -> Result<Exit, Failure> {
    let log = ledger.join("log");
    let mut length = 0;
    loop {
        let grown = fs::metadata(&log).map_err(Failure::failed)?.len();
        if grown != length {
            length = grown;
            for record in since(ledger, next)? {
                next = record.index + 1;
                if print(&record, format)? == Delivery::Unwanted {
                    return Ok(Exit::Success);
                }
            }
        }
        thread::sleep(POLL);
    }
}

/// The records from `next` on: reads a growing tail until it reaches back far enough.
fn since(ledger: &Path, next: u64) -> Result<Vec<Record>, Failure> {
    let mut count = 64;
    loop {
        let mut records = tail(ledger, count).map_err(Failure::failed)?;
        let reached = records.first().is_none_or(|first| first.index <= next);
        if reached || records.len() < count {
            records.retain(|record| record.index >= next);
            return Ok(records);
        }
        count *= 2;
    }
}

fn print(record: &Record, format: Format) -> Result<Delivery, Failure> {
    match format {
        Format::Json => {
            let leaf = &record.leaf;
            let line = json!({"record": record.entry, "leaf": leaf});
            report::deliver(format_args!("{line}\n"))
        }
        Format::Lines => report::deliver(format_args!("{}\n", line(record))),
    }
}

/// The session that a record is about.
pub(crate) fn session_of(record: &Record) -> Option<SessionId> {
    let lodging = record.entry.summary.get("lodging")?;
    lodging.get("session")?.as_str()?.parse().ok()
}

/// A record in one line: place, time, what, which decision, whose, with what, why or how, and in which session or to which host.
pub(crate) fn line(record: &Record) -> String {
    let entry = &record.entry;
    let word = |name: &str| {
        let value = entry.summary.get(name).and_then(Value::as_str);
        Text::from(value.unwrap_or("-"))
    };
    let says = |name: &str| entry.summary.get(name).is_some_and(Value::is_string);
    let how = match ["reason", "code"].into_iter().find(|name| says(name)) {
        _ if says("status") => format!("{} {}", word("status"), word("stop_reason")),
        Some(name) => word(name).to_string(),
        None => word("policy_decision").to_string(),
    };
    let agent = Text::from(entry.agent.as_str());
    let session = session_of(record);
    let place = match session {
        Some(session) => format!("  {session}"),
        None if says("host") => format!("  {}", word("host")),
        None => String::new(),
    };
    format!(
        "{:>6}  {}  {:<7}  {}  {agent}  {}  {how}{place}",
        record.index,
        time(entry.at_ms),
        entry.kind.to_string(),
        entry.decision,
        word("tool"),
    )
}

/// A time in UTC (RFC 3339).
pub(crate) fn time(unix_ms: u64) -> String {
    let millis = i64::try_from(unix_ms).ok();
    let time = millis.and_then(|millis| Timestamp::from_millisecond(millis).ok());
    time.map_or_else(|| "-".to_owned(), |time| format!("{time:.3}"))
}
