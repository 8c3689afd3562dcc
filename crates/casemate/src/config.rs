//! What a gateway is told: one file, the environment, the command line. What is said later in this order counts.
//!
//! The table in [`keys`] is the one place that knows which keys there are: files, variables and the reference page come from it.

mod command;
mod keys;
mod page;
mod read;
mod rules;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::anyhow;
use casemate_files::{Privacy, read_file};
use casemate_policy::render_diagnostics;
use serde::{Deserialize, Serialize};

pub(crate) use self::command::{ConfigCommand, run};
use self::keys::KEYS;
use crate::{
    exit::Exit,
    report::{self, Failure},
    state,
};

/// The largest configuration file, in bytes.
const MAX_BYTES: u64 = 1 << 20;
/// Where the file is, for those who do not say it on the command line.
const FILE_VARIABLE: &str = "CASEMATE_CONFIG";

/// Everything that a gateway is told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) state_dir: Option<PathBuf>,
    pub(crate) socket: Option<PathBuf>,
    pub(crate) listen: Option<SocketAddr>,
    pub(crate) callers: Option<PathBuf>,
    pub(crate) profiles: Vec<PathBuf>,
    pub(crate) webhooks: Option<PathBuf>,
    pub(crate) tls: Tls,
    pub(crate) limits: Limits,
}

/// How connections over a network are kept from others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tls {
    pub(crate) certificate: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
    pub(crate) client_ca: Option<PathBuf>,
}

/// How much goes on at once, and for how long.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Limits {
    pub(crate) calls: Option<u64>,
    pub(crate) queued: Option<u64>,
    pub(crate) queue_timeout_ms: Option<u64>,
    pub(crate) start_ms: Option<u64>,
    pub(crate) drain_ms: Option<u64>,
}

/// What is told on the command line.
#[derive(Debug, clap::Args)]
pub(crate) struct ConfigArgs {
    /// Read this file (.toml) first; what follows counts before it [env: CASEMATE_CONFIG]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Where everything durable is [default: $XDG_STATE_HOME/casemate, or ~/.local/state/casemate]
    #[arg(long, value_name = "DIR", alias = "data-dir")]
    state_dir: Option<PathBuf>,

    /// Decide by this profile (.json or .toml) on its route, instead of the bundle in force or the built-in one; can be
    /// repeated
    #[arg(long = "profile", value_name = "FILE")]
    profiles: Vec<PathBuf>,

    /// Listen here instead of in the state directory
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,

    /// Tell the services that this file (.toml) names about calls that wait, and about alerts
    #[arg(long, value_name = "FILE")]
    webhooks: Option<PathBuf>,

    /// Listen on this address too, such as 127.0.0.1:8443, for those whom --callers names
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,

    /// Who may call over the network (.toml)
    #[arg(long, value_name = "FILE")]
    callers: Option<PathBuf>,

    /// The certificate of the server, and those that vouch for it (PEM)
    #[arg(long, value_name = "FILE")]
    tls_cert: Option<PathBuf>,

    /// Its key (PEM), for this user only to read
    #[arg(long, value_name = "FILE")]
    tls_key: Option<PathBuf>,

    /// The authorities that vouch for clients (PEM): a client that presents a certificate must have one of theirs
    #[arg(long, value_name = "FILE")]
    client_ca: Option<PathBuf>,
}

impl ConfigArgs {
    /// What is told in all three places. Prints everything that is wrong in any of them.
    ///
    /// # Errors
    /// When anything is.
    pub(crate) fn load(&self) -> Result<Config, Failure> {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let named = self.config.clone();
        let named = named.or_else(|| variable(FILE_VARIABLE).map(PathBuf::from));
        let mut config = Config::default();
        let mut wrong = 0;
        if let Some(path) = &named {
            wrong += from_file(path, &mut config)?;
        }
        for fault in read::environment(&variable, &mut config) {
            report::line(&fault);
            wrong += 1;
        }
        if wrong > 0 {
            let errors = if wrong == 1 { "error" } else { "errors" };
            return Err(
                Failure::invalid(anyhow!("the configuration has {wrong} {errors}"))
                    .hint("docs/reference/configuration.md lists the keys"),
            );
        }
        self.over(&mut config);
        Ok(config)
    }

    fn over(&self, config: &mut Config) {
        let over = |given: &Option<PathBuf>, slot: &mut Option<PathBuf>| {
            if given.is_some() {
                slot.clone_from(given);
            }
        };
        over(&self.state_dir, &mut config.state_dir);
        over(&self.socket, &mut config.socket);
        over(&self.webhooks, &mut config.webhooks);
        over(&self.callers, &mut config.callers);
        over(&self.tls_cert, &mut config.tls.certificate);
        over(&self.tls_key, &mut config.tls.key);
        over(&self.client_ca, &mut config.tls.client_ca);
        config.listen = self.listen.or(config.listen);
        if !self.profiles.is_empty() {
            config.profiles.clone_from(&self.profiles);
        }
    }
}

/// Reads a file into `config`. Says how much is wrong, having printed it.
fn from_file(path: &Path, config: &mut Config) -> Result<usize, Failure> {
    let bytes = read_file(path, MAX_BYTES, Privacy::Configured).map_err(Failure::usage)?;
    let base = std::path::absolute(path).map_err(Failure::failed)?;
    let base = base.parent().unwrap_or(Path::new("/"));
    let found = read::file(&bytes, base, config);
    if !found.is_empty() {
        let name = path.to_string_lossy();
        report::write(format_args!(
            "{}",
            render_diagnostics(&name, &bytes, &found)
        ));
    }
    Ok(found.len())
}

impl Config {
    /// The state directory.
    ///
    /// # Errors
    /// When nobody says where it is.
    pub(crate) fn root(&self) -> Result<PathBuf, Failure> {
        match &self.state_dir {
            Some(dir) => std::path::absolute(dir).map_err(Failure::failed),
            None => state::path(),
        }
    }
}

/// The reference page.
fn page() -> String {
    page::of(KEYS)
}
