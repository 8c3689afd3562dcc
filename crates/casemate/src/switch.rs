//! `casemate switch`: what is taken back at once, and given again.

use std::path::{Path, PathBuf};

use casemate_authority::{Position, SwitchKind, Switchboard, Throw};
use casemate_gateway::{Clock as _, ThrowError};
use casemate_policy::{Authenticator, Verified};
use clap::Subcommand;

use crate::{
    exit::Exit,
    policy::journal,
    report::{self, Failure},
    run::local_claims,
    state,
    system::System,
};

/// Switches that stop calls at once, running ones too.
#[derive(Debug, Subcommand)]
pub(crate) enum SwitchCommand {
    /// Switch something off: what runs of it is killed, and nothing of it begins
    Off(What),
    /// Switch something on again; what began before it was off stays stopped
    On(What),
    /// List what is off
    List {
        /// What was switched on again too
        #[arg(long)]
        all: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// What a switch is of.
#[derive(Debug, clap::Args)]
pub(crate) struct What {
    /// `tenant`, `user`, `agent`, `route`, `tool`, `destination`, `model` or `credential`
    #[arg(value_name = "KIND", value_parser = kind)]
    kind: SwitchKind,
    /// Its name; of a destination a host, or `*.` and a host
    #[arg(value_name = "NAME")]
    name: String,
    /// Only within this tenant
    #[arg(long, value_name = "TENANT")]
    tenant: Option<String>,
    /// Why
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

fn kind(word: &str) -> Result<SwitchKind, String> {
    SwitchKind::from_word(word).ok_or_else(|| {
        let all: Vec<_> = SwitchKind::ALL.iter().map(|kind| kind.as_str()).collect();
        format!("there are {}", all.join(", "))
    })
}

/// Where the switches are in the state directory at `root`.
pub(crate) fn switches_in(root: &Path) -> PathBuf {
    root.join("switches")
}

/// The switches, which are made if there never were any.
pub(crate) fn board(root: &Path) -> anyhow::Result<Switchboard> {
    // Makes the directory, with the rights that it has to have.
    casemate_store::StateDir::open(root)?;
    Ok(Switchboard::open(&switches_in(root))?)
}

pub(crate) fn run(command: SwitchCommand) -> Result<Exit, Failure> {
    match command {
        SwitchCommand::Off(what) => throw(what, Position::Off),
        SwitchCommand::On(what) => throw(what, Position::On),
        SwitchCommand::List { all, json } => list(all, json),
    }
}

fn throw(what: What, to: Position) -> Result<Exit, Failure> {
    let board = board(&state::path()?).map_err(Failure::failed)?;
    let throw = Throw {
        kind: what.kind,
        name: what.name,
        tenant: what.tenant,
        to,
        who: local_claims().subject,
        reason: what.reason,
        at_ms: System.now_ms(),
    };
    let (journal, _) = journal()?;
    let claims = Verified::vouch(local_claims(), Authenticator::LocalUser);
    let switch = journal
        .throw(&board, throw, &claims)
        .map_err(|error| match error {
            ThrowError::Switch(error) => Failure::usage(error),
            error => Failure::failed(error),
        })?;
    let word = match to {
        Position::Off => "off",
        Position::On => "on",
    };
    report::print(format_args!(
        "{} {} is {word}, epoch {}\n",
        switch.kind,
        switch.name.escape_debug(),
        switch.epoch
    ))?;
    Ok(Exit::Success)
}

fn list(all: bool, json: bool) -> Result<Exit, Failure> {
    let board = board(&state::path()?).map_err(Failure::failed)?;
    let switches = board.board().switches();
    let switches = switches.map_err(|error| {
        Failure::failed(error).hint("everything is stopped until it can be read again")
    })?;
    let shown = switches
        .all()
        .iter()
        .filter(|switch| all || switch.is_off());
    for switch in shown {
        if json {
            let line = serde_json::to_string(switch).map_err(Failure::failed)?;
            report::print(format_args!("{line}\n"))?;
            continue;
        }
        let within = switch.tenant.as_ref();
        let within = within.map_or_else(String::new, |tenant| {
            format!(" of {}", tenant.escape_debug())
        });
        report::print(format_args!(
            "{:<4} {} {}{within}: {} (by {}, epoch {})\n",
            if switch.is_off() { "off" } else { "on" },
            switch.kind,
            switch.name.escape_debug(),
            switch.reason.escape_debug(),
            switch.who.escape_debug(),
            switch.epoch
        ))?;
    }
    Ok(Exit::Success)
}
