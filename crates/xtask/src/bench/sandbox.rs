//! `cargo xtask bench sandbox`: sessions and warm calls, beside the peers that are installed.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Instant,
};

use anyhow::{Context, Result, ensure};

use super::{
    RunOptions,
    contender::{Needs, PACKAGES, Prefix, Program, Srt},
    crun::Crun,
    field::Field,
    goals::Measure,
    host::Host,
    report::{PEER, Series},
    runsc::Runsc,
    sample::{self, Summary},
};
use crate::{Tree, process};

mod page;

use self::page::SandboxReport;

/// How to measure.
#[derive(Clone, Debug)]
pub struct SandboxOptions {
    /// How each run is made.
    pub run: RunOptions,
    /// The tree of an image with numpy and pandas; without one, what needs them is not measured.
    pub image: Option<PathBuf>,
}

const TRUE: Program = Program {
    name: "`true`",
    argv: &["/usr/bin/true"],
    expected: "",
    needs: Needs::Host,
};

const DATA: Program = Program {
    name: "`python3 -c 'import numpy, pandas'`",
    argv: &["/usr/bin/python3", "-c", "import numpy, pandas; print(1)"],
    expected: "1\n",
    needs: Needs::Image,
};

/// With an image, and without.
const PROGRAMS: [Program; 2] = [TRUE, DATA];
const HOST_PROGRAMS: [Program; 1] = [TRUE];

/// Processes of `true` that are made for a rate, and how many at once.
const RATE: (usize, usize) = (100, 100);
/// Processes that import numpy and pandas that are made for a rate, and how many at once.
const DATA_RATE: (usize, usize) = (64, 16);

/// Measures the peers that work here, writes the page and prints it.
///
/// # Errors
/// When the bare process or a run fails, the image is none, or the page cannot be written.
pub fn sandbox(tree: &Tree, options: &SandboxOptions) -> Result<()> {
    let image = options.image.as_deref();
    if let Some(image) = image {
        ensure!(
            image.join(PACKAGES).is_dir(),
            "{} is not an image: it has no {PACKAGES}",
            image.display()
        );
    }
    let programs: &'static [Program] = match image {
        Some(_) => &PROGRAMS,
        None => &HOST_PROGRAMS,
    };
    let target = process::target_directory()?;
    let directory = tempfile::Builder::new()
        .prefix("bench-")
        .tempdir_in(&target)?;
    println!("order: seed {}", options.run.seed);
    let mut field = enter(programs, image, directory.path())?;
    let (series, on_busy_machine) = field.measure(options.run)?;
    let mut measured = medians(&series);
    measured.extend(rates(programs, image)?);
    let page = SandboxReport {
        options: options.run,
        host: Host::of(tree)?,
        programs,
        series,
        measured,
        absent: field.absent,
        on_busy_machine,
    }
    .page();
    page.write(tree)?;
    println!("{}", page.content);
    Ok(())
}

fn enter(programs: &'static [Program], image: Option<&Path>, directory: &Path) -> Result<Field> {
    let mut field = Field::new(programs);
    field.required(Prefix::bare(image))?;
    field.optional("bwrap", PEER, || Ok(Prefix::bubblewrap(image)));
    let bundles = directory.join("crun");
    field.optional("crun", "crun", || Crun::start(&bundles, programs, image));
    let bundles = directory.join("runsc");
    field.optional("runsc", "runsc", || Runsc::start(&bundles, programs, image));
    field.optional("codex", "codex sandbox", || Ok(Prefix::codex(image)));
    let rules = directory.join("srt");
    field.optional("srt", "srt", || Srt::start(&rules, image));
    Ok(field)
}

fn medians(series: &[Series]) -> BTreeMap<Measure, f64> {
    let median = |program: &Program, way: &str| {
        let found = series
            .iter()
            .find(|one| one.program.name == program.name && one.way == way)?;
        Some(Summary::of(&found.runs)?.median_ms)
    };
    [
        (Measure::BareTrue, median(&TRUE, "bare process")),
        (Measure::BareData, median(&DATA, "bare process")),
        (Measure::BubblewrapTrue, median(&TRUE, PEER)),
    ]
    .into_iter()
    .filter_map(|(measure, value)| Some((measure, value?)))
    .collect()
}

/// What bubblewrap comes to when many are made at once.
fn rates(programs: &[Program], image: Option<&Path>) -> Result<BTreeMap<Measure, f64>> {
    let mut rates = BTreeMap::new();
    if !process::succeeds(Command::new("bwrap").arg("--version")) {
        return Ok(rates);
    }
    let way = Prefix::bubblewrap(image);
    for program in programs {
        let (measure, (count, at_once)) = match program.needs {
            Needs::Host => (Measure::BubblewrapRate, RATE),
            Needs::Image => (Measure::BubblewrapDataRate, DATA_RATE),
        };
        let rate = rate(&way, program, count, at_once)
            .with_context(|| format!("{count} of {} as {PEER}", program.name))?;
        rates.insert(measure, rate);
    }
    Ok(rates)
}

/// Runs a second, of `count` runs with `at_once` at any moment.
fn rate(way: &Prefix, program: &Program, count: usize, at_once: usize) -> Result<f64> {
    let taken = AtomicUsize::new(0);
    let start = Instant::now();
    let failure = thread::scope(|scope| {
        let workers: Vec<_> = (0..at_once)
            .map(|_| {
                scope.spawn(|| {
                    while taken.fetch_add(1, Ordering::Relaxed) < count {
                        sample::time(&mut way.command(program), program.expected)?;
                    }
                    Ok(())
                })
            })
            .collect();
        let ended = workers.into_iter().map(|worker| {
            let ended = worker.join();
            ended.unwrap_or_else(|_| Err(anyhow::anyhow!("a worker died")))
        });
        ended.filter_map(Result::err).next()
    });
    match failure {
        Some(error) => Err(error),
        None => Ok(count as f64 / start.elapsed().as_secs_f64()),
    }
}
