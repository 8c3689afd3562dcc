//! Where everything durable is.

use std::{
    collections::BTreeSet,
    env,
    ffi::OsString,
    path::{Path, PathBuf},
};

use casemate_gateway::{Journal, Stores};
use casemate_ledger::{Ledger, LogKey, PublicKey};
use casemate_store::{Keys, SqliteStore, StateDir, StoreError};

use crate::{report::Failure, system::System};

/// The name under which the log is signed.
const ORIGIN: &str = "casemate";

/// The state directory of this user.
///
/// # Errors
/// When the environment does not say where it is.
pub(crate) fn path() -> Result<PathBuf, Failure> {
    choose(|name| env::var_os(name))
}

fn choose(variable: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf, Failure> {
    // The XDG specification: a relative path is ignored.
    let absolute = |name: &str| {
        variable(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    if let Some(path) = variable("CASEMATE_STATE_DIR").filter(|path| !path.is_empty()) {
        return Ok(path.into());
    }
    absolute("XDG_STATE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state")))
        .map(|state| state.join("casemate"))
        .ok_or_else(|| {
            Failure::usage(anyhow::anyhow!("there is no place for the audit log"))
                .hint("set CASEMATE_STATE_DIR to a directory of yours, or set HOME")
        })
}

/// The directory of the log in a state directory.
pub(crate) fn ledger_in(root: &Path) -> PathBuf {
    root.join("ledger")
}

/// The directory of the images in a state directory.
pub(crate) fn images_in(root: &Path) -> PathBuf {
    root.join("images")
}

/// The directory of the bundles in a state directory.
pub(crate) fn policy_in(root: &Path) -> PathBuf {
    root.join("policy")
}

/// The directory of how far each webhook has come in a state directory.
pub(crate) fn webhooks_in(root: &Path) -> PathBuf {
    root.join("webhooks")
}

/// The directory of those who may call over a network, in a state directory.
pub(crate) fn callers_in(root: &Path) -> PathBuf {
    root.join("callers")
}

/// The state directory, open.
#[derive(Debug)]
pub(crate) struct State {
    dir: StateDir,
    keys: Keys,
}

impl State {
    /// Opens the state directory at `root`, and makes what is missing of it.
    ///
    /// # Errors
    /// When it cannot be used.
    pub(crate) fn open(root: &Path) -> anyhow::Result<Self> {
        let dir = StateDir::open(root)?;
        let keys = Keys::open(&dir)?;
        Ok(Self { dir, keys })
    }

    /// The key that signs the log.
    fn log_key(&self) -> anyhow::Result<LogKey> {
        Ok(LogKey::from_seed(&*self.keys.signing_seed()?, ORIGIN)?)
    }

    /// The key that verifies the log.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn public_key(&self) -> anyhow::Result<PublicKey> {
        Ok(self.log_key()?.public())
    }

    /// The journal, and the stores of the agents.
    ///
    /// # Errors
    /// When the log cannot be continued.
    pub(crate) fn journal(self) -> anyhow::Result<(Journal, AgentStores)> {
        let ledger = Ledger::open(&self.dir.ledger(), self.log_key()?)?;
        let journal = Journal::new(ledger, self.keys, Box::new(System), Box::new(System));
        Ok((journal, AgentStores(self.dir)))
    }
}

/// The key that verifies the log of the state directory at `root`, if it has one. Makes none.
pub(crate) fn existing_key(root: &Path) -> Option<anyhow::Result<PublicKey>> {
    let has_key = root.join("keys/signing.key").exists();
    has_key.then(|| State::open(root)?.public_key())
}

/// The keys of the state directory at `root`, if it has any. Makes none.
pub(crate) fn existing_keys(root: &Path) -> Option<Keys> {
    let has_keys = root.join("keys/provider.key").exists();
    has_keys
        .then(|| State::open(root).ok())?
        .map(|state| state.keys)
}

impl State {
    /// The agents of which something is kept, in the order of their names.
    ///
    /// # Errors
    /// When the directories cannot be read.
    pub(crate) fn agents(&self) -> Result<BTreeSet<String>, StoreError> {
        let mut all: BTreeSet<_> = self.dir.agents()?.into_iter().collect();
        all.extend(self.keys.agents()?);
        Ok(all)
    }
}

impl AgentStores {
    /// The agents that have a database.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub(crate) fn agents(&self) -> Result<Vec<String>, StoreError> {
        self.0.agents()
    }

    /// Removes the database of an agent.
    ///
    /// # Errors
    /// When a file is left.
    pub(crate) fn remove(&self, agent: &str) -> Result<bool, StoreError> {
        self.0.remove_agent(agent)
    }
}

/// A database for each agent.
#[derive(Debug)]
pub(crate) struct AgentStores(StateDir);

impl Stores for AgentStores {
    type Store = SqliteStore;

    async fn open(&self, agent: &str) -> Result<SqliteStore, StoreError> {
        SqliteStore::open(&self.0, agent).await
    }

    async fn find(&self, agent: &str) -> Result<Option<SqliteStore>, StoreError> {
        if self.0.agent(agent)?.join("agent.db").exists() {
            self.open(agent).await.map(Some)
        } else {
            Ok(None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(variables: &[(&str, &str)]) -> Option<PathBuf> {
        let value = |name: &str| {
            let found = variables.iter().find(|(other, _)| *other == name);
            found.map(|(_, value)| OsString::from(value))
        };
        choose(value).ok()
    }

    #[test]
    fn the_environment_says_where_the_state_is() {
        let own = ("CASEMATE_STATE_DIR", "here");
        let xdg = ("XDG_STATE_HOME", "/xdg");
        let home = ("HOME", "/home/u");
        assert_eq!(chosen(&[own, xdg, home]), Some("here".into()));
        assert_eq!(chosen(&[xdg, home]), Some("/xdg/casemate".into()));
        assert_eq!(
            chosen(&[home]),
            Some("/home/u/.local/state/casemate".into())
        );
        let relative = ("XDG_STATE_HOME", "xdg");
        assert_eq!(chosen(&[relative, home]), chosen(&[home]));
        let empty = ("CASEMATE_STATE_DIR", "");
        assert_eq!(chosen(&[empty, xdg]), chosen(&[xdg]));
        assert_eq!(chosen(&[("HOME", "")]), None);
        assert_eq!(chosen(&[]), None);
    }
}
