//! `cargo xtask bench policy`: what a decision costs beside bare Cedar, and how many become durable; then what authority costs.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{authority::authority, host::Host, ledger::measured};
use crate::{Page, Tree, process};

/// What the rows say.
const WHAT: &str = "\n\
    16 routes in turn are what a host has in use at one time: their policies stay in the processor's caches, and the time does not grow with those that are not asked about. With every one of\n\
    1 000 routes in turn each decision fetches its own from memory. A durable decision waits for a flush of the disk that it shares with others.\n";

const PAGE: &str = "docs/benchmarks/policy.md";

/// Runs the benchmarks of the engine and of the gateway, then those of authority, writes what they measured and prints it.
///
/// # Errors
/// When a benchmark fails, or the page cannot be written.
pub fn policy(tree: &Tree) -> Result<()> {
    let engine = run("casemate-policy")?;
    let durable = run("casemate-gateway")?;
    let content = page(&engine, &durable, &Host::of(tree)?)?;
    println!("{content}");
    let page = Page {
        path: PAGE.to_owned(),
        content,
    };
    page.write(tree)?;
    authority(tree)
}

fn run(package: &str) -> Result<Value> {
    let args = ["bench", "--package", package, "--bench", "decide"];
    measured(&process::capture(process::cargo().args(args))?)
}

fn page(engine: &Value, durable: &Value, host: &Host) -> Result<String> {
    let bare = at(engine, "bare Cedar, five policies")?;
    let (before, each) = (
        at(bare, "request built before")?,
        at(bare, "request built each time")?,
    );
    let base = number(at(before, "p50 µs")?)?;
    let built = number(at(each, "p50 µs")?)?;
    let mut page = format!(
        "# What a decision costs\n\nMeasured by `cargo xtask bench policy` on {}, at commit {},\non {} cores of {}, Linux {}.\n\n\
         Microseconds. Bare Cedar decides seed 002's function, written as five policies, over a request that was built before, and over one \
         built for each decision. Casemate decides from typed inputs to a decision with its reason, checks and policies; its profile has \
         thirteen questions. \"Scan\" is bare Cedar over all the policies.\n\n\
         | What | Policies | p50 | p99 | p50 to bare Cedar | to the same with its request built |\n|---|---:|---:|---:|---:|---:|\n",
        host.date, host.commit, host.cores, host.cpu, host.kernel
    );
    let mut row = |what: &str, policies: &Value, times: &Value| -> Result<()> {
        let (p50, p99) = (number(at(times, "p50 µs")?)?, number(at(times, "p99 µs")?)?);
        writeln!(
            page,
            "| {what} | {policies} | {p50:.1} | {p99:.1} | {:.2} | {:.2} |",
            p50 / base,
            p50 / built
        )?;
        Ok(())
    };
    let five = Value::from(5);
    row("bare Cedar, request built before", &five, before)?;
    row("bare Cedar, request built each time", &five, each)?;
    let sizes = at(engine, "casemate")?.as_array().context("no sizes")?;
    for size in sizes {
        row(
            "casemate, allowed, 16 routes in turn",
            at(size, "policies")?,
            at(size, "allowed")?,
        )?;
    }
    for size in sizes {
        row(
            "casemate, allowed, every route in turn",
            at(size, "policies")?,
            at(size, "every route in turn")?,
        )?;
    }
    for size in sizes {
        row(
            "casemate, refused",
            at(size, "policies")?,
            at(size, "denied")?,
        )?;
    }
    for size in sizes {
        row(
            "scan",
            at(size, "policies")?,
            at(size, "a scan of all by bare Cedar")?,
        )?;
    }
    let refused = number(at(at(durable, "refused")?, "decisions a second")?)?;
    let allowed = number(at(
        at(durable, "allowed and closed")?,
        "decisions a second",
    )?)?;
    write!(
        page,
        "\nFrom the request to the decision on disk, {} in flight: {refused:.0} refusals a second; {allowed:.0} allowed calls a second, each with a \
         second record that closes it.\n",
        at(durable, "in flight")?
    )?;
    page.push_str(WHAT);
    Ok(page)
}

fn at<'v>(value: &'v Value, name: &str) -> Result<&'v Value> {
    let found = value.get(name);
    found.with_context(|| format!("the benchmark printed no `{name}`"))
}

fn number(value: &Value) -> Result<f64> {
    value.as_f64().context("the benchmark lacks a number")
}
