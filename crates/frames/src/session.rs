//! What the keeper and the first process of a lasting sandbox tell each other: whole messages, with descriptors.

use crate::{FrameError, wire::Fields};

/// The longest of these messages.
pub const MAX_SESSION_BYTES: usize = 64;

/// What the keeper orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionOrder {
    /// A socket to the warm interpreter comes along.
    Interpreter,
    /// Make a place for a call. Along come its control socket, its setup socket, and the `tasks` files of its cgroups.
    Place {
        /// Whether an interpreter shall wait in it.
        interpreter: bool,
    },
}

impl SessionOrder {
    /// The message.
    #[must_use]
    pub fn encode(self) -> Vec<u8> {
        match self {
            Self::Interpreter => vec![1],
            Self::Place { interpreter } => vec![2, interpreter.into()],
        }
    }

    /// What a message says.
    ///
    /// # Errors
    /// When it is none.
    pub fn decode(message: &[u8]) -> Result<Self, FrameError> {
        match message {
            [1] => Ok(Self::Interpreter),
            [2, interpreter @ (0 | 1)] => Ok(Self::Place {
                interpreter: *interpreter == 1,
            }),
            _ => Err(FrameError::Field("order")),
        }
    }
}

/// What the first process of a lasting sandbox says when it takes orders: its only word.
pub const SESSION_READY: &[u8] = b"R";

/// What is heard from a place until it is ready. The kernel says who sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlaceReport {
    /// Its first process is restricted. Along come seccomp's listener and the listener of its way out.
    Place {
        /// How much of Landlock is in force: 2 all, 1 a part, 0 nothing.
        landlock: u8,
    },
    /// Its interpreter is restricted. Along comes seccomp's listener.
    Interpreter {
        /// As above.
        landlock: u8,
    },
    /// It cannot be made.
    Failed {
        /// The kernel's error number; 0 when it has none.
        errno: i32,
    },
}

impl PlaceReport {
    /// The message.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Place { landlock } => vec![b'P', *landlock],
            Self::Interpreter { landlock } => vec![b'I', *landlock],
            Self::Failed { errno } => [&b"F"[..], &errno.to_le_bytes()].concat(),
        }
    }

    /// What a message says.
    ///
    /// # Errors
    /// When it is none.
    pub fn decode(message: &[u8]) -> Result<Self, FrameError> {
        match message {
            [b'P', landlock @ 0..=2] => Ok(Self::Place {
                landlock: *landlock,
            }),
            [b'I', landlock @ 0..=2] => Ok(Self::Interpreter {
                landlock: *landlock,
            }),
            [b'F', rest @ ..] => Fields(rest).array().map(|bytes| Self::Failed {
                errno: i32::from_le_bytes(bytes),
            }),
            _ => Err(FrameError::Field("report")),
        }
    }
}
