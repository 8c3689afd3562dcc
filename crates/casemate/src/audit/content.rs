//! The content of records, for those who have the keys.

use casemate_gateway::content;
use casemate_ledger::Record;
use casemate_store::Keys;
use serde_json::{Value, json};

use crate::state;

/// Opens what records seal.
#[derive(Debug)]
pub(crate) struct Contents(Option<Keys>);

impl Contents {
    /// With the keys of this user's state directory, if it has any.
    pub(crate) fn open() -> Self {
        Self(
            state::path()
                .ok()
                .and_then(|root| state::existing_keys(&root)),
        )
    }

    /// The content of a record, or why it cannot be read; nothing when it has none.
    pub(crate) fn of(&self, record: &Record) -> Value {
        match &self.0 {
            Some(keys) => content(keys, record),
            None if record.entry.payload.is_some() => {
                json!({"unreadable": "the keys are not here"})
            }
            None => Value::Null,
        }
    }
}
