//! The result of a call that ran under an idempotency key, for its repeats.

use casemate_ledger::Kind;
use casemate_model::{DecisionId, Outcome, Sealed, one_line};
use casemate_store::MAX_SEALED_BYTES;
use serde::{Deserialize, Serialize};

use crate::{
    Facts, Journal, Output, RecordError, Refused, Released, entry::Observed, journal::aad,
};

/// What the content of a stored result is bound to, beside its decision.
const RESULT: &str = "result";

/// A stored result.
pub(crate) struct Stored {
    of: DecisionId,
    result: Content,
}

#[derive(Serialize, Deserialize)]
struct Content {
    outcome: Outcome,
    output: Output,
}

impl Stored {
    /// Opens the result of `decision`; if that cannot be, says why to the one who repeated it.
    pub(crate) fn open(
        decision: DecisionId,
        sealed: Option<&Sealed>,
        agent: &str,
        journal: &Journal,
    ) -> Result<Self, String> {
        let Some(sealed) = sealed else {
            return Err(format!(
                "the call already ran as {decision}, and its result was too large to keep"
            ));
        };
        let lost = |error: &dyn std::error::Error| {
            format!(
                "the call already ran as {decision}, and its result cannot be read: {}",
                one_line(error)
            )
        };
        let content = journal
            .keys
            .unseal(agent, &aad(decision, RESULT), sealed)
            .map_err(|error| lost(&error))?;
        let result = serde_json::from_slice(&content).map_err(|error| lost(&error))?;
        Ok(Self {
            of: decision,
            result,
        })
    }

    /// Seals the result of a call; nothing when it is too large to keep.
    pub(crate) fn seal(
        facts: &Facts,
        outcome: Outcome,
        output: Output,
        journal: &Journal,
    ) -> Result<Option<Sealed>, RecordError> {
        let content =
            serde_json::to_vec(&Content { outcome, output }).map_err(RecordError::Encode)?;
        if content.len() > MAX_SEALED_BYTES {
            return Ok(None);
        }
        let aad = aad(facts.decision, RESULT);
        let sealed = journal.keys.seal(&facts.ask.agent, &aad, &content);
        sealed.map(Some).map_err(RecordError::Seal)
    }
}

/// Answers a repeat from the stored result; the answer is recorded as a call of its own, and nothing runs.
pub(crate) fn replay(
    mut facts: Box<Facts>,
    stored: Stored,
    journal: &Journal,
) -> Result<Released, Refused> {
    facts.replay_of = Some(stored.of);
    let Content { outcome, output } = stored.result;
    let recorded = journal
        .decided(&facts, Kind::Allowed, None)
        .and_then(|_| journal.ended(&facts, &outcome, &Observed::default()));
    match recorded {
        Ok(receipt) => Ok(Released::from_store(facts, outcome, output, receipt)),
        Err(error) => Err(Refused::unrecorded(facts, one_line(&error))),
    }
}
