//! `casemate audit show`: everything about one decision, or one session.

use std::{collections::HashSet, path::Path};

use casemate_ledger::{MAX_SHOWN_RECORDS, ReadError, Record, find, read};
use casemate_model::{DecisionId, SessionId};
use serde_json::{Value, json};

use crate::{
    audit::{
        Format,
        content::Contents,
        ledger,
        tail::{line, session_of, time},
    },
    exit::Exit,
    report::{self, Failure},
};

pub(crate) fn run(what: &str, format: Format) -> Result<Exit, Failure> {
    let records = records(what)?;
    let contents = Contents::open();
    match format {
        Format::Json => {
            let all: Vec<Value> = records
                .iter()
                .map(|record| {
                    json!({
                        "record": record.entry,
                        "leaf": record.leaf,
                        "content": contents.of(record),
                    })
                })
                .collect();
            let all = Value::Array(all);
            report::print(format_args!("{all}\n"))?;
        }
        Format::Lines => {
            for record in &records {
                print(record, &contents.of(record))?;
            }
        }
    }
    Ok(Exit::Success)
}

/// The records of a decision, or the one at an index.
fn records(what: &str) -> Result<Vec<Record>, Failure> {
    let ledger = ledger()?;
    let records = if let Ok(decision) = what.parse::<DecisionId>() {
        find(&ledger, decision).map_err(Failure::failed)?
    } else if let Ok(session) = what.parse::<SessionId>() {
        of_session(&ledger, session).map_err(Failure::failed)?
    } else if let Ok(index) = what.parse::<u64>() {
        let at = read(&ledger).find(|record| record.as_ref().map_or(true, |at| at.index == index));
        at.into_iter()
            .collect::<Result<_, _>>()
            .map_err(Failure::failed)?
    } else {
        return Err(Failure::usage(anyhow::anyhow!(
            "`{}` is neither a decision, a session nor an index",
            what.escape_debug()
        ))
        .hint("`casemate audit tail` shows them"));
    };
    if records.is_empty() {
        let missing = anyhow::anyhow!("the log has no record of `{what}`");
        return Err(Failure::invalid(missing));
    }
    Ok(records)
}

/// The records of a session, and what else there is of their decisions.
fn of_session(ledger: &Path, session: SessionId) -> Result<Vec<Record>, ReadError> {
    let mut decisions = HashSet::new();
    for record in read(ledger) {
        let record = record?;
        if session_of(&record) == Some(session) {
            decisions.insert(record.entry.decision);
        }
    }
    let of_it = |record: &Result<Record, ReadError>| {
        record
            .as_ref()
            .map_or(true, |record| decisions.contains(&record.entry.decision))
    };
    read(ledger).filter(of_it).take(MAX_SHOWN_RECORDS).collect()
}

fn print(record: &Record, content: &Value) -> Result<(), Failure> {
    let entry = &record.entry;
    report::print(format_args!("{}\n", line(record)))?;
    report::print(format_args!("{}\n", indented("summary", &entry.summary)))?;
    match content.get("erased").and_then(Value::as_str) {
        Some(key) => report::print(format_args!("  content erased, with {key}\n"))?,
        None if content.is_null() => report::print(format_args!("  no content\n"))?,
        None => report::print(format_args!("{}\n", indented("content", content)))?,
    }
    let (leaf, when) = (record.leaf, time(entry.at_ms));
    report::print(format_args!("  leaf {leaf}, at {when}\n\n"))
}

/// Pretty JSON in which no control character survives: JSON escapes them.
fn indented(what: &str, value: &Value) -> String {
    let json = format!("{value:#}").replace('\n', "\n  ");
    format!("  {what} {json}")
}
