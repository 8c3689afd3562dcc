//! Whose signatures count, and for what.

use std::{fmt, str::FromStr};

use crate::{KeyError, PublicKey, limits::MAX_TRUSTED_KEYS};

/// What a trusted key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Signs bundles.
    Publisher,
    /// Approves that a bundle permits more than the one before it.
    Approver,
}

/// The trusted keys: lines of a role and a key. Lines that begin with `#` are comments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trusted(Vec<(Role, PublicKey)>);

/// Why a text is not a list of trusted keys.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrustedError {
    /// It is not text.
    #[error("it is not UTF-8")]
    NotText,
    /// A line without a role that there is.
    #[error("line {line} does not begin with `publisher ` or `approver `")]
    Role {
        /// Which, from 1 on.
        line: usize,
    },
    /// A line without a key.
    #[error("line {line} holds no public key")]
    Key {
        /// Which, from 1 on.
        line: usize,
        /// What is wrong with it.
        #[source]
        source: KeyError,
    },
    /// Too many keys.
    #[error("it holds more than {MAX_TRUSTED_KEYS} keys")]
    TooMany,
}

impl Role {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Publisher => "publisher",
            Self::Approver => "approver",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Trusted {
    /// The keys in a role.
    #[must_use]
    pub fn of(&self, role: Role) -> Vec<PublicKey> {
        let keys = self.0.iter().filter(|(of, _)| *of == role);
        keys.map(|(_, key)| key.clone()).collect()
    }

    /// All keys, in the order of the file.
    #[must_use]
    pub fn keys(&self) -> &[(Role, PublicKey)] {
        &self.0
    }
}

/// The line of a key.
pub(crate) fn line(role: Role, key: &PublicKey) -> String {
    format!("{role} {key}\n")
}

impl FromStr for Trusted {
    type Err = TrustedError;

    fn from_str(text: &str) -> Result<Self, TrustedError> {
        let mut keys = Vec::new();
        for (nth, line) in text.lines().enumerate() {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let line_number = nth + 1;
            let role = |role: Role| {
                let key = line.strip_prefix(role.as_str())?.strip_prefix(' ')?;
                Some((role, key))
            };
            let (role, key) = role(Role::Publisher)
                .or_else(|| role(Role::Approver))
                .ok_or(TrustedError::Role { line: line_number })?;
            let key = key.parse().map_err(|source| TrustedError::Key {
                line: line_number,
                source,
            })?;
            keys.push((role, key));
        }
        match keys.len() {
            0..=MAX_TRUSTED_KEYS => Ok(Self(keys)),
            _ => Err(TrustedError::TooMany),
        }
    }
}
