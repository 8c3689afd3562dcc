//! The service `filesystem.Filesystem`, and the answers of `/files`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// What something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum FileType {
    /// A pipe, a socket, a device.
    #[serde(rename = "FILE_TYPE_UNSPECIFIED")]
    Other,
    /// A regular file.
    #[serde(rename = "FILE_TYPE_FILE")]
    File,
    /// A directory.
    #[serde(rename = "FILE_TYPE_DIRECTORY")]
    Directory,
    /// A link whose target is not there.
    #[serde(rename = "FILE_TYPE_SYMLINK")]
    Symlink,
}

/// A file or directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EntryInfo {
    /// Its name.
    pub name: String,
    /// What it is; of a link, what its target is.
    pub r#type: FileType,
    /// Its path.
    pub path: String,
    /// Its size in bytes.
    pub size: String,
    /// Its permissions, as a number.
    pub mode: u32,
    /// Its permissions, as `ls` shows them.
    pub permissions: String,
    /// The user.
    pub owner: String,
    /// The group.
    pub group: String,
    /// When it was last changed.
    pub modified_time: String,
    /// Where the link leads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub symlink_target: Option<String>,
    /// Whether it is a link.
    pub is_symlink: bool,
    /// Nothing: metadata of files is not kept.
    pub metadata: BTreeMap<String, String>,
}

/// `Stat`, `MakeDir`, `Remove`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct OfPath {
    /// Which.
    pub path: String,
}

/// `Move`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Move {
    /// From where.
    pub source: String,
    /// To where.
    pub destination: String,
}

/// `ListDir`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct ListDir {
    /// Which.
    pub path: String,
    /// How deep.
    pub depth: u32,
}

/// `WatchDir`, `CreateWatcher`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Watch {
    /// Which.
    pub path: String,
    /// With everything below.
    pub recursive: bool,
    /// Whether events say what a file is.
    pub include_entry: bool,
}

/// `GetWatcherEvents`, `RemoveWatcher`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct OfWatcher {
    /// Which.
    pub watcher_id: String,
}

/// What happened to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventType {
    /// It is new.
    #[serde(rename = "EVENT_TYPE_CREATE", alias = "create")]
    Create,
    /// It was written.
    #[serde(rename = "EVENT_TYPE_WRITE", alias = "write")]
    Write,
    /// It is gone.
    #[serde(rename = "EVENT_TYPE_REMOVE", alias = "remove")]
    Remove,
    /// It has another name.
    #[serde(rename = "EVENT_TYPE_RENAME", alias = "rename")]
    Rename,
    /// It has other permissions.
    #[serde(rename = "EVENT_TYPE_CHMOD", alias = "chmod")]
    Chmod,
}

/// Something that happened in a directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// To what, from the directory on.
    pub name: String,
    /// What.
    pub r#type: EventType,
}

/// The first message of a watch.
#[must_use]
pub fn watching() -> Value {
    json!({ "start": {} })
}

/// Something that happened, in a watch.
#[must_use]
pub fn happened(event: &Event) -> Value {
    json!({ "filesystem": event })
}

/// Nothing, so that nobody takes the connection for dead.
#[must_use]
pub fn keepalive() -> Value {
    json!({ "keepalive": {} })
}

/// A file that was written.
#[derive(Clone, Debug, Serialize)]
pub struct Written {
    /// Its name.
    pub name: String,
    /// Its path.
    pub path: String,
    /// `file`.
    pub r#type: &'static str,
}

impl Written {
    /// The file at a path.
    #[must_use]
    pub fn at(path: &str) -> Self {
        let name = path.rsplit('/').next().unwrap_or(path);
        Self {
            name: name.to_owned(),
            path: path.to_owned(),
            r#type: "file",
        }
    }
}
