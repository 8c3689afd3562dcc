//! `casemate callers`: who may call over a network.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use anyhow::anyhow;
use casemate_callers::{Callers, ConfigFault, NewApiKey, Refusal, Role, keys_in, read_config};
use casemate_gateway::{Clock as _, Operation};
use casemate_model::Reason;
use clap::Subcommand;
use serde_json::{Value, json};

use crate::{
    exit::Exit,
    policy::operate,
    report::{self, Failure},
    state::{self, callers_in},
    system::System,
};

const DAY_MS: u64 = 24 * 3_600_000;

/// Who may call over a network.
#[derive(Debug, Subcommand)]
pub(crate) enum CallersCommand {
    /// Explain every error in a file that says who may call
    Check {
        /// The file (.toml)
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// List, make and take back API keys, of all tenants
    #[command(subcommand)]
    Keys(KeysCommand),
}

/// API keys.
#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// List the keys, without their secrets
    List {
        /// Print one JSON object per line
        #[arg(long)]
        json: bool,
    },
    /// Make a key, and print it: it is shown this once
    New {
        /// Who will hold it
        #[arg(long, value_name = "NAME")]
        subject: String,
        /// The tenant whose data the holder may touch
        #[arg(long, value_name = "NAME")]
        tenant: String,
        /// `reader`, `operator`, `approver`, `author` or `administrator`; can be repeated
        #[arg(long = "role", value_name = "ROLE", value_parser = role, required = true)]
        roles: Vec<Role>,
        /// What the holder may do, as profiles name it; can be repeated
        #[arg(long = "scope", value_name = "SCOPE")]
        scopes: Vec<String>,
        /// How many days it lives
        #[arg(long, value_name = "N", default_value_t = 30)]
        days: u64,
    },
    /// Take a key back, at once and for good
    Revoke {
        /// Its name, as `list` prints it
        #[arg(value_name = "NAME")]
        name: String,
    },
}

fn role(word: &str) -> Result<Role, String> {
    Role::from_word(word).ok_or_else(|| {
        let all: Vec<_> = Role::ALL.iter().map(|role| role.as_str()).collect();
        format!("there are {}", all.join(", "))
    })
}

pub(crate) fn run(command: CallersCommand) -> Result<Exit, Failure> {
    match command {
        CallersCommand::Check { file } => check(&file),
        CallersCommand::Keys(KeysCommand::List { json }) => list(json),
        CallersCommand::Keys(KeysCommand::New {
            subject,
            tenant,
            roles,
            scopes,
            days,
        }) => new(&NewApiKey {
            subject,
            tenant,
            scopes: scopes.into_iter().collect(),
            roles: roles.into_iter().collect(),
            ttl_ms: days.saturating_mul(DAY_MS),
        }),
        CallersCommand::Keys(KeysCommand::Revoke { name }) => revoke(&name),
    }
}

/// The text of a file that says who may call.
pub(crate) fn read(file: &Path) -> Result<String, Failure> {
    read_config(file).map_err(Failure::usage)
}

/// Prints every fault of a file, and says that there are some.
pub(crate) fn explain(file: &Path, faults: &[ConfigFault]) -> Failure {
    let shown = file.display();
    for fault in faults {
        let (line, column) = (fault.line, fault.column);
        report::line(&format!("{shown}:{line}:{column}: {}", fault.message));
    }
    Failure::invalid(anyhow!("`{shown}` has {} errors", faults.len()))
}

/// Prints every fault of a file.
pub(crate) fn check(file: &Path) -> Result<Exit, Failure> {
    Callers::check(&read(file)?).map_err(|faults| explain(file, &faults))?;
    Ok(Exit::Success)
}

fn keys() -> Result<casemate_callers::ApiKeys, Failure> {
    let root = state::path()?;
    // Makes the directory, with the rights that it has to have.
    casemate_store::StateDir::open(&root).map_err(Failure::failed)?;
    // The audience is for those who present keys.
    keys_in(&callers_in(&root), "").map_err(Failure::failed)
}

fn list(json: bool) -> Result<Exit, Failure> {
    let now_ms = System.now_ms();
    for key in keys()?.list().map_err(Failure::failed)? {
        if json {
            report::print(format_args!("{}\n", key.shown()))?;
            continue;
        }
        let state = match (key.revoked_ms, key.expires_ms <= now_ms) {
            (Some(_), _) => "revoked".to_owned(),
            (None, true) => "expired".to_owned(),
            (None, false) => format!("{} days", (key.expires_ms - now_ms) / DAY_MS),
        };
        let roles: BTreeSet<_> = key.roles.iter().map(|role| role.as_str()).collect();
        let roles: Vec<_> = roles.into_iter().collect();
        report::print(format_args!(
            "{} {:<9} {} of {}: {}\n",
            key.id,
            state,
            key.subject.escape_debug(),
            key.tenant.escape_debug(),
            roles.join(", ")
        ))?;
    }
    Ok(Exit::Success)
}

/// What is recorded of a key that is made.
pub(crate) fn subject_of(new: &NewApiKey) -> Value {
    json!({
        "subject": new.subject,
        "tenant": new.tenant,
        "scopes": new.scopes,
        "roles": new.roles,
        "ttl_s": new.ttl_ms / 1_000,
    })
}

fn new(new: &NewApiKey) -> Result<Exit, Failure> {
    let keys = keys()?;
    let mut made = None;
    operate(operation("api_key.create", subject_of(new)), || {
        made = Some(keys.create(new, System.now_ms()).map_err(Failure::usage)?);
        Ok(())
    })?;
    if let Some((key, text)) = made {
        report::line(&format!("made {}; the key is shown this once", key.id));
        report::print(format_args!("{}\n", *text))?;
    }
    Ok(Exit::Success)
}

fn revoke(name: &str) -> Result<Exit, Failure> {
    let keys = keys()?;
    let known = keys.list().map_err(Failure::failed)?;
    if !known.iter().any(|key| key.id == name) {
        return Err(Failure::invalid(Refusal::UnknownKey)
            .hint("`casemate callers keys list` prints their names"));
    }
    operate(operation("api_key.revoke", json!({ "name": name })), || {
        keys.revoke(name, System.now_ms()).map_err(Failure::failed)
    })?;
    Ok(Exit::Success)
}

/// Whoever may do this decides who calls: it raises an alert.
fn operation(what: &'static str, subject: Value) -> Operation {
    Operation {
        what,
        reason: Reason::Allowed,
        detail: "who may call over a network".to_owned(),
        alert: true,
        subject,
    }
}
