//! What is recorded.

use std::fmt;

use casemate_model::{DecisionId, Digest, Sealed};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    LedgerError, Owner,
    limits::{MAX_NAME_BYTES, MAX_RECORD_BYTES, MAX_SUMMARY_DEPTH, OPEN_DECISIONS_OF_CALLS},
    open_set::OpenSet,
};

/// What an entry says about its decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The call may run. Opens the decision.
    Allowed,
    /// The call was refused.
    Denied,
    /// The call waits for an approval.
    Held,
    /// The call ended. Closes the decision.
    Outcome,
    /// The keys of an agent were destroyed.
    Erased,
    /// Something was read, or became of a session by itself. Opens and closes nothing.
    Event,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allowed => "allowed",
            Self::Denied => "denied",
            Self::Held => "held",
            Self::Outcome => "outcome",
            Self::Erased => "erased",
            Self::Event => "event",
        })
    }
}

/// An entry to append.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// Which decision.
    pub decision: DecisionId,
    /// What about it.
    pub kind: Kind,
    /// The agent that asked.
    pub agent: String,
    /// Whose data it touches.
    pub tenant: String,
    /// Metadata that stays readable for ever: a JSON object without personal data.
    pub summary: Value,
    /// Content that is readable until its key is destroyed.
    pub payload: Option<Sealed>,
}

/// An entry as the log holds it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredEntry {
    /// Its place in the log, from 0. Must stay the first field: it is written last.
    pub index: u64,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// What about the decision.
    pub kind: Kind,
    /// Which decision.
    pub decision: DecisionId,
    /// The agent that asked.
    pub agent: String,
    /// Whose data it touches.
    pub tenant: String,
    /// The process that will run the call, with [`Kind::Allowed`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,
    /// Metadata.
    pub summary: Value,
    /// Sealed content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Sealed>,
}

/// An entry read from the log.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Its place in the log, from 0.
    pub index: u64,
    /// What it says.
    pub entry: StoredEntry,
    /// The hash of its bytes as a leaf of the Merkle tree.
    pub leaf: Digest,
}

/// Proof that an entry is on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Its place in the log, from 0.
    pub index: u64,
    /// The hash of its bytes as a leaf of the Merkle tree.
    pub leaf: Digest,
    /// How many records the log had when it was signed; larger than `index`.
    pub size: u64,
    /// The root of the tree of those records.
    pub root: Digest,
    /// The signed checkpoint. Kept elsewhere, it lets `verify` find a rollback.
    pub checkpoint: String,
}

/// An allowed decision without an outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenDecision {
    /// The decision.
    pub decision: DecisionId,
    /// The record that opened it.
    pub index: u64,
    /// The agent that asked.
    pub agent: String,
    /// Whose data it touches.
    pub tenant: String,
    /// When it was opened, in milliseconds since 1970.
    pub at_ms: u64,
    /// The process that was to run it.
    pub owner: Owner,
}

/// What a record does to the set of open decisions.
#[derive(Clone, Debug)]
pub(crate) enum Effect {
    Opens(OpenDecision),
    Closes(DecisionId),
    Nothing,
}

impl Effect {
    pub(crate) fn of(entry: &StoredEntry) -> Self {
        match (entry.kind, &entry.owner) {
            (Kind::Allowed, Some(owner)) => Self::Opens(OpenDecision {
                decision: entry.decision,
                index: entry.index,
                agent: entry.agent.clone(),
                tenant: entry.tenant.clone(),
                at_ms: entry.at_ms,
                owner: owner.clone(),
            }),
            (Kind::Outcome, _) => Self::Closes(entry.decision),
            _ => Self::Nothing,
        }
    }
}

/// An entry that is serialised but has no place yet.
///
/// The index is the first field, so that the costly part is done by the thread that appends and
/// only the number by the thread that commits.
#[derive(Debug)]
pub(crate) struct Body {
    after_index: Vec<u8>,
    effect: Effect,
    demand: Demand,
}

/// What must hold when the entry's turn comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Demand {
    /// Nothing.
    None,
    /// The decision that it closes is still open.
    StillOpen,
    /// What is kept for calls stays free, and this is the name of no decision that is open, unless it is closed by it.
    OfRequest(DecisionId),
}

const INDEX_KEY: &[u8] = b"{\"index\":";

impl Body {
    pub(crate) fn new(entry: Entry, owner: Option<Owner>) -> Result<Self, LedgerError> {
        if !entry.summary.is_object() {
            return Err(LedgerError::SummaryNotObject);
        }
        if !is_shallower(&entry.summary, MAX_SUMMARY_DEPTH) {
            return Err(LedgerError::SummaryTooDeep);
        }
        let bytes = entry.agent.len().max(entry.tenant.len());
        if bytes > MAX_NAME_BYTES {
            return Err(LedgerError::NameTooLong { bytes });
        }
        let stored = StoredEntry {
            index: 0,
            at_ms: entry.at_ms,
            kind: entry.kind,
            decision: entry.decision,
            agent: entry.agent,
            tenant: entry.tenant,
            owner,
            summary: entry.summary,
            payload: entry.payload,
        };
        let mut json = serde_json::to_vec(&stored).map_err(|source| LedgerError::Serialise {
            source: source.into(),
        })?;
        // Twenty digits are the longest index.
        let bytes = json.len() + 20;
        if bytes > MAX_RECORD_BYTES {
            return Err(LedgerError::EntryTooLarge { bytes });
        }
        Ok(Self {
            after_index: json.split_off(INDEX_KEY.len() + "0".len()),
            effect: Effect::of(&stored),
            demand: Demand::None,
        })
    }

    /// An outcome that is only wanted while its decision is open.
    pub(crate) fn closing(outcome: Entry) -> Result<Self, LedgerError> {
        let body = Self::new(outcome, None)?;
        Ok(Self {
            demand: Demand::StillOpen,
            ..body
        })
    }

    /// An entry of a request of a call.
    pub(crate) fn of_request(entry: Entry, owner: Option<Owner>) -> Result<Self, LedgerError> {
        let decision = entry.decision;
        let body = Self::new(entry, owner)?;
        Ok(Self {
            demand: Demand::OfRequest(decision),
            ..body
        })
    }

    /// How many places for open decisions it leaves free.
    pub(crate) const fn kept(&self) -> usize {
        match self.demand {
            Demand::OfRequest(_) => OPEN_DECISIONS_OF_CALLS,
            Demand::None | Demand::StillOpen => 0,
        }
    }

    /// Whether its name is that of a decision which is open, and not its own.
    pub(crate) fn is_taken(&self, open: &OpenSet) -> bool {
        match (self.demand, &self.effect) {
            (_, Effect::Closes(_)) => false,
            (Demand::OfRequest(decision), _) => open.contains(decision),
            _ => false,
        }
    }

    /// The bytes of the record at `index`.
    pub(crate) fn record(&self, index: u64) -> Vec<u8> {
        [INDEX_KEY, index.to_string().as_bytes(), &self.after_index].concat()
    }

    /// What the record at `index` does to the open decisions.
    pub(crate) fn effect(&self, index: u64) -> Effect {
        match self.effect.clone() {
            Effect::Opens(open) => Effect::Opens(OpenDecision { index, ..open }),
            other => other,
        }
    }

    /// Whether the entry may be added where these decisions are open.
    pub(crate) fn is_wanted(&self, open: &OpenSet) -> bool {
        match (self.demand, &self.effect) {
            (Demand::StillOpen, Effect::Closes(decision)) => open.contains(*decision),
            _ => true,
        }
    }

    /// Bytes that the record takes at most, without its length and hash.
    pub(crate) fn max_len(&self) -> usize {
        INDEX_KEY.len() + 20 + self.after_index.len()
    }
}

/// Whether `value` nests less than `depth` deep.
fn is_shallower(value: &Value, depth: u32) -> bool {
    let Some(depth) = depth.checked_sub(1) else {
        return false;
    };
    match value {
        Value::Array(items) => items.iter().all(|item| is_shallower(item, depth)),
        Value::Object(fields) => fields.values().all(|field| is_shallower(field, depth)),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(summary: Value) -> Entry {
        Entry {
            at_ms: u64::MAX,
            decision: DecisionId::new(1, [7; 10]),
            kind: Kind::Allowed,
            agent: "a\"\u{0}\n".into(),
            tenant: String::new(),
            summary,
            payload: Some(Sealed {
                key: "k".into(),
                nonce: vec![0; 12],
                ciphertext: vec![255; 40],
            }),
        }
    }

    /// The place is written in front of what was serialised before it was known.
    #[test]
    fn a_record_reads_back_with_the_index_it_was_given() {
        let owner = Owner::current().unwrap();
        let summary = json!({"index": 3, "ü": [1.5, null]});
        let body = Body::new(entry(summary.clone()), Some(owner.clone())).unwrap();
        for index in [0, 9, 10, u64::MAX] {
            let bytes = body.record(index);
            assert!(bytes.len() <= body.max_len());
            let stored: StoredEntry = serde_json::from_slice(&bytes).unwrap();
            assert_eq!(stored.index, index);
            assert_eq!(stored.summary, summary);
            assert_eq!(stored.agent, "a\"\u{0}\n");
            assert_eq!(stored.owner.as_ref(), Some(&owner));
            assert!(matches!(Effect::of(&stored), Effect::Opens(open) if open.index == index));
        }
    }

    #[test]
    fn what_could_not_be_read_again_is_refused() {
        let mut deep = json!({});
        for _ in 0..MAX_SUMMARY_DEPTH {
            deep = json!({ "d": deep });
        }
        let refused = Body::new(entry(deep.clone()), None).unwrap_err();
        assert!(matches!(refused, LedgerError::SummaryTooDeep));
        assert!(Body::new(entry(deep["d"].clone()), None).is_ok());
        for value in [json!(1), json!([]), json!(null)] {
            let refused = Body::new(entry(value), None).unwrap_err();
            assert!(matches!(refused, LedgerError::SummaryNotObject));
        }
        let large = json!({ "d": "x".repeat(MAX_RECORD_BYTES) });
        let refused = Body::new(entry(large), None).unwrap_err();
        assert!(matches!(refused, LedgerError::EntryTooLarge { .. }));
    }
}
