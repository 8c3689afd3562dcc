//! `cargo xtask bench run`: what a run in a sandbox costs, beside its peers.

use std::{path::Path, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use fastrand::Rng;

use super::{
    contender::{Contender, PROGRAMS, Prefix},
    crun::Crun,
    host::{self, Host},
    report::{Absent, PEER, Report, Series},
    sample,
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
    let mut field = Field::enter(&target.join("release/casemate"), directory.path())?;
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

/// The ways that work here, and those that do not.
struct Field {
    contenders: Vec<Box<dyn Contender>>,
    absent: Vec<Absent>,
}

impl Field {
    fn enter(casemate: &Path, directory: &Path) -> Result<Self> {
        let mut field = Self {
            contenders: Vec::new(),
            absent: Vec::new(),
        };
        field.required(Prefix::bare())?;
        field.optional("bwrap", PEER, || Ok(Prefix::bubblewrap()));
        field.optional("crun", "crun", || Crun::start(&directory.join("crun")));
        field.required(Prefix::casemate(casemate, &directory.join("state")))?;
        Ok(field)
    }

    fn required(&mut self, mut contender: impl Contender + 'static) -> Result<()> {
        let name = contender.name();
        probe(&mut contender).with_context(|| format!("{name} does not work here"))?;
        self.contenders.push(Box::new(contender));
        Ok(())
    }

    /// The page must not hold what a peer says of paths here, so that goes to the terminal only.
    fn optional<C: Contender + 'static>(
        &mut self,
        command: &str,
        way: &'static str,
        start: impl FnOnce() -> Result<C>,
    ) {
        if !process::succeeds(Command::new(command).arg("--version")) {
            self.absent.push(Absent {
                way,
                why: "it is not installed",
            });
            return;
        }
        let probed = start().and_then(|mut contender| {
            probe(&mut contender)?;
            Ok(contender)
        });
        match probed {
            Ok(contender) => self.contenders.push(Box::new(contender)),
            Err(error) => {
                println!("{way} does not work here: {error:#}");
                self.absent.push(Absent {
                    way,
                    why: "its first run on this host failed",
                });
            }
        }
    }

    /// Runs every program in every way, in a new random order each round. The first round does not count.
    /// Also counts the runs that began on a busy machine.
    fn measure(&mut self, options: RunOptions) -> Result<(Vec<Series>, usize)> {
        let idle = Duration::from_millis(options.idle_ms);
        let mut random = Rng::with_seed(options.seed);
        let mut on_busy_machine = 0;
        let mut series: Vec<Series> = PROGRAMS
            .iter()
            .flat_map(|program| {
                self.contenders
                    .iter()
                    .map(|way| Series::new(program, way.name()))
            })
            .collect();
        for round in 0..=options.runs {
            random.shuffle(&mut series);
            for Series { program, way, runs } in &mut series {
                let Some(contender) = self.contenders.iter_mut().find(|one| one.name() == *way)
                else {
                    continue;
                };
                let was_idle = sample::wait_for_idle(idle)?;
                let elapsed = contender
                    .time(program)
                    .with_context(|| format!("{} as {way}", program.name))?;
                if round > 0 {
                    runs.push(elapsed);
                    on_busy_machine += usize::from(!was_idle);
                }
            }
        }
        series.sort_by_key(|one| self.contenders.iter().position(|way| way.name() == one.way));
        Ok((series, on_busy_machine))
    }
}

fn probe(contender: &mut dyn Contender) -> Result<()> {
    for program in &PROGRAMS {
        contender.time(program).with_context(|| program.name)?;
    }
    Ok(())
}
