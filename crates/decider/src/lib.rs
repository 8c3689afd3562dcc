//! Asking a program of the operator's about each request that leaves a sandbox.
//!
//! It speaks version 1 of the protocol that deciders of `srt proxy` speak (sandbox-runtime 0.0.83): frames of a length in four bytes, big-endian, and one JSON object.
//! So a decider that somebody has can be used; but here it is asked after the rules of the profile, and about what they let through.
//!
//! Invariants:
//! - Its answer only tightens. Headers that it sets and credentials that it brings are refused with the request; a request from which it takes headers has to be judged
//!   again without them.
//! - A request passes only with a well-formed answer to it, in time. Whatever breaks the protocol ends the link, and with it every request that waits and
//!   every later one; so does dropping the [`Driver`].
//! - Requests are numbered upwards. An answer that comes too late is dropped, one that nobody asked for breaks the protocol.
//! - Frames, queues and what is shown of a body are bounded.
//!
//! Deliberately absent: starting the program and starting it again, which is for whoever has the link.

mod client;
mod frame;
mod link;
mod listed;
mod question;
mod wire;

pub use self::{
    client::{ANSWER_MS, Decider, Driver},
    frame::MAX_FRAME_BYTES,
    link::{Answer, Denial},
    question::{MAX_SHOWN_BYTES, Question, QuestionBody},
};

/// Why there is no link to a decider, or none any more.
#[derive(Debug, thiserror::Error)]
pub enum DeciderError {
    /// Reading from it failed, or it ended.
    #[error("reading from the decider")]
    Read(#[source] std::io::Error),
    /// Writing to it failed.
    #[error("writing to the decider")]
    Write(#[source] std::io::Error),
    /// It did not say hello in time.
    #[error("the decider did not say hello in {ANSWER_MS} ms")]
    NoHello,
    /// A frame is longer than it may be.
    #[error("a frame of the decider is longer than {MAX_FRAME_BYTES} bytes")]
    LongFrame,
    /// A frame is not what the protocol has.
    #[error("a frame of the decider is not of the protocol: {0}")]
    Frame(&'static str),
    /// An answer that nobody waits for.
    #[error("the decider answers request {id}, for which nobody waits")]
    Stray {
        /// The number of the request.
        id: u64,
    },
    /// It asks for a body again, or answers without the one that it asked for.
    #[error("the decider answers request {id} out of turn")]
    OutOfTurn {
        /// The number of the request.
        id: u64,
    },
    /// Nobody asks any more.
    #[error("nobody asks the decider any more")]
    Unused,
}
