//! `casemate egress`: the process by which the calls of one agent reach destinations. The gateway starts it, and it ends with
//! the gateway, or when nobody has needed it for a while.
//!
//! It reads what it needs of this host's files, and then gives them up, with everything else but the network: see [`enter`] and
//! `casemate_confine::restrict_egress`. What is really in force it finds out by trying ([`trial`]).

mod enter;
mod process;
mod processes;
mod rights;
mod serve;
mod trial;

use std::{
    fs::{self, DirBuilder},
    os::unix::fs::DirBuilderExt as _,
    path::PathBuf,
};

use anyhow::Context as _;
use casemate_gateway::Entropy as _;
use tokio::runtime::Builder;

use self::process::Process;
use crate::{
    exit::Exit,
    report::{self, Failure},
    system::System,
};

pub(crate) use self::{processes::Processes, trial::Enforced};

/// Serve ways out on standard input, which is a socket; without one, say what such a process is kept from on this host.
#[derive(Debug, clap::Args)]
pub(crate) struct EgressArgs {
    /// Take the sockets of sandboxes here, in a directory of this user's with mode 0700
    #[arg(long, value_name = "PATH", requires = "roots")]
    handover: Option<PathBuf>,
    /// Believe the authorities in this file too, if it is there
    #[arg(long, value_name = "FILE", requires = "handover")]
    roots: Option<PathBuf>,
}

pub(crate) fn run(args: &EgressArgs) -> Result<Exit, Failure> {
    let done = match (&args.handover, &args.roots) {
        (Some(handover), Some(roots)) => serve::run(handover, roots),
        _ => status(),
    };
    done.map_err(Failure::failed)
}

/// Starts a process, and says what it is kept from.
fn status() -> anyhow::Result<Exit> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start")?;
    let enforced = runtime.block_on(enforced())?;
    let json = serde_json::to_string(&enforced).context("cannot say it")?;
    // Whoever does not read it does not want it.
    let _ = report::print(format_args!("{json}\n"));
    Ok(Exit::Success)
}

/// What a process of egress is kept from on this host. It needs a place of its own, which is gone after it.
///
/// # Errors
/// When none can be started, or it can do what it must not.
pub(crate) async fn enforced() -> anyhow::Result<Enforced> {
    let mut random = [0; 8];
    System.fill(&mut random).context("there is no entropy")?;
    let name = format!("casemate-egress-{:016x}", u64::from_be_bytes(random));
    let dir = std::env::temp_dir().join(name);
    let made = DirBuilder::new().mode(0o700).create(&dir);
    made.with_context(|| format!("cannot make `{}`", dir.display()))?;
    let (handover, roots) = (dir.join("egress.sock"), dir.join("roots.pem"));
    let started = Process::start(handover, &roots, &dir.join("log")).await;
    let enforced = started.map(|process| process.enforced.clone());
    // What is left is seen by whoever looks after the directory of temporary files.
    let _ = fs::remove_dir_all(&dir);
    Ok(enforced?)
}
