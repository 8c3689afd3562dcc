//! What the tests share.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use casemate_model::{DecisionId, Digest};
use casemate_store::{Claim, Keys, StateDir};
use tempfile::TempDir;

/// A state directory that goes away with the test.
pub(crate) struct Home {
    temp: TempDir,
    pub(crate) state: StateDir,
}

impl Home {
    pub(crate) fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let state = StateDir::open(&temp.path().join("state")).unwrap();
        Self { temp, state }
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.temp.path().join("state")
    }

    pub(crate) fn keys(&self) -> Keys {
        Keys::open(&self.state).unwrap()
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.root().join(below)
    }

    /// The one file of this agent that holds a living data key.
    pub(crate) fn data_key(&self, agent: &str) -> PathBuf {
        let dir = self.path("keys/agents").join(agent);
        let is_key = |path: &PathBuf| path.extension().is_some_and(|suffix| suffix == "key");
        let files: Vec<_> = files_under(&dir).into_iter().filter(is_key).collect();
        assert_eq!(files.len(), 1, "{files:?}");
        files[0].clone()
    }

    /// The files that hold `needle`.
    pub(crate) fn holding(&self, needle: &[u8]) -> Vec<PathBuf> {
        let mut files = files_under(&self.root());
        files.retain(|path| contains(&fs::read(path).unwrap(), needle));
        files
    }
}

/// Every regular file under `dir`.
pub(crate) fn files_under(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            found.extend(files_under(&entry.path()));
        } else if kind.is_file() {
            found.push(entry.path());
        }
    }
    found
}

pub(crate) fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|part| part == needle)
}

pub(crate) fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

pub(crate) fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

pub(crate) fn decision(number: u64) -> DecisionId {
    DecisionId::new(number, [7; 10])
}

/// A claim of key `key` by decision `number` for the call `action`.
pub(crate) fn claim<'a>(key: &'a str, action: &str, number: u64) -> Claim<'a> {
    Claim {
        tenant: "local",
        tool: "python",
        key,
        action: Digest::of(action.as_bytes()),
        decision: decision(number),
        at_ms: 1_800_000_000_000 + number,
    }
}
