//! An error of the system on its way between processes: its number if it has one, else its words.

use std::io;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Wire {
    Errno(i32),
    Text(String),
}

pub(crate) fn serialize<S: Serializer>(
    error: &io::Error,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match error.raw_os_error() {
        Some(errno) => Wire::Errno(errno),
        None => Wire::Text(error.to_string()),
    }
    .serialize(serializer)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<io::Error, D::Error> {
    Wire::deserialize(deserializer).map(|wire| match wire {
        Wire::Errno(errno) => io::Error::from_raw_os_error(errno),
        Wire::Text(text) => io::Error::other(text),
    })
}
