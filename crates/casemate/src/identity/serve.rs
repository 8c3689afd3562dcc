//! Identity's process, from its socket to its end.

use std::{
    fs::DirBuilder,
    io,
    os::unix::fs::DirBuilderExt as _,
    path::Path,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use casemate_authority::Board;
use casemate_identity::{AssertionFiles, HttpsEndpoint, Identity, Server};
use casemate_transport::Listener;
use tokio::{
    runtime::Builder,
    signal::unix::{Signal, SignalKind, signal},
    task::JoinSet,
    time::sleep,
};

use super::{assertions_in, confine::confine, roots_in, store};
use crate::{detach::detach, exit::Exit, report, switch::switches_in, system::System};

/// Threads that wait for token endpoints at once.
const MAX_WAITING_THREADS: usize = 64;
/// Connections at once: two for each call that has credentials.
const MAX_CONNECTIONS: usize = 2_048;
/// How often it is looked for tokens that are due, and whether anybody still needs this process.
const TICK: Duration = Duration::from_millis(500);
/// How long nothing is accepted when there is no room.
const BREATH: Duration = Duration::from_millis(50);

pub(super) fn run(socket: &Path, state: &Path, idle_exit: Duration) -> anyhow::Result<Exit> {
    let socket = std::path::absolute(socket).context("cannot find the socket's directory")?;
    let state = std::path::absolute(state).context("cannot find the state directory")?;
    detach()?;
    casemate_sys::set_no_dump().context("cannot hide memory from other processes")?;
    let runtime = Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(MAX_WAITING_THREADS)
        .build()
        .context("cannot start")?;
    runtime.block_on(async {
        // Before the socket: whoever is asked to end leaves none behind.
        let signals = [SignalKind::terminate(), SignalKind::interrupt()].map(signal);
        // The lock: there is one identity for a state directory.
        let listener = Listener::bind(&socket)?;
        let roots = roots_in(&state);
        let roots = roots.exists().then_some(roots);
        let endpoint = HttpsEndpoint::new(roots.as_deref())?;
        let board = Board::open(&switches_in(&state));
        let identity = Identity::new(
            store(&state)?,
            board,
            Box::new(endpoint),
            Box::new(System),
            Box::new(System),
        );
        let assertions = assertions_in(&state);
        // They can be put there when somebody needs them.
        let made = DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&assertions);
        made.with_context(|| format!("cannot make `{}`", assertions.display()))?;
        let identity = identity.with_assertions(Box::new(AssertionFiles(assertions)));
        // Before a secret is read, and while there is one thread.
        let confined = confine(&state, &socket)?;
        report::line(&format!("identity listens, {confined}"));
        let server = Server::new(Arc::new(identity));
        serve(&listener, &server, signals, idle_exit).await
    })?;
    Ok(Exit::Success)
}

/// Serves whoever of this user connects, until a signal ends it or nobody needs it any more.
async fn serve(
    listener: &Listener,
    server: &Server,
    [terminate, interrupt]: [io::Result<Signal>; 2],
    idle_exit: Duration,
) -> anyhow::Result<()> {
    let mut terminate = terminate.context("cannot hear signals")?;
    let mut interrupt = interrupt.context("cannot hear signals")?;
    let mut unneeded = pin!(unneeded(server, listener, idle_exit));
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            () = &mut unneeded => return Ok(()),
            Some(_) = connections.join_next() => {}
            accepted = listener.accept_ours() => match accepted {
                Ok(_) if server.connections() >= MAX_CONNECTIONS => {}
                Ok(stream) => {
                    let server = server.clone();
                    connections.spawn(async move { server.serve(stream).await });
                }
                Err(_) => sleep(BREATH).await,
            },
        }
    }
}

/// Fetches tokens that are due, until nobody was connected for `idle_exit`, or nobody can find this process any more.
async fn unneeded(server: &Server, listener: &Listener, idle_exit: Duration) {
    let mut needed = Instant::now();
    while needed.elapsed() < idle_exit {
        sleep(TICK.min(idle_exit)).await;
        if server.connections() == 0 && listener.is_lost() {
            return;
        }
        if server.connections() > 0 {
            needed = Instant::now();
            server.refresh_due().await;
        }
    }
}
