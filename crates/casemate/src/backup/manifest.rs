//! What a backup says of itself.

use std::{
    fs::{File, OpenOptions},
    io::{Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Component, Path},
};

use anyhow::{Context as _, ensure};
use casemate_model::Digest;
use serde::{Deserialize, Serialize};

/// The file, which is there when everything else is.
pub(super) const NAME: &str = "backup.json";
/// What this program writes and reads.
const VERSION: u32 = 1;
/// The most files.
pub(super) const MAX_FILES: usize = 1 << 20;
/// The largest manifest, in bytes.
const MAX_BYTES: u64 = 512 << 20;

/// A backup.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    version: u32,
    pub(super) made_at_ms: u64,
    /// How far the log goes.
    pub(super) head: Head,
    pub(super) files: Vec<Entry>,
}

/// The head of a log.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Head {
    pub(super) records: u64,
    pub(super) root: String,
}

/// A file of the state directory.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    pub(super) path: String,
    pub(super) bytes: u64,
    pub(super) sha256: Digest,
}

impl Manifest {
    pub(super) const fn new(made_at_ms: u64, head: Head, files: Vec<Entry>) -> Self {
        Self {
            version: VERSION,
            made_at_ms,
            head,
            files,
        }
    }

    pub(super) fn write(&self, dir: &Path) -> anyhow::Result<()> {
        let json = serde_json::to_vec_pretty(self)?;
        let path = dir.join(NAME);
        let written = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut file| {
                file.write_all(&json)?;
                file.sync_all()
            });
        written.with_context(|| format!("cannot write `{}`", path.display()))?;
        let synced = File::open(dir).and_then(|dir| dir.sync_all());
        synced.with_context(|| format!("cannot sync `{}`", dir.display()))
    }

    /// # Errors
    /// When it is none, or names a file that would be elsewhere.
    pub(super) fn read(dir: &Path) -> anyhow::Result<Self> {
        let path = dir.join(NAME);
        let shown = path.display();
        let file = File::open(&path);
        let file = file.with_context(|| format!("`{}` is no whole backup", dir.display()))?;
        let mut json = Vec::new();
        let read = file.take(MAX_BYTES + 1).read_to_end(&mut json);
        read.with_context(|| format!("cannot read `{shown}`"))?;
        ensure!(json.len() as u64 <= MAX_BYTES, "`{shown}` is too large");
        let manifest: Self = serde_json::from_slice(&json)
            .with_context(|| format!("`{shown}` does not describe a backup"))?;
        let version = manifest.version;
        ensure!(
            version == VERSION,
            "`{shown}` is of version {version}, and this program knows {VERSION}"
        );
        ensure!(
            manifest.files.len() <= MAX_FILES,
            "`{shown}` names too many files"
        );
        for entry in &manifest.files {
            let path = Path::new(&entry.path);
            let mut parts = path.components();
            let stays = parts.all(|part| matches!(part, Component::Normal(_)));
            ensure!(
                stays && !entry.path.is_empty(),
                "`{shown}` names {:?}, which is elsewhere",
                entry.path
            );
        }
        Ok(manifest)
    }
}
