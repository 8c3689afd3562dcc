//! `casemate keeper`: the process that makes sandboxes. The gateway starts it; it outlives the gateway.

mod serve;
mod start;
mod status;

use std::{path::PathBuf, time::Duration};

use crate::{exit::Exit, report::Failure, state, values};

pub(crate) use self::start::connect_or_start;

/// How long a keeper stays that nobody is connected to, and that has no session.
const IDLE_EXIT: Duration = Duration::from_secs(5 * 60);

/// Make sandboxes for whoever connects to a socket; without one, say how this user's keeper stands.
#[derive(Debug, clap::Args)]
pub(crate) struct KeeperArgs {
    /// Listen here, in a directory of this user's with mode 0700
    #[arg(long, value_name = "PATH", requires = "images")]
    socket: Option<PathBuf>,
    /// Where the images are
    #[arg(long, value_name = "DIR", requires = "socket")]
    images: Option<PathBuf>,
    /// End after this time without a connection and without a session [default: 5m]
    #[arg(long, value_name = "TIME", requires = "socket", value_parser = values::millis)]
    idle_exit: Option<u64>,
}

pub(crate) fn run(args: &KeeperArgs) -> Result<Exit, Failure> {
    let done = match (&args.socket, &args.images) {
        (Some(socket), Some(images)) => {
            let idle_exit = args.idle_exit.map_or(IDLE_EXIT, Duration::from_millis);
            serve::run(socket, images, idle_exit)
        }
        _ => status::run(&state::path()?),
    };
    done.map_err(Failure::failed)
}
