//! `cargo xtask bench run`: what a run in a sandbox costs, beside its peers.

use anyhow::{Result, ensure};

use super::{
    contender::{PROGRAMS, Prefix},
    crun::Crun,
    field::Field,
    host::{self, Host},
    report::{PEER, Report},
    runsc::Runsc,
};
use crate::{Tree, process};

/// How to measure.
#[derive(Clone, Copy, Debug)]
pub struct RunOptions {
    /// Runs of each program in each way, after one that does not count.
    pub runs: usize,
    /// How long the machine must have been idle before each run, in milliseconds; 0 for a tight loop.
    pub idle_ms: u64,
    /// Where the random order starts.
    pub seed: u64,
}

/// Measures every way that works here, writes the page and prints it.
///
/// # Errors
/// When casemate cannot be built or run, a run fails, or the page cannot be written.
pub fn run(tree: &Tree, options: RunOptions) -> Result<()> {
    process::run(process::cargo().args(["build", "--release", "--package", "casemate"]))?;
    let target = process::target_directory()?;
    let directory = tempfile::Builder::new()
        .prefix("bench-")
        .tempdir_in(&target)?;
    let file_system = host::file_system(directory.path())?;
    ensure!(
        file_system != "tmpfs",
        "the target directory is in memory, where nothing is durable: set CARGO_TARGET_DIR to a disk"
    );
    println!("order: seed {}", options.seed);
    let mut field = Field::new(&PROGRAMS);
    field.required(Prefix::bare(None))?;
    field.optional("bwrap", PEER, || Ok(Prefix::bubblewrap(None)));
    let bundles = directory.path().join("crun");
    field.optional("crun", "crun", || Crun::start(&bundles, &PROGRAMS, None));
    let (casemate, state) = (
        target.join("release/casemate"),
        directory.path().join("state"),
    );
    field.required(Prefix::casemate(&casemate, &state))?;
    let bundles = directory.path().join("runsc");
    field.optional("runsc", "runsc", || Runsc::start(&bundles, &PROGRAMS, None));
    field.optional("runsc", "casemate run, tier gvisor", || {
        Prefix::casemate_in_gvisor(&casemate, &state, directory.path())
    });
    let (series, on_busy_machine) = field.measure(options)?;
    let page = Report {
        options,
        host: Host::of(tree)?,
        file_system,
        series,
        absent: field.absent,
        on_busy_machine,
    }
    .page();
    page.write(tree)?;
    println!("{}", page.content);
    Ok(())
}
