//! A credential: what is said of it, and its secrets.

use serde::{Deserialize, Serialize};

use crate::{Header, Secret};

/// The secrets of one credential.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Secrets {
    /// What its kind says that it is.
    pub main: Secret,
    /// The secret of the client, or the token of the session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second: Option<Secret>,
}

impl Secrets {
    /// One secret.
    #[must_use]
    pub const fn of(main: Secret) -> Self {
        Self { main, second: None }
    }

    /// Bytes that they take at most in JSON or in a form.
    pub(crate) fn room(&self) -> usize {
        self.main.room() + self.second.as_ref().map_or(0, Secret::room)
    }
}

/// A credential that was read. Its secrets are erased with it.
#[derive(Debug)]
pub struct Credential {
    /// What is said of it.
    pub header: Header,
    /// Its secrets, unless it was revoked.
    pub secrets: Secrets,
}
