//! What goes wrong with records.

use casemate_ledger::{LedgerError, ReadError};
use casemate_model::DecisionId;
use casemate_ports::NotRecorded;
use casemate_store::StoreError;

/// Why something could not be recorded.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The record cannot be put into JSON.
    #[error("cannot write the record as JSON")]
    Encode(#[source] serde_json::Error),
    /// No entropy for a salt or a token.
    #[error("there is no entropy for the record")]
    Entropy(#[source] std::io::Error),
    /// The record lacks a field that the profile requires.
    #[error("the record has no `{0}`, which observability.required_trace_fields demands")]
    MissingField(String),
    /// Its content cannot be encrypted.
    #[error("cannot encrypt the record")]
    Seal(#[source] StoreError),
    /// The idempotency store does not take it.
    #[error("cannot end the claim on the idempotency key")]
    Store(#[source] StoreError),
    /// The ledger cannot be read.
    #[error("cannot read the ledger")]
    Read(#[source] ReadError),
    /// The ledger does not take it.
    #[error("cannot append to the ledger")]
    Append(#[source] LedgerError),
}

/// Why the end of a call that ran could not be told in full.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// The outcome is not recorded: the next start closes the decision as unknown.
    #[error("{decision} ran, but its outcome cannot be recorded")]
    Outcome {
        /// The call.
        decision: DecisionId,
        /// Why.
        #[source]
        source: RecordError,
    },
    /// Not all that it did on its way out is recorded: its outcome is unknown.
    #[error("{decision} ran, but what it did on its way out cannot be recorded")]
    Way {
        /// The call.
        decision: DecisionId,
        /// Why.
        #[source]
        source: NotRecorded,
    },
    /// The outcome is recorded, but its result is not stored under its idempotency key.
    #[error("{decision} ran, but its result cannot be stored under its idempotency key")]
    Result {
        /// The call.
        decision: DecisionId,
        /// Why.
        #[source]
        source: RecordError,
    },
}

/// Why calls that a dead process left open could not be closed.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The ledger cannot be read.
    #[error("cannot list the calls without an outcome")]
    List(#[source] LedgerError),
    /// An outcome cannot be appended.
    #[error("cannot record that the outcome of {decision} is unknown")]
    Close {
        /// The call.
        decision: DecisionId,
        /// Why.
        #[source]
        source: RecordError,
    },
}
