//! The state directory: one root that belongs to one user.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::{
    StoreError,
    dir::{Dir, make_all},
    error::start_of,
};

const KEYS: &str = "keys";
const LEDGER: &str = "ledger";
const AGENTS: &str = "agents";
/// The longest agent name, in bytes.
const AGENT_NAME_MAX: usize = 63;

/// Where everything durable is:
///
/// ```text
/// keys/provider.key           wraps every other key
/// keys/signing.key            signs the ledger
/// keys/agents/<agent>/        data keys, and the names of erased ones
/// ledger/                     the audit log
/// agents/<agent>/agent.db     one database per agent
/// agents/<agent>/paused-<…>   the files of one paused session, sealed
/// ```
///
/// Directories are made with mode 0700, files with 0600.
#[derive(Clone, Debug)]
pub struct StateDir {
    root: PathBuf,
}

impl StateDir {
    /// Opens the state directory at `root` and makes what is missing of it.
    ///
    /// # Errors
    /// When it, or a directory in it, cannot be made, is not a directory, belongs to another user, or
    /// others can write to it. A link at `root` is followed, and what it leads to is checked.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        let root = match root.canonicalize() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make_all(root)?;
                root.canonicalize()
            }
            found => found,
        }
        .map_err(StoreError::io("open", root))?;
        let state = Self { root };
        let dir = state.dir()?;
        for name in [KEYS, LEDGER, AGENTS] {
            if dir.open_sub(name)?.is_none() {
                dir.make_sub(name)?;
            }
        }
        Ok(state)
    }

    /// Where the keys are.
    #[must_use]
    pub fn keys(&self) -> PathBuf {
        self.root.join(KEYS)
    }

    /// Where the ledger is.
    #[must_use]
    pub fn ledger(&self) -> PathBuf {
        self.root.join(LEDGER)
    }

    /// Where this agent's own files are; made if it is missing. No other agent's are there (I10).
    ///
    /// # Errors
    /// When `agent` is not an agent name, and as [`StateDir::open`].
    pub fn agent(&self, agent: &str) -> Result<PathBuf, StoreError> {
        self.agent_dir(agent).map(|dir| dir.as_path().to_owned())
    }

    /// The agents that have files here, in no order.
    ///
    /// # Errors
    /// As [`StateDir::open`].
    pub fn agents(&self) -> Result<Vec<String>, StoreError> {
        let mut names = self.sub(AGENTS)?.names()?;
        names.retain(|name| agent_name(name).is_ok());
        Ok(names)
    }

    /// Overwrites and removes every file of this agent. Says whether there were any.
    ///
    /// What SQLite, a copy-on-write file system, an SSD or a snapshot kept elsewhere can outlive that; what was sealed is worth
    /// nothing there without the agent's keys. Whoever has the database open goes on with what nobody else sees any more.
    ///
    /// # Errors
    /// When a file cannot be removed. Those before it are, and the next removal finishes it.
    pub fn remove_agent(&self, agent: &str) -> Result<bool, StoreError> {
        let (name, agents) = (agent_name(agent)?, self.sub(AGENTS)?);
        let Some(dir) = agents.open_sub(name)? else {
            return Ok(false);
        };
        let locked = dir.lock()?;
        for file in locked.names()? {
            if file != "." && file != ".." {
                locked.scrub(&dir, &file)?;
                locked.remove(&file)?;
            }
        }
        locked.sync()?;
        agents.lock()?.remove_sub(name)?;
        agents.sync()?;
        Ok(true)
    }

    pub(crate) fn agent_dir(&self, agent: &str) -> Result<Dir, StoreError> {
        let name = agent_name(agent)?;
        let agents = self.sub(AGENTS)?;
        match agents.open_sub(name)? {
            Some(dir) => Ok(dir),
            None => agents.make_sub(name),
        }
    }

    pub(crate) fn keys_dir(&self) -> Result<Dir, StoreError> {
        self.sub(KEYS)
    }

    fn sub(&self, name: &str) -> Result<Dir, StoreError> {
        let gone = || StoreError::io("open", self.root.join(name))(rustix::io::Errno::NOENT);
        self.dir()?.open_sub(name)?.ok_or_else(gone)
    }

    fn dir(&self) -> Result<Dir, StoreError> {
        let gone = || StoreError::io("open", &self.root)(rustix::io::Errno::NOENT);
        Dir::open(&self.root)?.ok_or_else(gone)
    }
}

/// `name`, if it is an agent name: it can be a directory name, and never leads out of its directory.
pub(crate) fn agent_name(name: &str) -> Result<&str, StoreError> {
    let letter_or_digit = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let mut bytes = name.bytes();
    if name.len() <= AGENT_NAME_MAX
        && bytes.next().is_some_and(letter_or_digit)
        && bytes.all(|byte| letter_or_digit(byte) || byte == b'-' || byte == b'_')
    {
        return Ok(name);
    }
    Err(StoreError::AgentName {
        name: start_of(name),
    })
}
