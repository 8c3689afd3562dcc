//! The last state: what a caller is told.

use casemate_ledger::Receipt;
use casemate_model::Outcome;

use crate::{Facts, Output};

/// A call whose outcome is on disk.
#[derive(Debug)]
pub struct Released {
    facts: Box<Facts>,
    outcome: Outcome,
    receipt: Receipt,
    trouble: Option<String>,
    replayed: Option<Output>,
}

impl Released {
    pub(crate) const fn ran(
        facts: Box<Facts>,
        outcome: Outcome,
        receipt: Receipt,
        trouble: Option<String>,
    ) -> Self {
        Self {
            facts,
            outcome,
            receipt,
            trouble,
            replayed: None,
        }
    }

    pub(crate) const fn from_store(
        facts: Box<Facts>,
        outcome: Outcome,
        output: Output,
        receipt: Receipt,
    ) -> Self {
        Self {
            facts,
            outcome,
            receipt,
            trouble: None,
            replayed: Some(output),
        }
    }

    pub(crate) const fn facts_mut(&mut self) -> &mut Facts {
        &mut self.facts
    }

    /// What is known of the call.
    #[must_use]
    pub const fn facts(&self) -> &Facts {
        &self.facts
    }

    /// How it ended.
    #[must_use]
    pub const fn outcome(&self) -> &Outcome {
        &self.outcome
    }

    /// Where the outcome is recorded.
    #[must_use]
    pub const fn receipt(&self) -> &Receipt {
        &self.receipt
    }

    /// What went wrong with its sandbox or its artefacts, in one line, if anything did.
    #[must_use]
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// The stored output, when nothing ran because the call ran before under the same idempotency key. The
    /// artefacts of that run are listed in the outcome; their content is gone with its sandbox.
    #[must_use]
    pub const fn replayed(&self) -> Option<&Output> {
        self.replayed.as_ref()
    }
}
