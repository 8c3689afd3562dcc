//! Egress of another process: HTTP/2 on a stream between the two. Each way out is one HTTP/2 stream, by which its records
//! come and are answered; when it breaks, so does the way out.

mod client;
mod frames;
mod server;

use std::time::Duration;

use casemate_ports::EgressError;

pub use self::{client::RemoteEgress, server::serve_egress};
use crate::{body::OutboxError, inbox::InboxError};

/// Who vouches for destinations.
const AUTHORITY: &str = "/egress/1/authority";
/// A way out, from its opening to its end.
const OPEN: &str = "/egress/1/open";

/// The most bytes of a question, or of the first frame of a way out: a profile, each of its bytes escaped.
const MAX_ASKED_BYTES: usize = 8 * 1024 * 1024;
/// The most bytes of an answer.
const MAX_TOLD_BYTES: usize = 256 * 1024;
/// The most bytes of a record.
const MAX_RECORD_BYTES: usize = 64 * 1024;
/// The most records of one way out that wait to be written.
const MAX_PENDING: usize = 64;
/// The most requests of one way out that wait for a person; more are refused.
const MAX_HELD: usize = 16;
/// The most requests of one way out about which a program of the operator's is asked at once; others wait for their turn.
const MAX_CONSULTED: usize = 32;
/// The most questions of one way out that wait for an answer: those that take long leave room for records.
const MAX_WAITING: usize = MAX_PENDING + MAX_HELD + MAX_CONSULTED;
/// How long the whole of a question may take.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(10);

impl From<InboxError> for Broken {
    fn from(error: InboxError) -> Self {
        Self(crate::client::chain(&error))
    }
}

impl From<OutboxError> for Broken {
    fn from(error: OutboxError) -> Self {
        Self(crate::client::chain(&error))
    }
}

/// Why a stream between the two processes is no more.
#[derive(Debug)]
struct Broken(String);

impl From<Broken> for EgressError {
    fn from(Broken(why): Broken) -> Self {
        Self::Unavailable(why)
    }
}
