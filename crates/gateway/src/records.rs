//! What is on record, for those who may look: of their tenant, and within their bounds.

use casemate_ledger::{Kind, Place, Proof, ReadError, Record, find, place_of, prove, read_from};
use casemate_model::{Bounds, DecisionId, one_line};
use casemate_store::{Keys, StoreError};
use serde_json::{Value, json};

use crate::{Journal, content_aad};

/// The most records that one search looks at; it goes on from there.
const MAX_LOOKED_AT: usize = 20_000;

/// After so many bytes of what was found, it goes on later.
const MAX_FOUND_BYTES: usize = 4 << 20;

/// Who looks at records.
#[derive(Clone, Debug)]
pub struct Looker {
    /// Whose records they may see.
    pub tenant: String,
    /// What of them.
    pub bounds: Bounds,
}

impl Looker {
    /// Whether a record is for them. In which thread a call ran is not in clear: whoever is bound to threads sees no record.
    fn sees(&self, record: &Record) -> bool {
        let entry = &record.entry;
        let is_of_tools = match word(record, "tool") {
            Some(tool) => self.bounds.has_tool(tool),
            None => self.bounds.tools.is_none(),
        };
        entry.tenant == self.tenant
            && self.bounds.has_agent(&entry.agent)
            && self.bounds.has_thread(None)
            && is_of_tools
    }
}

/// Where a search begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// At the record with this index.
    Index(u64),
    /// Where the search before ended.
    Place(Place),
}

/// What is searched for: records of which all of this is true.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Search {
    /// What they say about their decision.
    pub kind: Option<Kind>,
    /// Their agent.
    pub agent: Option<String>,
    /// Their tool.
    pub tool: Option<String>,
    /// That they raise an alert.
    pub alert: bool,
}

impl Search {
    fn wants(&self, record: &Record) -> bool {
        self.kind.is_none_or(|kind| record.entry.kind == kind)
            && is(self.agent.as_deref(), Some(&record.entry.agent))
            && is(self.tool.as_deref(), word(record, "tool"))
            && (!self.alert || alerts(record))
    }
}

fn is(wanted: Option<&str>, found: Option<&str>) -> bool {
    wanted.is_none_or(|wanted| found == Some(wanted))
}

fn word<'r>(record: &'r Record, name: &str) -> Option<&'r str> {
    record.entry.summary.get(name).and_then(Value::as_str)
}

fn alerts(record: &Record) -> bool {
    let alert = record.entry.summary.get("alert");
    alert.and_then(Value::as_bool) == Some(true)
}

/// What was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The records as [`shown`], oldest first.
    pub records: Vec<Value>,
    /// Where the search goes on, if it did not come to the end of the log.
    pub next: Option<Place>,
}

/// Why nothing can be said of records.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    /// The place is none of this log.
    #[error("the place to go on from is none of this ledger")]
    Place(#[source] ReadError),
    /// The ledger cannot be read.
    #[error("cannot read the ledger")]
    Read(#[source] ReadError),
}

impl Journal {
    /// At most `most` records, oldest first. Reads from disk.
    ///
    /// # Errors
    /// When it begins at a place that is none, or the log cannot be read.
    pub fn search(
        &self,
        looker: &Looker,
        begin: Begin,
        search: &Search,
        most: usize,
    ) -> Result<Found, SearchError> {
        let nothing = Found {
            records: Vec::new(),
            next: None,
        };
        let (place, is_given) = match begin {
            Begin::Place(place) => (place, true),
            Begin::Index(index) => match place_of(self.ledger().dir(), index) {
                Ok(Some(place)) => (place, false),
                Ok(None) => return Ok(nothing),
                Err(error) => return Err(SearchError::Read(error)),
            },
        };
        let mut reader = read_from(self.ledger().dir(), place);
        let (mut records, mut bytes) = (Vec::new(), 0);
        for looked_at in 0..MAX_LOOKED_AT {
            let record = match reader.next() {
                None => {
                    return Ok(Found {
                        records,
                        next: None,
                    });
                }
                Some(Ok(record)) => record,
                Some(Err(error)) if is_given && looked_at == 0 => {
                    return Err(SearchError::Place(error));
                }
                Some(Err(error)) => return Err(SearchError::Read(error)),
            };
            if looker.sees(&record) && search.wants(&record) {
                let shown = shown(&record);
                bytes += shown.to_string().len();
                records.push(shown);
            }
            if records.len() >= most || bytes >= MAX_FOUND_BYTES {
                break;
            }
        }
        let next = Some(reader.place());
        Ok(Found { records, next })
    }

    /// The records of one decision, oldest first: none, if it is none of the looker's. Reads all of the log.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn records_of(
        &self,
        looker: &Looker,
        decision: DecisionId,
    ) -> Result<Vec<Record>, ReadError> {
        let mut records = find(self.ledger().dir(), decision)?;
        // The first says with which tool; an outcome that nobody saw does not.
        if !records.first().is_some_and(|first| looker.sees(first)) {
            return Ok(Vec::new());
        }
        records.retain(|record| record.entry.tenant == looker.tenant);
        Ok(records)
    }

    /// A record, with proof that it is in the log: nothing, if it is none of the looker's.
    ///
    /// # Errors
    /// When the log cannot be read, or is not what was signed.
    pub fn prove(&self, looker: &Looker, index: u64) -> Result<Option<Proof>, ReadError> {
        let ledger = self.ledger();
        let proof = prove(ledger.dir(), ledger.public_key(), index)?;
        Ok(proof.filter(|proof| looker.sees(&proof.record)))
    }

    /// The key that verifies checkpoints, in the C2SP form.
    #[must_use]
    pub fn public_key(&self) -> String {
        self.ledger().public_key().to_string()
    }

    /// What a record seals; nothing when it seals nothing.
    #[must_use]
    pub fn content(&self, record: &Record) -> Value {
        content(&self.keys, record)
    }
}

/// A record without what it seals: that may be much, and says nothing without a key.
#[must_use]
pub fn shown(record: &Record) -> Value {
    let entry = &record.entry;
    json!({
        "index": record.index,
        "leaf": record.leaf,
        "at_ms": entry.at_ms,
        "kind": entry.kind,
        "decision": entry.decision,
        "agent": entry.agent,
        "tenant": entry.tenant,
        "summary": entry.summary,
        "sealed": entry.payload.is_some(),
    })
}

/// What a record seals, or why it cannot be read; nothing when it seals nothing.
#[must_use]
pub fn content(keys: &Keys, record: &Record) -> Value {
    let entry = &record.entry;
    let Some(sealed) = &entry.payload else {
        return Value::Null;
    };
    let aad = content_aad(entry.decision, entry.kind);
    match keys.unseal(&entry.agent, &aad, sealed) {
        Ok(content) => serde_json::from_slice(&content)
            .unwrap_or_else(|_| json!({"unreadable": "it is not JSON"})),
        Err(StoreError::KeyErased { key, .. }) => json!({ "erased": key }),
        Err(error) => json!({"unreadable": one_line(&error)}),
    }
}
