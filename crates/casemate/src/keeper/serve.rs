//! The keeper's process: one thread, from its socket to its last sandbox.

use std::{
    io,
    path::Path,
    pin::pin,
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use casemate_ports::SessionKeeper;
use casemate_sandbox::NamespaceSessions;
use casemate_transport::{Listener, Server, handover::ToNamedSocket};
use tokio::{
    runtime::Builder,
    signal::unix::{Signal, SignalKind, signal},
    task::LocalSet,
    time::{sleep, timeout},
};

use crate::{detach::detach, exit::Exit};

/// How long running calls have to end, and to say so, when the keeper ends.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// How often it is looked whether anybody still needs the keeper.
const IDLE_CHECK: Duration = Duration::from_millis(500);

/// How often it is looked whether the last calls have ended.
const DRAIN_CHECK: Duration = Duration::from_millis(5);

pub(super) fn run(socket: &Path, images: &Path, idle_exit: Duration) -> anyhow::Result<Exit> {
    let socket = std::path::absolute(socket).context("cannot find the socket's directory")?;
    let images = std::path::absolute(images).context("cannot find the images")?;
    detach()?;
    // One thread: the keeper clones this process.
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start")?;
    let local = LocalSet::new();
    local.block_on(&runtime, async {
        // Before the socket: whoever is asked to end leaves none behind.
        let signals = [SignalKind::terminate(), SignalKind::interrupt()].map(signal);
        // The lock: what dead keepers left is removed only when there is no other.
        let listener = Listener::bind(&socket)?;
        let handover = Rc::new(ToNamedSocket);
        let keeper = Rc::new(NamespaceSessions::handing_over(&images, handover)?);
        let served = serve(&listener, Rc::clone(&keeper), signals, idle_exit).await;
        keeper.end().await;
        served
    })?;
    // What is left of tasks holds sandboxes: they die here.
    drop(local);
    Ok(Exit::Success)
}

/// Serves `keeper` until a signal ends it or nobody needs it any more, and then ends everything in it.
async fn serve<K: SessionKeeper + 'static>(
    listener: &Listener,
    keeper: Rc<K>,
    [terminate, interrupt]: [io::Result<Signal>; 2],
    idle_exit: Duration,
) -> anyhow::Result<()> {
    let mut terminate = terminate.context("cannot hear signals")?;
    let mut interrupt = interrupt.context("cannot hear signals")?;
    let server = Server::new(Rc::clone(&keeper));
    let mut serving = pin!(server.serve(listener));
    tokio::select! {
        never = &mut serving => match never {},
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = unneeded(&server, listener, &*keeper, idle_exit) => {}
    }
    server.drain();
    let drained = timeout(DRAIN_TIMEOUT, drain(&server, &*keeper));
    tokio::select! {
        never = &mut serving => match never {},
        // What is not over by then dies with the keeper.
        _ = drained => {}
    }
    Ok(())
}

/// Waits until nobody was connected and no session was alive for `idle_exit`, or nobody is connected and nobody can find
/// this keeper any more.
async fn unneeded<K: SessionKeeper + 'static>(
    server: &Server<K>,
    listener: &Listener,
    keeper: &K,
    idle_exit: Duration,
) {
    let mut needed = Instant::now();
    while needed.elapsed() < idle_exit {
        sleep(IDLE_CHECK.min(idle_exit)).await;
        if server.connections() == 0 && listener.is_lost() {
            return;
        }
        if server.connections() > 0 || is_busy(keeper).await {
            needed = Instant::now();
        }
    }
}

async fn is_busy<K: SessionKeeper>(keeper: &K) -> bool {
    // A keeper that does not know is not asked to go.
    let sessions = keeper.sessions().await;
    sessions.map_or(true, |sessions| {
        sessions.iter().any(|session| session.gone.is_none())
    })
}

/// Ends every session, and waits until the last call has said that it ended.
async fn drain<K: SessionKeeper + 'static>(server: &Server<K>, keeper: &K) {
    let sessions = keeper.sessions().await.unwrap_or_default();
    for session in sessions.into_iter().filter(|one| one.gone.is_none()) {
        // One that is gone by now needs nothing more.
        let _ = keeper.close(session.id, session.owner).await;
    }
    while server.requests() > 0 {
        sleep(DRAIN_CHECK).await;
    }
}
