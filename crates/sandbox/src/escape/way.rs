//! The ways in which an attempt is run.

use std::fmt;

use serde::Deserialize;

/// How an attempt is run.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// As a program, in a sandbox that is used once.
    Once,
    /// The same, in one with gVisor in it.
    Gvisor,
    /// As a program, in a session whose sandbox is made for it.
    Cold,
    /// In a session out of a stocked pool: Python as a cell in a copy of the warm interpreter, the rest as a program.
    Warm,
    /// As a cell of a context, whose interpreter stays.
    Context,
}

impl Way {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Once,
        Self::Gvisor,
        Self::Cold,
        Self::Warm,
        Self::Context,
    ];

    /// Whether it runs in a session.
    #[must_use]
    pub const fn is_in_session(self) -> bool {
        matches!(self, Self::Cold | Self::Warm | Self::Context)
    }

    /// Whether Python runs as a cell, and not as a program.
    pub(super) const fn has_cells(self) -> bool {
        matches!(self, Self::Warm | Self::Context)
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Once => "once",
            Self::Gvisor => "gvisor",
            Self::Cold => "cold",
            Self::Warm => "warm",
            Self::Context => "context",
        })
    }
}
