//! `cargo xtask soak`: bounded random load through `casemate serve`, with random deaths, and nothing left behind.
//!
//! In the first half of the time everything is killed now and then, gateway and keeper included; in the second half only
//! what is in sandboxes, so that the memory of gateway and keeper can be watched.

use std::{
    fs,
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use fastrand::Rng;
use tokio::runtime::Builder;

use crate::{Tree, image, process, served::Gateway};

mod actor;
mod chaos;
mod check;
mod deeds;
mod end;
mod records;
mod terminal;
mod traces;
mod watch;
mod world;

use self::{
    actor::Actor, chaos::Chaos, records::Records, traces::Traces, watch::Watch, world::World,
};

/// How to soak.
#[derive(Clone, Copy, Debug)]
pub struct SoakOptions {
    /// For how long.
    pub time: Duration,
    /// Where chance starts.
    pub seed: u64,
    /// Who dies.
    pub deaths: Deaths,
}

/// Who dies in a soak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deaths {
    /// Anything, at random.
    Random,
    /// Nobody: whatever is lost then is lost without a reason.
    None,
}

/// Clients at once.
const ACTORS: u64 = 8;
/// How often the log is read: fewer records come meanwhile than are shown at once.
const READ_EVERY: Duration = Duration::from_secs(15);
/// How often what was found so far is printed.
const REPORT_EVERY: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(200);

/// Loads, kills, checks, and says what was found.
///
/// # Errors
/// When something was found, or it cannot be run.
pub fn soak(tree: &Tree, options: SoakOptions) -> Result<()> {
    println!("seed {}, {} s", options.seed, options.time.as_secs());
    process::run(process::cargo().args(["build", "--release", "--package", "casemate"]))?;
    let target = process::target_directory()?;
    let casemate = target.join("release/casemate");
    let built = image::build(tree, &casemate)?;
    let directory = tempfile::Builder::new()
        .prefix("soak-")
        .tempdir_in(&target)?;
    // Whatever is orphaned becomes our child, and is found.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    let traces = Traces::before()?;
    let findings = run(&casemate, &built.store, directory.path(), options, traces)?;
    if findings.is_empty() {
        println!("\nnothing was found");
        return Ok(());
    }
    let kept = directory.keep();
    println!("\nthe state is kept in {}", kept.display());
    for finding in &findings {
        println!("FOUND: {finding}");
    }
    ensure!(findings.is_empty(), "{} findings", findings.len());
    Ok(())
}

fn run(
    casemate: &Path,
    images: &Path,
    directory: &Path,
    options: SoakOptions,
    mut traces: Traces,
) -> Result<Vec<String>> {
    let house = directory.join("house");
    fs::create_dir_all(&house)?;
    let gateway = Gateway::start(casemate, &house, images, &world::PROFILES)?;
    let start = Instant::now();
    let deadline = start + options.time;
    let world = Arc::new(World::new(&gateway));
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let mut random = Rng::with_seed(options.seed);
    let actors: Vec<_> = (0..ACTORS)
        .map(|number| {
            let actor = Actor::new(number, random.fork(), Arc::clone(&world));
            runtime.spawn(actor.act_until(deadline))
        })
        .collect();
    let mut chaos = Chaos::new(random.fork(), gateway, Arc::clone(&world));
    let mut watch = Watch::new(start + options.time / 2, deadline);
    let mut records = Records::default();
    let (mut read, mut reported) = (start, start);
    while Instant::now() < deadline {
        thread::sleep(POLL);
        for keeper in chaos.gateway().keepers() {
            traces.saw_keeper(keeper);
        }
        Traces::bury(chaos.gateway().pid());
        if options.deaths == Deaths::Random {
            chaos.strike(Instant::now() < start + options.time / 2)?;
        }
        watch.look(chaos.gateway());
        if read.elapsed() >= READ_EVERY {
            read = Instant::now();
            records.read(chaos.gateway())?;
        }
        if reported.elapsed() >= REPORT_EVERY {
            reported = Instant::now();
            println!("{}", world.summary());
        }
    }
    for actor in actors {
        if let Err(error) = runtime.block_on(actor) {
            world.fault(format!("an actor died: {error}"));
        }
    }
    println!(
        "{}\n{}\n{}",
        world.summary(),
        chaos.summary(),
        watch.summary()
    );
    let gateway = chaos.into_gateway();
    for finding in watch.findings() {
        world.fault(finding);
    }
    end::end(&runtime, gateway, &world, &mut traces, &mut records)?;
    Ok(world.faults())
}
