//! `cargo xtask test`: everything that must hold before a change is good.

use std::{process::Command, time::Instant};

use anyhow::{Result, ensure};

use crate::{
    Tree,
    canaries::{self, Canaries},
    process, reference, requirements,
};

/// Runs every stage, whether or not an earlier one failed, and the tests last but for the search for what they left, so that the
/// end of the output is almost the end of the test runner's.
///
/// # Errors
/// Names the stages that failed.
pub fn test() -> Result<()> {
    let mut stages = Stages::default();
    stages.command("format", process::cargo().args(["fmt", "--all", "--check"]));
    stages.command(
        "lints",
        process::cargo().args(["clippy", "--workspace", "--all-targets", "--", "-Dwarnings"]),
    );
    stages.run("generated pages", generated_pages);
    if process::succeeds(process::cargo().args(["deny", "--version"])) {
        // Advisories need the network, which a test may not have: `cargo deny check advisories` by hand.
        let checks = ["deny", "check", "bans", "licenses", "sources"];
        stages.command("dependencies", process::cargo().args(checks));
    } else {
        stages.skip("dependencies", "cargo-deny is not installed");
    }
    stages.command(
        "examples in documentation",
        process::cargo().args(["test", "--doc", "--workspace"]),
    );
    stages.summarise();
    let canaries = Canaries::new()?;
    let mut tests = tests();
    tests.env(canaries::REPORTS, canaries.reports());
    stages.command("tests", &mut tests);
    stages.run("secrets of tests", || secrets(&canaries));
    let failed = stages.failed();
    ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    Ok(())
}

/// The test runner.
fn tests() -> Command {
    let mut command = process::cargo();
    if process::succeeds(process::cargo().args(["nextest", "--version"])) {
        // Whoever reads the log of a failed run wants to know of every failure.
        command.args(["nextest", "run", "--workspace", "--no-fail-fast"]);
    } else {
        command.args([
            "test",
            "--workspace",
            "--no-fail-fast",
            "--lib",
            "--bins",
            "--tests",
        ]);
    }
    command
}

/// What tests left.
fn secrets(canaries: &Canaries) -> Result<()> {
    let tree = Tree::current()?;
    println!("{}", canaries.look(&canaries::places(tree.root()))?);
    Ok(())
}

fn generated_pages() -> Result<()> {
    let tree = Tree::current()?;
    let mut findings = requirements::findings(&tree)?;
    findings.extend(reference::findings(&tree)?);
    ensure!(findings.is_empty(), "{}", findings.join("\n"));
    Ok(())
}

#[derive(Default)]
struct Stages(Vec<Stage>);

struct Stage {
    name: &'static str,
    outcome: Outcome,
}

enum Outcome {
    Passed { seconds: f64 },
    Failed,
    Skipped(&'static str),
}

impl Stages {
    fn run(&mut self, name: &'static str, stage: impl FnOnce() -> Result<()>) {
        println!("== {name}");
        let start = Instant::now();
        let outcome = match stage() {
            Ok(()) => Outcome::Passed {
                seconds: start.elapsed().as_secs_f64(),
            },
            Err(error) => {
                println!("{error:#}");
                Outcome::Failed
            }
        };
        self.0.push(Stage { name, outcome });
    }

    fn command(&mut self, name: &'static str, command: &mut Command) {
        self.run(name, || process::run(command));
    }

    fn skip(&mut self, name: &'static str, why: &'static str) {
        println!("== {name}: skipped, {why}");
        self.0.push(Stage {
            name,
            outcome: Outcome::Skipped(why),
        });
    }

    fn summarise(&self) {
        println!("== so far");
        for Stage { name, outcome } in &self.0 {
            match outcome {
                Outcome::Passed { seconds } => println!("   {name}: passed in {seconds:.1} s"),
                Outcome::Failed => println!("   {name}: FAILED"),
                Outcome::Skipped(why) => println!("   {name}: skipped, {why}"),
            }
        }
    }

    fn failed(&self) -> Vec<&'static str> {
        self.0
            .iter()
            .filter(|stage| matches!(stage.outcome, Outcome::Failed))
            .map(|stage| stage.name)
            .collect()
    }
}
