//! The ways to run programs that are measured beside each other.

use std::{process::Command, time::Duration};

use anyhow::{Context, Result};
use fastrand::Rng;

use super::{
    RunOptions,
    contender::{Contender, Program},
    report::{Absent, Series},
    sample,
};
use crate::process;

/// The ways that work here, and those that do not.
pub(super) struct Field {
    programs: &'static [Program],
    contenders: Vec<Box<dyn Contender>>,
    pub(super) absent: Vec<Absent>,
}

impl Field {
    /// A field for `programs`, with nobody in it.
    pub(super) const fn new(programs: &'static [Program]) -> Self {
        Self {
            programs,
            contenders: Vec::new(),
            absent: Vec::new(),
        }
    }

    /// Adds a way that must work.
    pub(super) fn required(&mut self, mut contender: impl Contender + 'static) -> Result<()> {
        let name = contender.name();
        probe(&mut contender, self.programs)
            .with_context(|| format!("{name} does not work here"))?;
        self.contenders.push(Box::new(contender));
        Ok(())
    }

    /// Adds a way if it is installed and works.
    ///
    /// The page must not hold what a peer says of paths here, so that goes to the terminal only.
    pub(super) fn optional<C: Contender + 'static>(
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
        let programs = self.programs;
        let probed = start().and_then(|mut contender| {
            probe(&mut contender, programs)?;
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
    pub(super) fn measure(&mut self, options: RunOptions) -> Result<(Vec<Series>, usize)> {
        let idle = Duration::from_millis(options.idle_ms);
        let mut random = Rng::with_seed(options.seed);
        let mut on_busy_machine = 0;
        let mut series: Vec<Series> = self
            .programs
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

fn probe(contender: &mut dyn Contender, programs: &[Program]) -> Result<()> {
    for program in programs {
        contender.time(program).with_context(|| program.name)?;
    }
    Ok(())
}
