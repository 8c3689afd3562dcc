//! `cargo xtask`: the chores of the project.

#![expect(clippy::print_stderr, reason = "a command-line tool")]

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Result, ensure};
use clap::{Args, Parser, Subcommand};
use xtask::{Tree, bench, clients, demo, image, reference, requirements, soak, stages};

/// What a quick measurement is content with.
const QUICK_RUNS: usize = 3;
const QUICK_IDLE_MS: u64 = 10;

#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask", about)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Check everything that must hold before a change is good
    Test,
    /// Build casemate and show it: a run, its report, its decision, its proof
    Demo,
    /// Build the image of images/python-data.toml, unless it is there, where tests and benchmarks look for it
    Image,
    /// Write docs/requirements.md: which requirement has a test
    Requirements {
        #[command(flatten)]
        mode: Mode,
        /// A requirement that may lose its last test (repeat for more)
        #[arg(long, value_name = "NUMBER")]
        give_up: Vec<requirements::Id>,
    },
    /// Write docs/reference from the sources
    Reference {
        #[command(flatten)]
        mode: Mode,
    },
    /// Install real clients from their registries, and run them against a gateway
    Clients {
        /// Which [default: all, one after the other, with a table at the end]
        client: Option<clients::Client>,
    },
    /// Load `casemate serve` at random, kill what it is made of at random, and see what is left
    Soak {
        /// For how long
        #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=10_000))]
        minutes: u64,
        /// Where chance starts [default: anywhere]
        #[arg(long)]
        seed: Option<u64>,
        /// Kill nothing
        #[arg(long)]
        peaceful: bool,
    },
    /// Attack our way out and the proxies that are installed beside it, and write docs/benchmarks/egress-corpus.md
    Corpus,
    /// Measure, and write docs/benchmarks
    #[command(subcommand)]
    Bench(Bench),
}

#[derive(Debug, Args)]
struct Mode {
    /// Write nothing; fail if what is there is not current
    #[arg(long)]
    check: bool,
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// A run in a sandbox, beside its peers
    Run {
        /// Runs of each program in each way
        #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u64).range(1..=10_000))]
        runs: u64,
        /// Idle time before each run in milliseconds; 0 for a tight loop
        #[arg(long, default_value_t = 120)]
        idle_ms: u64,
        /// Where the random order starts [default: anywhere]
        #[arg(long)]
        seed: Option<u64>,
    },
    /// Sessions and warm calls, beside the peers that are installed
    Sandbox {
        /// Runs of each program in each way
        #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u64).range(1..=10_000))]
        runs: u64,
        /// Idle time before each run in milliseconds; 0 for a tight loop
        #[arg(long, default_value_t = 120)]
        idle_ms: u64,
        /// Where the random order starts [default: anywhere]
        #[arg(long)]
        seed: Option<u64>,
        /// Only see whether it works: few runs, few sessions, and no page
        #[arg(long)]
        quick: bool,
    },
    /// `casemate up` and its interface: what HTTP costs, how fast it starts and is back, and what many connections take
    Api {
        /// Only see whether it works: few calls, few threads, and no page
        #[arg(long)]
        quick: bool,
        /// Measure this program, and build none
        #[arg(long, value_name = "FILE")]
        casemate: Option<PathBuf>,
    },
    /// Appending to the ledger
    Ledger,
    /// The way out, beside squid, mitmproxy and a bare interceptor
    Egress {
        /// Only these, and no page
        #[arg(long, value_delimiter = ',', value_parser = ["squid", "mitmproxy", "bare", "memory", "everything", "process"])]
        ways: Vec<String>,
        /// Use it for so many minutes instead, and see whether it grows
        #[arg(long, value_name = "MINUTES", conflicts_with = "ways", value_parser = clap::value_parser!(u64).range(1..=10_000))]
        soak: Option<u64>,
    },
    /// What it costs to lend a credential to a request
    Identity,
    /// Decisions, beside bare Cedar; switches, approvals and budgets, beside what they come to without
    Policy,
    /// The worker of `bench run` that times crun
    #[command(hide = true)]
    ServeCrun {
        /// Where the bundles are
        directory: PathBuf,
    },
}

fn main() -> ExitCode {
    match perform(Cli::parse().verb) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn perform(verb: Verb) -> Result<()> {
    match verb {
        Verb::Test => stages::test(),
        Verb::Demo => demo::demo(&Tree::current()?),
        Verb::Image => image::image(&Tree::current()?),
        Verb::Requirements { mode, give_up } => {
            let tree = Tree::current()?;
            if mode.check {
                none(&requirements::findings(&tree)?)
            } else {
                requirements::write(&tree, &give_up)
            }
        }
        Verb::Reference { mode } => {
            let tree = Tree::current()?;
            if mode.check {
                none(&reference::findings(&tree)?)
            } else {
                reference::write(&tree)
            }
        }
        Verb::Clients {
            client: Some(client),
        } => clients::clients(&Tree::current()?, client),
        Verb::Clients { client: None } => clients::all(&Tree::current()?),
        Verb::Soak {
            minutes,
            seed,
            peaceful,
        } => soak::soak(
            &Tree::current()?,
            soak::SoakOptions {
                time: Duration::from_secs(minutes * 60),
                seed: seed.unwrap_or_else(|| fastrand::u64(..)),
                deaths: if peaceful {
                    soak::Deaths::None
                } else {
                    soak::Deaths::Random
                },
            },
        ),
        Verb::Corpus => bench::corpus(&Tree::current()?),
        Verb::Bench(bench) => measure(bench),
    }
}

fn measure(bench: Bench) -> Result<()> {
    match bench {
        Bench::Run {
            runs,
            idle_ms,
            seed,
        } => bench::run(
            &Tree::current()?,
            bench::RunOptions {
                runs: usize::try_from(runs)?,
                idle_ms,
                seed: seed.unwrap_or_else(|| fastrand::u64(..)),
            },
        ),
        Bench::Sandbox {
            runs,
            idle_ms,
            seed,
            quick,
        } => bench::sandbox(
            &Tree::current()?,
            &bench::SandboxOptions {
                run: bench::RunOptions {
                    runs: if quick {
                        QUICK_RUNS
                    } else {
                        usize::try_from(runs)?
                    },
                    idle_ms: if quick { QUICK_IDLE_MS } else { idle_ms },
                    seed: seed.unwrap_or_else(|| fastrand::u64(..)),
                },
                extent: if quick {
                    bench::Extent::Quick
                } else {
                    bench::Extent::Full
                },
            },
        ),
        Bench::Api { quick, casemate } => {
            bench::api(&Tree::current()?, &bench::ApiOptions { quick, casemate })
        }
        Bench::Ledger => bench::ledger(&Tree::current()?),
        Bench::Egress {
            soak: Some(minutes),
            ..
        } => bench::egress_soak(&Tree::current()?, minutes),
        Bench::Egress { ways, soak: None } => bench::egress(&Tree::current()?, &ways),
        Bench::Identity => bench::identity(&Tree::current()?),
        Bench::Policy => bench::policy(&Tree::current()?),
        Bench::ServeCrun { directory } => bench::serve_crun(&directory),
    }
}

fn none(findings: &[String]) -> Result<()> {
    ensure!(findings.is_empty(), "{}", findings.join("\n"));
    Ok(())
}
