//! What is on record, for those who may look: of their tenant, and within their bounds.

use casemate_ledger::{Kind, Place, Proof, ReadError, Reader, Record, place_of, prove, read_from};
use casemate_model::{Bounds, DecisionId, one_line};
use casemate_store::{Keys, StoreError};
use serde_json::{Value, json};

use crate::{Journal, content_aad};

/// The most records that one search looks at; it goes on from there.
const MAX_LOOKED_AT: usize = 20_000;

/// After so many bytes of the log, it goes on later: the batch that is being read is still read.
const MAX_LOOKED_AT_BYTES: u64 = 64 << 20;

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

/// What was found of one decision.
#[derive(Clone, Debug, PartialEq)]
pub struct FoundOf {
    /// Its records, oldest first.
    pub records: Vec<Record>,
    /// Where the search goes on, if it did not come to the end of the log.
    pub next: Option<Place>,
}

/// One look at the log, which does not go further than one look may.
struct Look {
    reader: Reader,
    from: u64,
    /// Somebody said where it begins.
    is_given: bool,
    records: usize,
}

impl Look {
    fn new(journal: &Journal, place: Place, is_given: bool) -> Self {
        Self {
            reader: read_from(journal.ledger().dir(), place),
            from: place.offset(),
            is_given,
            records: 0,
        }
    }

    /// The next record; nothing at the end of the log.
    fn next(&mut self) -> Result<Option<Record>, SearchError> {
        let record = self.reader.next().transpose();
        let is_first = self.records == 0;
        self.records += 1;
        record.map_err(|error| match self.is_given && is_first {
            true => SearchError::Place(error),
            false => SearchError::Read(error),
        })
    }

    /// Whether it has gone as far as it may.
    fn is_enough(&self) -> bool {
        let bytes = self.reader.place().offset().saturating_sub(self.from);
        self.records >= MAX_LOOKED_AT || bytes >= MAX_LOOKED_AT_BYTES
    }
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
        let mut look = Look::new(self, place, is_given);
        let (mut records, mut bytes) = (Vec::new(), 0);
        loop {
            let Some(record) = look.next()? else {
                return Ok(Found {
                    records,
                    next: None,
                });
            };
            if looker.sees(&record) && search.wants(&record) {
                let shown = shown(&record);
                bytes += shown.to_string().len();
                records.push(shown);
            }
            if records.len() >= most || bytes >= MAX_FOUND_BYTES || look.is_enough() {
                let next = Some(look.reader.place());
                return Ok(Found { records, next });
            }
        }
    }

    /// The records of one decision from a place on, oldest first: none, if it is none of the looker's. Reads from disk, as far as one
    /// search may.
    ///
    /// # Errors
    /// When it begins at a place that is none, or the log cannot be read.
    pub fn records_of(
        &self,
        looker: &Looker,
        decision: DecisionId,
        from: Option<Place>,
    ) -> Result<FoundOf, SearchError> {
        let mut look = Look::new(self, from.unwrap_or_default(), from.is_some());
        let (mut records, mut bytes) = (Vec::new(), 0);
        // The first says with which tool; an outcome that nobody saw does not.
        let mut is_seen = None;
        while let Some(record) = look.next()? {
            if record.entry.decision == decision
                && *is_seen.get_or_insert_with(|| looker.sees(&record))
                && record.entry.tenant == looker.tenant
            {
                bytes += shown(&record).to_string().len();
                bytes += json!(record.entry.payload).to_string().len();
                records.push(record);
            }
            if bytes >= MAX_FOUND_BYTES || look.is_enough() {
                let next = Some(look.reader.place());
                return Ok(FoundOf { records, next });
            }
        }
        let next = None;
        Ok(FoundOf { records, next })
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
