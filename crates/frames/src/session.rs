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
    Place(Waiting),
}

/// What waits in a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// Nothing: it is for a program.
    Nothing,
    /// An interpreter that shares all of its memory that it can.
    Lean,
    /// An interpreter that has its own copies of what a cell will write to, which takes time and memory.
    Ready,
}

impl SessionOrder {
    /// The message.
    #[must_use]
    pub fn encode(self) -> Vec<u8> {
        match self {
            Self::Interpreter => vec![1],
            Self::Place(Waiting::Nothing) => vec![2, 0],
            Self::Place(Waiting::Lean) => vec![2, 1],
            Self::Place(Waiting::Ready) => vec![2, 2],
        }
    }

    /// What a message says.
    ///
    /// # Errors
    /// When it is none.
    pub fn decode(message: &[u8]) -> Result<Self, FrameError> {
        match message {
            [1] => Ok(Self::Interpreter),
            [2, 0] => Ok(Self::Place(Waiting::Nothing)),
            [2, 1] => Ok(Self::Place(Waiting::Lean)),
            [2, 2] => Ok(Self::Place(Waiting::Ready)),
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
