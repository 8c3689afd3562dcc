//! `casemate identity`: the process that holds every credential. Whoever needs one starts it; it ends by itself.

mod confine;
mod serve;
mod start;

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use casemate_identity::{Clock, Entropy, Store};
use casemate_store::{FileProvider, StateDir};

use crate::{exit::Exit, report::Failure, system::System, values};

pub(crate) use self::start::{START_TIMEOUT, connect_or_start};

/// How long identity stays that nobody is connected to. The tokens that it fetched go with it.
const IDLE_EXIT: Duration = Duration::from_secs(5 * 60);

/// Hold credentials for whoever connects to a socket.
#[derive(Debug, clap::Args)]
pub(crate) struct IdentityArgs {
    /// Listen here, in a directory of this user's with mode 0700
    #[arg(long, value_name = "PATH")]
    socket: PathBuf,
    /// The state directory
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    /// End after this time without a connection [default: 5m]
    #[arg(long, value_name = "TIME", value_parser = values::millis)]
    idle_exit: Option<u64>,
}

pub(crate) fn run(args: &IdentityArgs) -> Result<Exit, Failure> {
    let idle_exit = args.idle_exit.map_or(IDLE_EXIT, Duration::from_millis);
    serve::run(&args.socket, &args.state, idle_exit).map_err(Failure::failed)
}

/// Where the credentials are in the state directory at `root`.
pub(crate) fn credentials_in(root: &Path) -> PathBuf {
    root.join("credentials")
}

/// The operator's authorities for token endpoints, in place of the host's.
fn roots_in(root: &Path) -> PathBuf {
    root.join("identity").join("roots.pem")
}

/// Where platforms write who this host is.
fn assertions_in(root: &Path) -> PathBuf {
    root.join("identity").join("assertions")
}

/// The credentials of the state directory at `root`, under the key of its file.
pub(crate) fn store(root: &Path) -> anyhow::Result<Store> {
    let state = StateDir::open(root)?;
    let provider = FileProvider::open(&state)?;
    Ok(Store::open(&credentials_in(root), Box::new(provider))?)
}

impl Clock for System {
    fn now_ms(&self) -> u64 {
        casemate_gateway::Clock::now_ms(self)
    }
}

impl Entropy for System {
    fn fill(&self, bytes: &mut [u8]) -> io::Result<()> {
        casemate_gateway::Entropy::fill(self, bytes)
    }
}
