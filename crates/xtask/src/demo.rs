//! `cargo xtask demo`: what Casemate does, on a real file, with the commands a person would type.

use std::{
    fs,
    io::{self, Write},
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

use crate::{Tree, process};

const SCRIPT: &str = "examples/incident-report/analyse.py";
const DATA: &str = "examples/incident-report/incidents.csv";
const DECISION: &str = "casemate: decision ";

/// Builds casemate, analyses the example's incidents in a sandbox, shows the report, then the decision and
/// the proof that the log is whole. Everything it makes is below cargo's target directory.
///
/// # Errors
/// When a command fails, or the run names no decision.
pub fn demo(tree: &Tree) -> Result<()> {
    let target = process::target_directory()?;
    let place = target.join("demo");
    let report = place.join("incident-report");
    if report.exists() {
        fs::remove_dir_all(&report).context("cannot remove the last report")?;
    }
    fs::create_dir_all(&report).context("cannot make the report's directory")?;
    let session = Session {
        root: tree.root(),
        casemate: shown(tree, &target.join("release/casemate")),
        state: shown(tree, &place.join("state")),
    };
    let report = shown(tree, &report);

    println!("$ cargo build --release --package casemate");
    process::run(process::cargo().args(["build", "--release", "--package", "casemate"]))?;
    println!("$ export CASEMATE_STATE_DIR={}", session.state);
    let words = session.run(&["run", "--file", DATA, "--out", &report, SCRIPT])?;
    let decision = words
        .lines()
        .find_map(|line| line.strip_prefix(DECISION))
        .and_then(|rest| rest.split_whitespace().next())
        .context("the run named no decision")?;

    println!("$ cat {report}/report.md");
    let text = fs::read_to_string(tree.root().join(&report).join("report.md"))
        .context("the run brought back no report")?;
    println!("{text}");
    session.run(&["audit", "show", decision])?;
    session.run(&["audit", "verify"])?;
    println!("The report and its chart are in {report}");
    Ok(())
}

/// A path as a person at the root of the checkout would write it.
fn shown(tree: &Tree, path: &Path) -> String {
    let short = path.strip_prefix(tree.root()).unwrap_or(path);
    short.to_string_lossy().into_owned()
}

struct Session<'a> {
    root: &'a Path,
    casemate: String,
    state: String,
}

impl Session<'_> {
    /// Shows the command, runs it, shows and returns what it said on standard error.
    fn run(&self, arguments: &[&str]) -> Result<String> {
        println!("$ {} {}", self.casemate, arguments.join(" "));
        let child = Command::new(self.root.join(&self.casemate))
            .args(arguments)
            .current_dir(self.root)
            .env("CASEMATE_STATE_DIR", self.root.join(&self.state))
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot run casemate")?;
        let output = child.wait_with_output()?;
        io::stderr().write_all(&output.stderr)?;
        ensure!(
            output.status.success(),
            "casemate {} failed: {}",
            arguments.first().unwrap_or(&""),
            output.status
        );
        println!();
        Ok(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}
