//! `cargo xtask bench sandbox`: sessions and warm calls, beside the peers that are installed.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    rc::Rc,
    time::Duration,
};

use anyhow::{Result, ensure};

use super::{
    contender::{Needs, Prefix, Program, Srt},
    crun::Crun,
    field::Field,
    goals::Measure,
    host::{self, Host},
    report::{PEER, Series},
    runsc::Runsc,
    sample::Summary,
};
use crate::{Tree, image, process};

mod crowd;
mod house;
mod load;
mod options;
mod page;
mod rates;
mod state;
mod steps;
mod violation;
mod ways;

pub use self::options::{Extent, SandboxOptions};
pub(super) use self::rates::peer_rate;
use self::{
    crowd::Crowd,
    house::House,
    page::SandboxReport,
    rates::Rates,
    state::States,
    violation::Deaths,
    ways::{Breakdown, LIVE_SESSION, LiveSession, NEW_SESSION, NewSession},
};

pub(super) static TRUE: Program = Program {
    name: "`true`",
    argv: &["/usr/bin/true"],
    expected: "",
    needs: Needs::Host,
};

static DATA: Program = Program {
    name: "`python3 -c 'import numpy, pandas'`",
    argv: &["/usr/bin/python3", "-c", "import numpy, pandas; print(1)"],
    expected: "1\n",
    needs: Needs::Image,
};

static PROGRAMS: [Program; 2] = [TRUE, DATA];

/// Measures Casemate and the peers that work here, writes the page and prints it.
///
/// # Errors
/// When casemate or the image cannot be built, the bare process or a run fails, or the page cannot be written.
pub fn sandbox(tree: &Tree, options: &SandboxOptions) -> Result<()> {
    process::run(process::cargo().args(["build", "--release", "--package", "casemate"]))?;
    let target = process::target_directory()?;
    let casemate = target.join("release/casemate");
    let built = image::build(tree, &casemate)?;
    let directory = tempfile::Builder::new()
        .prefix("bench-")
        .tempdir_in(&target)?;
    let file_system = host::file_system(directory.path())?;
    ensure!(
        file_system != "tmpfs",
        "the target directory is in memory, where nothing is durable: set CARGO_TARGET_DIR to a disk"
    );
    println!("order: seed {}", options.run.seed);
    let sizes = options.extent.sizes();
    let house = House::start(
        &casemate,
        &directory.path().join("house"),
        &built.store,
        sizes.at_once,
    )?;
    let house = Rc::new(house);
    let breakdown = Breakdown::default();
    let mut field = enter(&built.tree, directory.path(), &house, &breakdown)?;
    let (series, on_busy_machine) = field.measure(options.run)?;
    let (cold, hop) = (house.cold()?, house.hop()?);
    println!("one after the other: done");
    let crowd = crowd::measure(&house, &sizes, options.run)?;
    println!("many idle sessions: done");
    let idle = Duration::from_millis(options.run.idle_ms);
    let rates = rates::measure(&house, &built.tree, &sizes, idle)?;
    println!("rates: done");
    let states = state::measure(&house, sizes.states)?;
    println!("pause, resume and copy: done");
    let deaths = violation::measure(&house, sizes.states)?;
    println!("violations: done");
    house.gateway.stop_keeper()?;
    let page = SandboxReport {
        options: *options,
        host: Host::of(tree)?,
        file_system,
        measured: measured(&series, &crowd, &rates, &states, &deaths),
        breakdown: breakdown.take(),
        hop,
        series,
        crowd,
        rates,
        states,
        deaths,
        at_once: sizes.at_once,
        cold,
        absent: field.absent,
        on_busy_machine,
    }
    .page();
    if options.extent == Extent::Full {
        page.write(tree)?;
    }
    println!("{}", page.content);
    Ok(())
}

fn enter(
    image: &Path,
    directory: &Path,
    house: &Rc<House>,
    breakdown: &Breakdown,
) -> Result<Field> {
    let mut field = Field::new(&PROGRAMS);
    field.required(Prefix::bare(Some(image)))?;
    field.optional("bwrap", PEER, || Ok(Prefix::bubblewrap(Some(image))));
    let bundle = |name: &str| -> PathBuf { directory.join(name) };
    let (crun, runsc) = (bundle("crun"), bundle("runsc"));
    field.optional("crun", "crun", || {
        Crun::start(&crun, &PROGRAMS, Some(image))
    });
    field.optional("runsc", "runsc", || {
        Runsc::start(&runsc, &PROGRAMS, Some(image))
    });
    field.optional("codex", "codex sandbox", || Ok(Prefix::codex(Some(image))));
    let rules = directory.join("srt");
    field.optional("srt", "srt", || Srt::start(&rules, Some(image)));
    field.required(NewSession {
        house: Rc::clone(house),
        breakdown: Rc::clone(breakdown),
    })?;
    field.required(LiveSession {
        house: Rc::clone(house),
        breakdown: Rc::clone(breakdown),
    })?;
    // The first call in each way is none of those that are told.
    breakdown.take();
    Ok(field)
}

/// What the goals are judged by.
fn measured(
    series: &[Series],
    crowd: &Crowd,
    rates: &Rates,
    states: &States,
    deaths: &Deaths,
) -> BTreeMap<Measure, f64> {
    let median = |program: &Program, way: &str| {
        let found = series
            .iter()
            .find(|one| one.program.name == program.name && one.way == way)?;
        Some(Summary::of(&found.runs)?.median_ms)
    };
    let alone = |summary: Option<Summary>| Some(summary?.median_ms);
    let worst = |runs: &[Duration]| Some(Summary::of(runs)?.p99_ms);
    [
        (Measure::BareTrue, median(&TRUE, "bare process")),
        (Measure::BareData, median(&DATA, "bare process")),
        (Measure::BubblewrapTrue, median(&TRUE, PEER)),
        (Measure::BubblewrapRate, Rates::best(rates.peer)),
        (Measure::BubblewrapDataRate, Rates::best(rates.peer_data)),
        (Measure::NewSessionData, median(&DATA, NEW_SESSION)),
        (Measure::WarmData, median(&DATA, LIVE_SESSION)),
        (Measure::NewSessionTrue, median(&TRUE, NEW_SESSION)),
        (Measure::SessionRate, rates.burst),
        (Measure::IdleMemory, crowd.plain.map(|share| share.private)),
        (
            Measure::IdleMemoryPython,
            crowd.python.map(|share| share.private),
        ),
        (Measure::WarmDataAlone, alone(crowd.alone)),
        (Measure::WarmDataCrowded, alone(crowd.crowded)),
        (Measure::WarmDataRate, rates.warm),
        (Measure::Pause, alone(Summary::of(&states.pause))),
        (Measure::Resume, alone(Summary::of(&states.resume))),
        (Measure::ViolationToDeath, worst(&deaths.violation)),
        (Measure::KillToDeath, worst(&deaths.kill)),
    ]
    .into_iter()
    .filter_map(|(measure, value)| Some((measure, value?)))
    .collect()
}
