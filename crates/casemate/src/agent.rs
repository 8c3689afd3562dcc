//! `casemate agent`: of which agents something is kept, and how nothing of one is any more.
//!
//! An agent is deleted while no gateway has the state directory, nobody looks through the databases and no call of it is there: what
//! a gateway remembers of it ends with the gateway, and nobody can ask for it anew meanwhile.

use std::{
    collections::HashSet,
    fs::{self, File},
    io,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::anyhow;
use casemate_gateway::{Erased, Journal};
use casemate_model::one_line;
use casemate_policy::{Authenticator, Verified};
use casemate_ports::{SessionKeeper as _, SessionStatus};
use casemate_transport::RemoteKeeper;
use clap::Subcommand;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde_json::json;
use tokio::{runtime::Builder, time::sleep};

use crate::{
    agent_lock::{self, Agents, With},
    exit::Exit,
    hold::{Hold, NotHeld, Role},
    report::{self, Failure},
    run::local_claims,
    serve::{keeper_socket, who_listens},
    state::{self, AgentStores, State},
    values,
};

/// How long calls that were interrupted have to say that they ended: a program is killed after two seconds.
const END_TIMEOUT: Duration = Duration::from_secs(15);
const END_CHECK: Duration = Duration::from_millis(20);

/// Agents.
#[derive(Debug, Subcommand)]
pub(crate) enum AgentCommand {
    /// List the agents of which something is kept
    List {
        /// Print one JSON object per line
        #[arg(long)]
        json: bool,
    },
    /// Destroy an agent's keys, database and sessions: nothing of it can be read any more, and the log still verifies
    Delete {
        /// The agent
        #[arg(value_name = "NAME", value_parser = values::agent)]
        name: String,
        /// Yes, for good
        #[arg(long)]
        yes: bool,
        /// End its calls that still run, instead of refusing
        #[arg(long)]
        force: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

pub(crate) fn run(command: AgentCommand) -> Result<Exit, Failure> {
    match command {
        AgentCommand::List { json } => list(json),
        AgentCommand::Delete {
            name, yes: false, ..
        } => Err(Failure::usage(anyhow!(
            "everything that is kept of `{name}` would be gone for good"
        ))
        .hint("say --yes to destroy it; the log will still verify")),
        AgentCommand::Delete {
            name, force, json, ..
        } => delete(&name, force, json),
    }
}

fn list(json: bool) -> Result<Exit, Failure> {
    let root = state::path()?;
    if !root.exists() {
        return Ok(Exit::Success);
    }
    let state = State::open(&root).map_err(Failure::failed)?;
    for name in state.agents().map_err(Failure::failed)? {
        match json {
            true => report::print(format_args!("{}\n", json!({ "agent": name })))?,
            false => report::print(format_args!("{name}\n"))?,
        }
    }
    Ok(Exit::Success)
}

fn delete(name: &str, force: bool, json: bool) -> Result<Exit, Failure> {
    let root = state::path()?;
    let state = State::open(&root).map_err(Failure::failed)?;
    if !state.agents().map_err(Failure::failed)?.contains(name) {
        return Err(
            Failure::invalid(anyhow!("nothing is kept of an agent `{name}`"))
                .hint("`casemate agent list` prints their names"),
        );
    }
    let _hold = Hold::take(&root, Role::Gateway).map_err(|held| {
        NotHeld::explained(held).hint("stop the server, and delete the agent then")
    })?;
    let _all = agent_lock::lock(&root, Agents::All, With::Nobody).map_err(|error| {
        Failure::failed(error)
            .context(format!("nothing of `{name}` was destroyed"))
            .hint("try again when that has ended")
    })?;
    let (journal, stores) = state.journal().map_err(Failure::failed)?;
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(Failure::failed)?;
    let (erased, sessions) = runtime.block_on(async {
        journal.recover(&stores).await.map_err(Failure::failed)?;
        let keeper = keeper(&root).await?;
        let sessions = match &keeper {
            Some(keeper) => of(name, keeper).await?,
            None => Vec::new(),
        };
        let running = sessions.iter().map(|session| session.calls).sum::<u64>();
        let _alone = end_calls(&journal, &root, name, running, force).await?;
        if let Some(keeper) = &keeper {
            for session in &sessions {
                let ended = keeper.close(session.id, session.owner.clone()).await;
                ended.map_err(|error| not_ended(name, &one_line(&error)))?;
            }
        }
        let erased = destroy(&journal, &stores, &root, name)?;
        Ok((erased, sessions.len()))
    })?;
    let decision = erased.decision;
    if json {
        let said = json!({ "agent": name, "keys": erased.keys, "sessions": sessions, "decision": decision });
        report::print(format_args!("{said}\n"))?;
        return Ok(Exit::Success);
    }
    let keys = erased.keys.len();
    report::print(format_args!(
        "deleted {name}: {keys} keys destroyed, {sessions} sessions ended ({decision})\n"
    ))?;
    Ok(Exit::Success)
}

/// The keeper that lives on without a gateway, if it does.
async fn keeper(root: &Path) -> Result<Option<RemoteKeeper>, Failure> {
    let socket = keeper_socket(root);
    let listens = who_listens(&socket).map_err(|error| {
        let failure = Failure::failed(error)
            .context("nothing was destroyed: cannot tell whether the keeper is there");
        failure
            .hint("its sessions would be left: end what listens on run/keeper.sock, or try again")
    });
    if listens?.is_none() {
        return Ok(None);
    }
    let keeper = RemoteKeeper::connect(&socket).await;
    keeper.map(Some).map_err(Failure::failed)
}

async fn of(name: &str, keeper: &RemoteKeeper) -> Result<Vec<SessionStatus>, Failure> {
    let mut sessions = keeper.sessions().await.map_err(Failure::failed)?;
    sessions.retain(|session| session.owner.agent == name && session.gone.is_none());
    Ok(sessions)
}

fn not_ended(name: &str, why: &str) -> Failure {
    Failure::failed(anyhow!("nothing of `{name}` was destroyed: {why}"))
}

/// Sees to it that none of the agent's calls runs: `running` of them do in sessions, others in processes of their own. None begins
/// while what this gives is there.
async fn end_calls(
    journal: &Journal,
    root: &Path,
    name: &str,
    running: u64,
    force: bool,
) -> Result<File, Failure> {
    let (started, mut told) = (Instant::now(), HashSet::new());
    loop {
        // Before the log is looked at: whoever begins a call has it before the call is on record, and until it is gone.
        let alone = agent_lock::try_lock(root, Agents::One(name), With::Nobody);
        let alone = alone.map_err(Failure::failed)?;
        let mut open = journal.open_of(name).map_err(Failure::failed)?;
        open.retain(|call| call.owner.is_alive());
        if !force && (running > 0 || !open.is_empty()) {
            let count = running.max(open.len() as u64);
            return Err(not_ended(name, &format!("{count} of its calls run"))
                .hint("wait for them, or end them with --force"));
        }
        if let Some(alone) = alone.filter(|_| open.is_empty()) {
            return Ok(alone);
        }
        for call in open {
            if told.insert(call.decision) {
                let pid = i32::try_from(call.owner.pid()).ok().and_then(Pid::from_raw);
                let process = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
                // Held, it is not taken for a later process of that number.
                if let Some(process) = process.filter(|_| call.owner.is_alive()) {
                    let _ = pidfd_send_signal(&process, Signal::TERM);
                }
            }
        }
        if started.elapsed() > END_TIMEOUT {
            return Err(not_ended(name, "a call of it begins, or does not end")
                .hint("try again when it has ended"));
        }
        sleep(END_CHECK).await;
    }
}

fn destroy(
    journal: &Journal,
    stores: &AgentStores,
    root: &Path,
    name: &str,
) -> Result<Erased, Failure> {
    let claims = Verified::vouch(local_claims(), Authenticator::LocalUser);
    let erased = journal.delete(name, &claims, || stores.remove(name).map(drop));
    let erased = erased.map_err(Failure::failed)?;
    let removed = remove_logs(root).and_then(|()| agent_lock::remove(root, name));
    removed.map_err(|error| {
        Failure::failed(error)
            .context("the agent is deleted, but not the logs of processes of egress")
    })?;
    Ok(erased)
}

/// What processes of egress said. They are dead, as their gateway is, and their logs do not say whose they were.
fn remove_logs(root: &Path) -> io::Result<()> {
    for entry in fs::read_dir(root.join("run"))? {
        let entry = entry?;
        let name = entry.file_name();
        let is_one = name
            .to_str()
            .is_some_and(|name| name.starts_with("egress-") && name.contains(".log"));
        if is_one {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
