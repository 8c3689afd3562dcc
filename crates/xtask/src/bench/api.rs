//! `cargo xtask bench api`: what the interface of `casemate up` costs, how fast it starts and is back, and what many take.

mod back;
mod calls;
mod crowd;
mod page;

use std::{path::PathBuf, time::Duration};

use anyhow::{Result, ensure};
use tokio::runtime::Builder;

use self::{
    calls::{Rates, Warm},
    crowd::Crowd,
    page::ApiReport,
};
use super::{
    host::{self, Host},
    sample::Summary,
};
use crate::{Tree, process, served::Server};

/// How to measure.
#[derive(Clone, Debug)]
pub struct ApiOptions {
    /// Only see whether it works: no page.
    pub quick: bool,
    /// The program to measure; built if there is none.
    pub casemate: Option<PathBuf>,
}

/// How much of everything.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    /// Starts of the server, each of an empty state directory and of a used one.
    starts: usize,
    /// Warm calls.
    calls: usize,
    /// `true` in a loop, and bubblewraps.
    rate_for: Duration,
    peers: usize,
    /// Deaths of each process.
    deaths: usize,
    /// Idle threads, and attached streams.
    threads: usize,
    streams: usize,
}

impl Sizes {
    const FULL: Self = Self {
        starts: 10,
        calls: 500,
        rate_for: Duration::from_secs(10),
        peers: 500,
        deaths: 5,
        threads: 200,
        streams: 1_000,
    };
    const QUICK: Self = Self {
        starts: 1,
        calls: 10,
        rate_for: Duration::from_secs(1),
        peers: 10,
        deaths: 1,
        threads: 5,
        streams: 20,
    };
}

/// How long starts took.
#[derive(Clone, Debug, Default)]
struct Starts {
    /// Of an empty state directory.
    first: Vec<Duration>,
    again: Vec<Duration>,
}

/// Measures, writes the page and prints it.
///
/// # Errors
/// When casemate cannot be built or started, a call fails, or the page cannot be written.
pub fn api(tree: &Tree, options: &ApiOptions) -> Result<()> {
    let target = process::target_directory()?;
    let casemate = match &options.casemate {
        Some(casemate) => std::path::absolute(casemate)?,
        None => {
            process::run(process::cargo().args(["build", "--release", "--package", "casemate"]))?;
            target.join("release/casemate")
        }
    };
    let directory = tempfile::Builder::new()
        .prefix("bench-")
        .tempdir_in(&target)?;
    let file_system = host::file_system(directory.path())?;
    ensure!(
        file_system != "tmpfs",
        "the target directory is in memory, where nothing is durable: set CARGO_TARGET_DIR to a disk"
    );
    let sizes = match options.quick {
        true => Sizes::QUICK,
        false => Sizes::FULL,
    };
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let mut starts = Starts::default();
    for number in 0..sizes.starts {
        let (mut server, took) =
            Server::start(&casemate, &directory.path().join(format!("start{number}")))?;
        starts.first.push(took);
        starts.again.push(server.restart()?);
    }
    println!("starts: done");
    let (mut server, _) = Server::start(&casemate, &directory.path().join("server"))?;
    let warm = runtime.block_on(Warm::measure(&server, sizes.calls))?;
    println!("warm calls: done");
    let rates = Rates::measure(&runtime, &server, &sizes)?;
    println!("rates: done");
    let crowd = runtime.block_on(Crowd::measure(&server, &sizes))?;
    println!("threads and streams: done");
    let back = back::measure(&runtime, &mut server, sizes.deaths)?;
    println!("deaths: done");
    drop(server);
    let page = ApiReport {
        host: Host::of(tree)?,
        file_system,
        sizes,
        first: Summary::of(&starts.first),
        again: Summary::of(&starts.again),
        warm,
        rates,
        crowd,
        back,
    }
    .page();
    if !options.quick {
        page.write(tree)?;
    }
    println!("{}", page.content);
    Ok(())
}
