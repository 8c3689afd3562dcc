//! The content of records, for those who have the keys.

use casemate_gateway::content_aad;
use casemate_ledger::Record;
use casemate_model::one_line;
use casemate_store::{Keys, StoreError};
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
        let entry = &record.entry;
        let Some(sealed) = &entry.payload else {
            return Value::Null;
        };
        let Some(keys) = &self.0 else {
            return json!({"unreadable": "the keys are not here"});
        };
        match keys.unseal(
            &entry.agent,
            &content_aad(entry.decision, entry.kind),
            sealed,
        ) {
            Ok(content) => serde_json::from_slice(&content)
                .unwrap_or_else(|_| json!({"unreadable": "it is not JSON"})),
            Err(StoreError::KeyErased { key, .. }) => json!({ "erased": key }),
            Err(error) => json!({"unreadable": one_line(&error)}),
        }
    }
}
