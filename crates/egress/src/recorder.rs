//! What is written down about each decision. No value of a credential, a query, a field or a body is in it.

use std::{fmt, net::IpAddr};

use casemate_model::{DecisionId, DestinationClass, Digest, SideEffect};

use crate::{Code, Entry, Pending, Target};

/// Keeps records.
pub trait Recorder: fmt::Debug + Send + Sync {
    /// Writes a record down. When this has come back without an error, the record is durable.
    fn record<'a>(&'a self, record: &'a Record) -> Pending<'a, Result<(), RecordError>>;
}

/// Nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the record cannot be written")]
pub struct RecordError;

/// Whose connection it is: known by the listener that it came to, which is one call's alone (I4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The call.
    pub call: DecisionId,
    /// The trace that the call belongs to.
    pub trace: String,
}

/// How far a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Nothing was sent, and nothing will be.
    Denied(Code),
    /// It is about to be sent.
    Sent,
    /// It ended, with an answer or for this reason.
    Ended(Option<Code>),
}

/// One record. A request that was refused has one; one that was sent has two, with the same decision.
#[derive(Clone, Debug)]
pub struct Record {
    /// The name of the decision.
    pub decision: DecisionId,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// Whose request it is.
    pub origin: Origin,
    /// How far it came.
    pub stage: Stage,
    /// Why it was refused more exactly, in a word of the judge's.
    pub because: Option<&'static str>,
    /// How it came in.
    pub entry: Entry,
    /// Where it was to go, if that could be read.
    pub target: Option<Target>,
    /// The server name of the ClientHello, or the name that an address was asked for.
    pub server_name: Option<String>,
    /// Whose the destination is.
    pub class: Option<DestinationClass>,
    /// The rule that decided.
    pub rule: Option<String>,
    /// What it does to the world.
    pub side_effect: Option<SideEffect>,
    /// Its method.
    pub method: Option<String>,
    /// Its path, without the query.
    pub path: Option<String>,
    /// The digest of its body, if the decision was about the body.
    pub body: Option<Digest>,
    /// All addresses that the name had.
    pub addresses: Vec<IpAddr>,
    /// The handle of the credential.
    pub credential: Option<String>,
    /// The status of the answer.
    pub status: Option<u16>,
    /// Bytes of bodies and messages that went out.
    pub bytes_out: u64,
    /// Bytes of bodies and messages that came in.
    pub bytes_in: u64,
    /// How often a secret was found in the answer.
    pub hits: u64,
}
