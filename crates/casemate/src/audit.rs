//! `casemate audit`: what the log says, and whether it is genuine.

mod content;
mod show;
mod tail;
mod uses;
mod verify;

use std::path::PathBuf;

use casemate_policy::{Authenticator, Verified};

pub(crate) use self::{content::Contents, tail::time};

use crate::{
    cli::AuditCommand,
    exit::Exit,
    report::{self, Failure},
    run::local_claims,
    state::{self, State},
};

pub(crate) fn run(command: AuditCommand) -> Result<Exit, Failure> {
    match command {
        AuditCommand::Tail(args) => tail::run(&args),
        AuditCommand::Show { what, json } => show::run(&what, json.into()),
        AuditCommand::Uses(args) => uses::run(&args),
        AuditCommand::Verify(args) => verify::run(&args),
        AuditCommand::Key => {
            let key = State::open(&state::path()?).and_then(|state| state.public_key());
            report::print(format_args!("{}\n", key.map_err(Failure::failed)?))?;
            Ok(Exit::Success)
        }
        AuditCommand::Erase { agent, yes: true } => erase(&agent),
        AuditCommand::Erase { agent, yes: false } => Err(Failure::usage(anyhow::anyhow!(
            "the content of every record of `{agent}` would be gone for good"
        ))
        .hint("say --yes to destroy its keys; the log will still verify")),
    }
}

/// How records are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Lines,
    Json,
}

impl From<bool> for Format {
    fn from(json: bool) -> Self {
        if json { Self::Json } else { Self::Lines }
    }
}

/// The directory of the log, if there is one.
pub(crate) fn ledger() -> Result<PathBuf, Failure> {
    let ledger = state::ledger_in(&state::path()?);
    if ledger.join("log").exists() {
        return Ok(ledger);
    }
    Err(
        Failure::failed(anyhow::anyhow!("there is no log in {ledger:?}"))
            .hint("`casemate run` makes it; CASEMATE_STATE_DIR says where"),
    )
}

fn erase(agent: &str) -> Result<Exit, Failure> {
    let opened = State::open(&state::path()?).and_then(State::journal);
    let (journal, _) = opened.map_err(Failure::failed)?;
    let claims = Verified::vouch(local_claims(), Authenticator::LocalUser);
    let erased = journal.erase(agent, &claims).map_err(Failure::failed)?;
    let keys = match erased.keys.as_slice() {
        [] => "it had no keys".to_owned(),
        keys => format!("destroyed {}", keys.join(", ")),
    };
    let decision = erased.decision;
    report::print(format_args!("erased {agent}: {keys} ({decision})\n"))?;
    Ok(Exit::Success)
}
