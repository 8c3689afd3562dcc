//! `cargo xtask corpus` and `cargo xtask bench egress`: ours beside other proxies, in a network of their own.

use std::{collections::BTreeSet, fmt::Write as _, process::Command};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::{host::Host, ledger::measured};
use crate::{Page, Tree, process};

const CORPUS: &str = "docs/benchmarks/egress-corpus.md";
const SPEED: &str = "docs/benchmarks/egress.md";
const SOAK: &str = "docs/benchmarks/egress-soak.md";
/// How the benchmark calls them, ours first.
const WAYS: [&str; 5] = [
    "casemate",
    "squid",
    "mitmproxy",
    "mitmproxy, rawtcp=false",
    "hyper and rustls, bare",
];
const DIRECT: &str = "direct TLS";
const BARE: &str = "hyper and rustls, bare";
const OURS: &str = "casemate, everything on";
const IN_MEMORY: &str = "casemate, log in memory";
const PROCESS: &str = "casemate egress, its process";

const CORPUS_WHAT: &str = "\n\
    A case is one attack with all its spellings, and holds if every one does. What decides is what arrives: every address is this machine, so a connection that may not be is seen wherever it leads, and\n\
    the destinations look at each request for whether it could be read in two ways. Others may refuse in their own way, with any status or none; where the case allows it, sending one request that means\n\
    one thing holds, too. Ours has to do exactly what the case says, with one record and its code. Cases about ways in that a proxy does not have are not counted for it. What must pass has to pass.\n\
    \n\
    The others have the same rules: these names on these ports, at public addresses, over TLS; these methods; of WebSockets, text of at most 1000 bytes. squid has them as access lists, with `ssl_bump peek` and `bump`, mitmproxy as\n\
    an add-on (`crates/peers/benches/peers/mitmproxy.py`), which compares CONNECT, server name and Host. The bare interceptor is what hyper and rustls do by themselves, with a list of names. The cases are\n\
    ours, and so is their choice.\n";

const SPEED_WHAT: &str = "\n\
    Client, destination and proxies share the machine; the client and the destination are one process, each proxy is another. Medians of rounds in which every way has its turn. Ours has on what can be: the\n\
    rules of a profile, vetted addresses, a credential out of a file put into each request, answers scrubbed of it, two records for each request in a real log, the first of them flushed to disk before\n\
    anything is sent. The bare interceptor does none of that. Both have one thread. mitmproxy passes large bodies on as they come. Memory is `VmRSS` after the load, with helpers; a body's is how much more\n\
    the highest mark was than that. A start is from the fork until the port takes a connection, asked for each millisecond. Memory, the 1 GiB and what it took are one run each.\n\
    \n\
    The last column is `casemate egress` itself, the process of an agent as `casemate serve` starts it, confined, with the way out of one call: each record goes to another process, which writes it, and names are\n\
    asked of a name server. It has no credentials. Its start is from the fork until it has said what it is kept from; its memory is that of its two processes, of which one waits for the other, with what they share\n\
    counted twice. The goals of memory and start are about it. Whether its memory stays as it is: [a soak](egress-soak.md).\n";

/// What makes the benchmark do less than the pages say.
const LESS: [&str; 3] = ["CASEMATE_QUICK", "CASEMATE_CASES", "CASEMATE_WAYS"];

/// Whether everything is measured that a page is about, if these variables are set.
fn whole(is_set: impl Fn(&str) -> bool) -> Result<()> {
    match LESS.into_iter().find(|name| is_set(name)) {
        Some(name) => {
            bail!("with `{name}` set, only a part is measured, which is no page: unset it")
        }
        None => Ok(()),
    }
}

fn run(verb: &str, told: &[(&str, String)]) -> Result<Value> {
    let args = ["bench", "--package", "casemate-peers", "--bench", "peers"];
    let mut command = process::cargo();
    command.args(args).args(["--", verb]);
    command.envs(told.iter().map(|(name, value)| (name, value)));
    measured(&process::capture(&mut command)?)
}

/// Builds casemate, and says to the benchmark where it is.
fn binary() -> Result<(&'static str, String)> {
    process::run(process::cargo().args(["build", "--release", "--package", "casemate"]))?;
    let built = process::target_directory()?.join("release/casemate");
    Ok(("CASEMATE_BINARY", built.display().to_string()))
}

/// Attacks ours and its peers, writes who holds what and prints it.
///
/// # Errors
/// When the benchmark fails, or the page cannot be written.
pub fn corpus(tree: &Tree) -> Result<()> {
    whole(|name| std::env::var_os(name).is_some())?;
    let report = run("corpus", &[])?;
    let content = corpus_page(&report, &Host::of(tree)?, &versions())?;
    println!("{content}");
    let path = CORPUS.to_owned();
    Page { path, content }.write(tree)
}

/// Measures ours and its peers, writes what each costs and prints it. With only some `ways` it prints what was measured, and writes nothing.
///
/// # Errors
/// When the benchmark fails, or the page cannot be written.
pub fn egress(tree: &Tree, ways: &[String]) -> Result<()> {
    let mut told = vec![binary()?];
    if !ways.is_empty() {
        told.push(("CASEMATE_WAYS", ways.join(",")));
        println!("{:#}", run("speed", &told)?);
        return Ok(());
    }
    whole(|name| std::env::var_os(name).is_some())?;
    let report = run("speed", &told)?;
    let content = speed_page(&report, &Host::of(tree)?, &versions())?;
    println!("{content}");
    let path = SPEED.to_owned();
    Page { path, content }.write(tree)
}

/// Uses ours for so many minutes, and writes what became of its memory.
///
/// # Errors
/// When the benchmark fails, or the page cannot be written.
pub fn egress_soak(tree: &Tree, minutes: u64) -> Result<()> {
    let told = [binary()?, ("CASEMATE_SOAK_MINUTES", minutes.to_string())];
    let report = run("soak", &told)?;
    let content = soak_page(&report, &Host::of(tree)?)?;
    println!("{content}");
    let path = SOAK.to_owned();
    Page { path, content }.write(tree)
}

/// What the peers say that they are.
fn versions() -> String {
    let first = |program: &str, argument: &str| {
        let output = Command::new(program).arg(argument).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        Some(text.lines().next()?.trim().to_owned())
    };
    let said = [first("squid", "-v"), first("mitmdump", "--version")];
    said.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

fn head(title: &str, verb: &str, host: &Host, versions: &str) -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    format!(
        "# {title}\n\nMeasured by `cargo xtask {verb}` on {}, at commit {},\non {} cores of {}, Linux {}; {versions}. \
         Load average {}: others were at work on this machine if that is above 2.\n\n",
        host.date,
        host.commit,
        host.cores,
        host.cpu,
        host.kernel,
        load.split(' ').next().unwrap_or("unknown"),
    )
}

fn corpus_page(report: &Value, host: &Host, versions: &str) -> Result<String> {
    let ways: Vec<_> = WAYS
        .into_iter()
        .filter(|way| report.get(way).is_some())
        .collect();
    let mut page = head("Attacks that proxies hold", "corpus", host, versions);
    writeln!(page, "| Cases held of those asked | {} |", ways.join(" | "))?;
    writeln!(page, "|---|{}", "---:|".repeat(ways.len()))?;
    let mut groups = BTreeSet::new();
    for way in &ways {
        let own = at(report, &[way, "groups"])?.as_object();
        groups.extend(own.context("no groups")?.keys());
    }
    let cell = |way: &str, group: &str, held: &str, asked: &str| -> String {
        let number = |key| at(report, &[way, "groups", group, key]).and_then(number);
        match (number(held), number(asked)) {
            (Ok(held), Ok(asked)) => format!("{held} / {asked}"),
            _ => "–".to_owned(),
        }
    };
    for group in &groups {
        let cells: Vec<_> = ways
            .iter()
            .map(|way| cell(way, group, "held", "asked"))
            .collect();
        writeln!(page, "| {group} | {} |", cells.join(" | "))?;
    }
    for (name, held, asked) in [
        ("**all**", "held", "asked"),
        ("all spellings", "runs_held", "runs"),
    ] {
        let mut cells = Vec::new();
        for way in &ways {
            let sum = |key| -> Result<f64> {
                let own = groups
                    .iter()
                    .filter_map(|group| at(report, &[way, "groups", group, key]).ok());
                own.map(number).sum()
            };
            cells.push(format!("{} / {}", sum(held)?, sum(asked)?));
        }
        writeln!(page, "| {name} | {} |", cells.join(" | "))?;
    }
    page.push_str(CORPUS_WHAT);
    page.push_str("\nWhat was not held, and in how many spellings:\n\n");
    for way in &ways {
        let failed = at(report, &[way, "failed"])?
            .as_array()
            .context("no list")?;
        let mut words = Vec::new();
        for one in failed {
            let case = at(one, &["case"])?.as_str().context("no name")?;
            words.push(format!("{case} ({})", number(at(one, &["runs"])?)?));
        }
        if words.is_empty() {
            words.push("nothing".to_owned());
        }
        writeln!(page, "- {way}: {}", words.join(", "))?;
    }
    Ok(page)
}

/// A row of the page of costs: what, from which number, times what, in which unit.
type Row = (&'static str, &'static str, f64, &'static str);

const ROWS: [Row; 8] = [
    (
        "requests a second, 32 kept connections, 1 KB",
        "rps",
        1.0,
        "",
    ),
    (
        "the proxy's own processor time for each of those requests",
        "cpu_us",
        1e-3,
        " ms",
    ),
    ("one kept connection, p50", "p50_us", 1e-3, " ms"),
    (
        "new intercepted connection to its first answer, p50",
        "fresh_p50_us",
        1e-3,
        " ms",
    ),
    ("memory", "rss_kib", 1.0 / 1024.0, " MiB"),
    ("start", "start_p50_ms", 1.0, " ms"),
    ("1 GiB streamed, a second", "stream_mb_s", 1.0, " MB"),
    (
        "the same, memory that it took",
        "stream_grown_kib",
        1.0 / 1024.0,
        " MiB",
    ),
];

fn speed_page(report: &Value, host: &Host, versions: &str) -> Result<String> {
    let ways: Vec<_> = [DIRECT, "squid", "mitmproxy", BARE, IN_MEMORY, OURS, PROCESS]
        .into_iter()
        .filter(|way| at(report, &["ways", way]).is_ok())
        .collect();
    let mut page = head("What the way out costs", "bench egress", host, versions);
    writeln!(
        page,
        "| What | {} |\n|---|{}",
        ways.join(" | "),
        "---:|".repeat(ways.len())
    )?;
    for (what, key, times, unit) in ROWS {
        let cells: Vec<_> = ways
            .iter()
            .map(
                |way| match at(report, &["ways", way, key]).and_then(number) {
                    Ok(value) => format!("{}{unit}", round(value * times)),
                    Err(_) => "–".to_owned(),
                },
            )
            .collect();
        writeln!(page, "| {what} | {} |", cells.join(" | "))?;
    }
    let of = |way: &str, key: &str| at(report, &["ways", way, key]).and_then(number);
    let cut = number(at(report, &["cut_ms", "p99"])?)?;
    page.push_str("\n| Goal | Measured | |\n|---|---:|---|\n");
    let mut goal = |what: &str, value: f64, unit: &str, met: bool| -> Result<()> {
        let verdict = if met { "met" } else { "not met" };
        writeln!(page, "| {what} | {}{unit} | {verdict} |", round(value))?;
        Ok(())
    };
    let share = 100.0 * of(OURS, "rps")? / of(BARE, "rps")?;
    goal(
        "requests a second ≥ 80 % of the bare interceptor's",
        share,
        " %",
        share >= 80.0,
    )?;
    let added = (of(OURS, "p50_us")? - of(DIRECT, "p50_us")?) / 1e3;
    goal(
        "added to one connection's p50 ≤ 0.15 ms",
        added,
        " ms",
        added <= 0.15,
    )?;
    let times = of(OURS, "fresh_p50_us")? / of(BARE, "fresh_p50_us")?;
    goal(
        "a new connection ≤ 1.3 × the bare interceptor's",
        times,
        " ×",
        times <= 1.3,
    )?;
    let memory = of(PROCESS, "rss_kib")? / 1024.0;
    goal("memory ≤ 20 MiB", memory, " MiB", memory <= 20.0)?;
    let start = of(PROCESS, "start_p50_ms")?;
    goal("start ≤ 20 ms", start, " ms", start <= 20.0)?;
    let share = 100.0 * of(OURS, "stream_mb_s")? / of(DIRECT, "stream_mb_s")?;
    goal(
        "1 GiB, scrubbed, ≥ 50 % of direct",
        share,
        " %",
        share >= 50.0,
    )?;
    let grown = of(OURS, "stream_grown_kib")? / 1024.0;
    goal("and ≤ 2 MiB more memory", grown, " MiB", grown <= 2.0)?;
    goal(
        "a rule withdrawn → the last byte of a stream, p99 ≤ 100 ms",
        cut,
        " ms",
        cut <= 100.0,
    )?;
    page.push_str(SPEED_WHAT);
    let flush = number(at(report, &["flush_p50_us"])?)? / 1e3;
    writeln!(
        page,
        "\nA write of 700 bytes and its flush, alone, took {} ms on this disk in the same run: so much of ours is the disk's. The same with the log in memory, where a flush is free, is beside it.",
        round(flush)
    )?;
    Ok(page)
}

/// How many samples at either end of a soak are compared: the first hold what is made once.
const ENDS: usize = 10;
/// By how much the highest of the last may be above the highest of the first.
const FLAT_KIB: f64 = 1024.0;

const SOAK_WHAT: &str = "\n\
    Each of the two serves twenty steps a second: requests on a kept connection, new destinations (10 000 names), requests that are refused before a tunnel and in one, streams that their client leaves. The process of an\n\
    agent, which is the one of `casemate serve`, serves a call after the other, each of ten seconds, with other rules now and then, and closes each with a stream open. The proxy with everything on serves one call that\n\
    lasts, gets another credential every few seconds, and has its rules withdrawn and given back under open streams. Flat is: the highest of the last ten minutes is at most 1 MiB above that of the first ten.\n";

fn soak_page(report: &Value, host: &Host) -> Result<String> {
    let minutes = number(at(report, &["minutes"])?)?;
    let samples = at(report, &["samples"])?.as_array().context("no samples")?;
    let mut page = head(
        "Whether the way out grows",
        &format!("bench egress --soak {minutes}"),
        host,
        "`VmRSS` each minute",
    );
    page.push_str("| MiB | first | last | highest | highest of the first ten minutes | of the last ten | |\n|---|---:|---:|---:|---:|---:|---|\n");
    for (what, key) in [(PROCESS, "agent_kib"), (OURS, "equipped_kib")] {
        let all = samples.iter().map(|one| at(one, &[key]).and_then(number));
        let all = all.collect::<Result<Vec<_>>>()?;
        let highest = |some: &[f64]| some.iter().copied().fold(0.0, f64::max);
        let (Some(first), Some(last)) = (all.first(), all.last()) else {
            bail!("no samples");
        };
        let early = highest(all.get(..ENDS).unwrap_or(&all));
        let late = highest(all.get(all.len().saturating_sub(ENDS)..).unwrap_or(&all));
        let verdict = if late <= early + FLAT_KIB {
            "flat"
        } else {
            "not flat"
        };
        let mib = |kib: f64| round(kib / 1024.0);
        writeln!(
            page,
            "| {what} | {} | {} | {} | {} | {} | {verdict} |",
            mib(*first),
            mib(*last),
            mib(highest(&all)),
            mib(early),
            mib(late),
        )?;
    }
    page.push_str(SOAK_WHAT);
    let count = |key: &str| at(report, &[key]).and_then(number);
    writeln!(
        page,
        "\nIn {minutes} minutes the process of the agent did {} steps, and told of {} requests that were sent, of {} that had ended and of {} that were refused.",
        count("agent_steps")?,
        count("sent")?,
        count("ended")?,
        count("denied")?
    )?;
    Ok(page)
}

fn round(value: f64) -> String {
    match value.abs() {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn at<'v>(value: &'v Value, path: &[&str]) -> Result<&'v Value> {
    let found = path.iter().try_fold(value, |value, key| value.get(key));
    found.with_context(|| format!("the benchmark printed no {path:?}"))
}

fn number(value: &Value) -> Result<f64> {
    value.as_f64().context("the benchmark lacks a number")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn host() -> Host {
        Host {
            date: "today".to_owned(),
            commit: "c".to_owned(),
            kernel: "k".to_owned(),
            cpu: "p".to_owned(),
            cores: 2,
        }
    }

    #[test]
    fn who_was_not_asked_has_a_dash_and_who_failed_is_named() {
        let group = |held: u32, asked: u32| json!({ "held": held, "asked": asked, "runs": asked, "runs_held": held });
        let report = json!({
            "casemate": { "groups": { "DNS": group(2, 2), "names": group(3, 3) }, "failed": [] },
            "squid": { "groups": { "names": group(1, 3) }, "failed": [{ "case": "N04", "runs": 2, "first": "x" }] },
        });
        let page = corpus_page(&report, &host(), "v").unwrap();
        assert!(page.contains("| DNS | 2 / 2 | – |"), "{page}");
        assert!(page.contains("| names | 3 / 3 | 1 / 3 |"), "{page}");
        assert!(page.contains("| **all** | 5 / 5 | 1 / 3 |"), "{page}");
        assert!(
            page.contains("- casemate: nothing\n- squid: N04 (2)\n"),
            "{page}"
        );
    }

    #[test]
    fn a_part_is_no_page() {
        whole(|_| false).unwrap();
        for name in LESS {
            assert!(whole(|set| set == name).is_err(), "{name}");
        }
    }

    #[test]
    fn what_grows_is_called_that() {
        let samples: Vec<_> = (0..=60)
            .map(|at| json!({ "minute": at, "agent_kib": 9_000, "equipped_kib": 9_000 + 100 * at }))
            .collect();
        let report = json!({ "minutes": 60, "samples": samples, "agent_steps": 1, "sent": 1, "ended": 1, "denied": 1 });
        let page = soak_page(&report, &host()).unwrap();
        assert!(
            page.contains("process | 8.79 | 8.79 | 8.79 | 8.79 | 8.79 | flat |"),
            "{page}"
        );
        assert!(page.contains("| not flat |"), "{page}");
    }

    #[test]
    fn a_goal_that_is_missed_is_called_that() {
        let way = |rps: f64| json!({ "rps": rps, "p50_us": 100.0, "fresh_p50_us": 1000.0, "rss_kib": 1024.0, "start_p50_ms": 1.0, "stream_mb_s": 100.0, "stream_grown_kib": 1.0 });
        let report = json!({
            "ways": { DIRECT: way(100.0), BARE: way(100.0), OURS: way(79.0), PROCESS: way(50.0) },
            "cut_ms": { "p99": 1.0 },
            "flush_p50_us": 100.0,
        });
        let page = speed_page(&report, &host(), "v").unwrap();
        assert!(
            page.contains("bare interceptor's | 79.0 % | not met |"),
            "{page}"
        );
        assert_eq!(page.matches("| met |").count(), 7, "{page}");
    }
}
