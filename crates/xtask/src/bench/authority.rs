//! The part of `cargo xtask bench policy` about authority that is held and taken back: switches, approvals, budgets.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{host::Host, ledger::measured};
use crate::{Page, Tree, process};

const PAGE: &str = "docs/benchmarks/authority.md";

/// What the rows say.
const WHAT: &str = "\n\
    A switch is thrown from another process than the gateway, as `casemate switch` does; a call is dead when the kernel says so of its program. An answer is sent over the gateway's socket by a client\n\
    that has signed it already. Both have a peer in the same run: the signal alone, of a process that nothing encloses, and the same call where nobody has to be asked. Waiting calls are held in a\n\
    gateway that has held 500 before; their memory is what is the gateway's alone (`RssAnon`). A reservation is measured in its own process, with six rules; its durable record is the ledger's.\n";

/// A row: what, which number of the report, in which unit, and what it should be at most.
struct Goal {
    what: &'static str,
    path: &'static [&'static str],
    unit: &'static str,
    most: Option<f64>,
}

const fn goal(
    what: &'static str,
    path: &'static [&'static str],
    unit: &'static str,
    most: Option<f64>,
) -> Goal {
    Goal {
        what,
        path,
        unit,
        most,
    }
}

const RETURN: &str = "from the throw's return";
const BEGINNING: &str = "from its beginning";
const NONE: &str = "0 other switches";
const MANY: &str = "1000 other switches";
const KILL: &str = "SIGKILL of a bare process";
const ANSWER: &str = "answer until output";
const FREE: &str = "call without approval until output";

const AT_THE_GATEWAY: &[Goal] = &[
    goal(
        "a switch is thrown → the running call is dead, p50",
        &["switches", NONE, RETURN, "p50_ms"],
        "ms",
        None,
    ),
    goal(
        "the same, p99",
        &["switches", NONE, RETURN, "p99_ms"],
        "ms",
        Some(20.0),
    ),
    goal(
        "the same with 1 000 other switches, p99",
        &["switches", MANY, RETURN, "p99_ms"],
        "ms",
        Some(20.0),
    ),
    goal(
        "the throw itself and that, p50",
        &["switches", NONE, BEGINNING, "p50_ms"],
        "ms",
        None,
    ),
    goal(
        "the throw itself and that, p99",
        &["switches", NONE, BEGINNING, "p99_ms"],
        "ms",
        None,
    ),
    goal(
        "peer: SIGKILL of a bare process → dead, p50",
        &["switches", KILL, "p50_ms"],
        "ms",
        None,
    ),
    goal(
        "peer: the same, p99",
        &["switches", KILL, "p99_ms"],
        "ms",
        None,
    ),
    goal(
        "an approval is answered → the call's first output, p50",
        &["approvals", ANSWER, "p50_ms"],
        "ms",
        None,
    ),
    goal(
        "the same, p95",
        &["approvals", ANSWER, "p95_ms"],
        "ms",
        Some(50.0),
    ),
    goal(
        "peer: a call without approval → its first output, p50",
        &["approvals", FREE, "p50_ms"],
        "ms",
        None,
    ),
    goal(
        "peer: the same, p95",
        &["approvals", FREE, "p95_ms"],
        "ms",
        None,
    ),
    goal(
        "10 000 waiting calls: memory each",
        &["waiting", "KiB each"],
        "KiB",
        Some(4.0),
    ),
    goal(
        "the same after a restart",
        &["waiting", "KiB each after a restart"],
        "KiB",
        Some(4.0),
    ),
    goal(
        "10 000 waiting calls: processor time",
        &["waiting", "ticks a second"],
        "ticks/s",
        Some(0.0),
    ),
    goal(
        "the same after a restart",
        &["waiting", "ticks a second after a restart"],
        "ticks/s",
        Some(0.0),
    ),
];

const RESERVATIONS: &[Goal] = &[
    goal(
        "a budget reservation, p50",
        &["one thread", "reserve", "p50_us"],
        "µs",
        Some(20.0),
    ),
    goal(
        "the same, p99",
        &["one thread", "reserve", "p99_us"],
        "µs",
        None,
    ),
    goal(
        "eight at once, p50",
        &["eight threads", "reserve", "p50_us"],
        "µs",
        None,
    ),
    goal(
        "its settlement, p50",
        &["one thread", "settle", "p50_us"],
        "µs",
        None,
    ),
    goal(
        "peer: a bare write of as many bytes, p50",
        &["bare write of 150 bytes", "p50_us"],
        "µs",
        None,
    ),
];

/// Runs the benchmarks of a gateway and of budgets, writes what they measured and prints it.
pub(super) fn authority(tree: &Tree) -> Result<()> {
    let gateway = run("casemate", "authority")?;
    let budgets = run("casemate-authority", "reserve")?;
    let content = page(&gateway, &budgets, &Host::of(tree)?)?;
    println!("{content}");
    let page = Page {
        path: PAGE.to_owned(),
        content,
    };
    page.write(tree)
}

fn run(package: &str, bench: &str) -> Result<Value> {
    let args = ["bench", "--package", package, "--bench", bench];
    measured(&process::capture(process::cargo().args(args))?)
}

fn page(gateway: &Value, budgets: &Value, host: &Host) -> Result<String> {
    let mut page = format!(
        "# What authority costs that can be taken back\n\nMeasured by `cargo xtask bench policy` on {}, at commit {},\non {} cores of {}, Linux {}. \
         Load average {}: others were at work on this machine if that is above 1.\n\n\
         | What | Measured | Goal | |\n|---|---:|---:|---|\n",
        host.date,
        host.commit,
        host.cores,
        host.cpu,
        host.kernel,
        load()
    );
    let rows = AT_THE_GATEWAY.iter().map(|row| (row, gateway));
    for (row, report) in rows.chain(RESERVATIONS.iter().map(|row| (row, budgets))) {
        write_row(&mut page, row, report)?;
    }
    page.push_str(WHAT);
    Ok(page)
}

fn write_row(page: &mut String, row: &Goal, report: &Value) -> Result<()> {
    let found = row
        .path
        .iter()
        .try_fold(report, |value, key| value.get(key));
    let value = found.and_then(Value::as_f64);
    let value = value.with_context(|| format!("the benchmark printed no {:?}", row.path))?;
    let Goal { what, unit, .. } = row;
    match row.most {
        Some(most) => {
            let verdict = if value <= most { "met" } else { "not met" };
            writeln!(
                page,
                "| {what} | {value:.1} {unit} | ≤ {most} {unit} | {verdict} |"
            )?;
        }
        None => writeln!(page, "| {what} | {value:.1} {unit} | | |")?,
    }
    Ok(())
}

fn load() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').next().unwrap_or("unknown").to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_goal_is_met_or_not_and_a_number_that_is_missing_is_a_fault() {
        let row = goal("it", &["a", "b"], "ms", Some(2.0));
        let mut page = String::new();
        write_row(&mut page, &row, &json!({ "a": { "b": 2.0 } })).unwrap();
        write_row(&mut page, &row, &json!({ "a": { "b": 2.5 } })).unwrap();
        assert_eq!(
            page,
            "| it | 2.0 ms | ≤ 2 ms | met |\n| it | 2.5 ms | ≤ 2 ms | not met |\n"
        );
        assert!(write_row(&mut page, &row, &json!({ "a": {} })).is_err());
    }
}
