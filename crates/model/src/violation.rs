//! What no program in a sandbox does by accident, and what becomes of one that does it.

use serde::{Deserialize, Serialize};

use crate::words;

words! {
    /// Kinds of violations.
    ViolationKind {
        /// A system call that no ordinary program makes.
        SystemCall = "system_call",
        /// A file was opened that is there for nobody.
        HoneyFile = "honey_file",
    }
}
words! {
    /// What follows a violation.
    Response {
        /// It is refused, and on record; the program goes on.
        Record = "record",
        /// The sandbox is destroyed with everything in it, and somebody is alerted.
        Kill = "kill",
    }
}

/// What follows violations, by kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Responses {
    /// Those of [`ViolationKind::SystemCall`].
    pub system_calls: Response,
    /// Those of [`ViolationKind::HoneyFile`].
    pub honey_files: Response,
}

impl Responses {
    /// Every violation is the end.
    pub const STRICT: Self = Self {
        system_calls: Response::Kill,
        honey_files: Response::Kill,
    };

    /// What follows one of this kind.
    #[must_use]
    pub const fn of(&self, kind: ViolationKind) -> Response {
        match kind {
            ViolationKind::SystemCall => self.system_calls,
            ViolationKind::HoneyFile => self.honey_files,
        }
    }
}

impl Default for Responses {
    fn default() -> Self {
        Self::STRICT
    }
}

/// A violation, with the evidence. Every member is of a bounded size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// Of which kind.
    pub kind: ViolationKind,
    /// The name of the system call, or the path of the file: of closed lists.
    pub what: String,
    /// The arguments of the system call the first time, in hexadecimal.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arguments: Vec<String>,
    /// What the process called itself the first time, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
    /// Its number in its own sandbox, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// How long after the start of the program it was seen first, in milliseconds.
    pub after_ms: u64,
    /// How often it was seen.
    pub count: u64,
}
