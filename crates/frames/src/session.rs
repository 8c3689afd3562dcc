//! What the keeper and the first process of a lasting sandbox tell each other: whole messages, with descriptors.

use crate::{FrameError, wire::Fields};

/// The longest of these messages.
pub const MAX_SESSION_BYTES: usize = 64;

/// The most ports of destinations of one way out.
pub const MAX_WAY_PORTS: usize = 16;

/// What the keeper orders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionOrder {
    /// A socket to the warm interpreter comes along.
    Interpreter,
    /// Make a place for a call. Along come its control socket, its setup socket, the namespace of [`Network::Joined`], and the
    /// `tasks` files of its cgroups.
    Place(Waiting, Network),
}

/// In which network a place is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Network {
    /// That of its session, which all places without one of their own share.
    Session,
    /// One of its own, with a way out.
    Own {
        /// For these ports of destinations.
        ports: Vec<u16>,
        /// Whether the address of the services of platforms leads there too.
        platform: bool,
    },
    /// That of another place, whose namespace comes along.
    Joined,
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
    pub fn encode(&self) -> Vec<u8> {
        let Self::Place(waiting, network) = self else {
            return vec![1];
        };
        let waiting = match waiting {
            Waiting::Nothing => 0,
            Waiting::Lean => 1,
            Waiting::Ready => 2,
        };
        match network {
            Network::Session => vec![2, waiting],
            Network::Joined => vec![2, waiting, 1],
            Network::Own { ports, platform } => {
                let mut message = vec![2, waiting, 2, u8::from(*platform)];
                message.extend(ports.iter().flat_map(|port| port.to_le_bytes()));
                message
            }
        }
    }

    /// What a message says.
    ///
    /// # Errors
    /// When it is none.
    pub fn decode(message: &[u8]) -> Result<Self, FrameError> {
        let wrong = Err(FrameError::Field("order"));
        let [2, waiting, network @ ..] = message else {
            return match message {
                [1] => Ok(Self::Interpreter),
                _ => wrong,
            };
        };
        let waiting = match waiting {
            0 => Waiting::Nothing,
            1 => Waiting::Lean,
            2 => Waiting::Ready,
            _ => return wrong,
        };
        let network = match network {
            [] => Network::Session,
            [1] => Network::Joined,
            [2, platform @ (0 | 1), ports @ ..] => match ports.as_chunks() {
                (ports, []) if ports.len() <= MAX_WAY_PORTS => Network::Own {
                    ports: ports.iter().map(|port| u16::from_le_bytes(*port)).collect(),
                    platform: *platform == 1,
                },
                _ => return wrong,
            },
            _ => return wrong,
        };
        Ok(Self::Place(waiting, network))
    }
}

/// What the first process of a lasting sandbox says when it takes orders: its only word.
pub const SESSION_READY: &[u8] = b"R";

/// What is heard from a place until it is ready. The kernel says who sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlaceReport {
    /// Its first process is restricted. Along come seccomp's listener and the listener of its way out; and if it has a network
    /// of its own, the file of its authority, for writing, and the sockets of that network.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_read_as_they_were_written() {
        let networks = [
            Network::Session,
            Network::Joined,
            Network::Own {
                ports: vec![],
                platform: true,
            },
            Network::Own {
                ports: (1..=16).map(|port| port * 4_000).collect(),
                platform: false,
            },
        ];
        for network in networks {
            for waiting in [Waiting::Nothing, Waiting::Lean, Waiting::Ready] {
                let order = SessionOrder::Place(waiting, network.clone());
                let message = order.encode();
                assert!(message.len() <= MAX_SESSION_BYTES);
                assert_eq!(SessionOrder::decode(&message), Ok(order));
            }
        }
        let interpreter = SessionOrder::Interpreter;
        assert_eq!(SessionOrder::decode(&interpreter.encode()), Ok(interpreter));
    }

    #[test]
    fn what_is_no_order_is_an_error() {
        let too_many = [&[2, 0, 2, 0][..], &[1; 34]].concat();
        for wrong in [
            &[][..],
            &[0],
            &[1, 0],
            &[2],
            &[2, 3],
            &[2, 0, 0],
            &[2, 0, 1, 0],
            &[2, 0, 2],
            &[2, 0, 2, 2],
            &[2, 0, 2, 1, 1],
            &[2, 0, 3],
            &too_many,
        ] {
            assert!(SessionOrder::decode(wrong).is_err(), "{wrong:?}");
        }
    }
}
