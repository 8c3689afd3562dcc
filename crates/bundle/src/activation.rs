//! The record of an activation, as it is signed.

use std::fmt;

use casemate_model::Digest;
use serde::{Deserialize, Serialize};

use crate::{NoteError, PolicyKey, PublicKey, note};

/// The first line of a record.
const HEADER: &str = "casemate policy activation v1\n";

/// How a bundle came into force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActivationKind {
    /// After everything that an activation requires.
    Activate,
    /// Back to a bundle that was in force before.
    Rollback,
    /// Without what an activation requires, for a reason that is recorded elsewhere.
    BreakGlass,
}

/// A bundle that is or was in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Activation {
    /// 1 for the first activation of a store, then one more each time.
    pub sequence: u64,
    /// How it came into force.
    pub kind: ActivationKind,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// The bundle.
    pub digest: Digest,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: u64,
    /// Whose signature it was activated on.
    pub publisher: PublicKey,
    /// The bundle that was in force until then.
    pub previous: Option<Digest>,
}

impl ActivationKind {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Activate => "activate",
            Self::Rollback => "rollback",
            Self::BreakGlass => "break_glass",
        }
    }
}

impl fmt::Display for ActivationKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Activation {
    /// The note that a store keeps.
    pub(crate) fn sign(&self, key: &PolicyKey) -> Result<String, serde_json::Error> {
        Ok(note::sign(key, &self.text()?))
    }

    /// Reads a note as [`Activation::sign`] writes it.
    pub(crate) fn open(note: &[u8], key: &PublicKey) -> Result<Self, NoteError> {
        let note = std::str::from_utf8(note).map_err(|_| NoteError::Malformed)?;
        let text = note::open_own(note, key)?;
        let json = text.strip_prefix(HEADER).ok_or(NoteError::OtherStatement)?;
        serde_json::from_str(json).map_err(|_| NoteError::OtherStatement)
    }

    fn text(&self) -> Result<String, serde_json::Error> {
        let json = serde_json_canonicalizer::to_string(self)?;
        Ok(format!("{HEADER}{json}\n"))
    }
}
