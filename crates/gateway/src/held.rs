//! A call that waits for a person.

use std::fmt;

use casemate_ledger::{Kind, Receipt};
use casemate_model::one_line;

use crate::{Facts, Journal, Refused, Wait};

/// A call that a person has to approve. Nobody is asked before it is recorded.
#[derive(Debug)]
pub struct Held {
    facts: Box<Facts>,
}

/// A held call, recorded (R175). Nothing of it has run, and its sandbox is gone: it gets another when it is approved.
pub struct Pending {
    facts: Box<Facts>,
    receipt: Receipt,
}

impl Held {
    pub(crate) const fn new(facts: Box<Facts>) -> Self {
        Self { facts }
    }

    /// Records that the call waits. Blocks for one flush of the disk.
    ///
    /// # Errors
    /// When it cannot be recorded; then nobody is asked and nothing runs.
    pub fn record(self, journal: &Journal) -> Result<Pending, Refused> {
        match journal.decided(&self.facts, Kind::Held, None) {
            Ok(receipt) => Ok(Pending {
                facts: self.facts,
                receipt,
            }),
            Err(error) => Err(Refused::unrecorded(self.facts, one_line(&error))),
        }
    }

    /// What is known of the call.
    #[must_use]
    pub const fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Notes until when it waits.
    pub(crate) fn waits(&mut self, wait: Wait) {
        self.facts.wait = Some(wait);
    }

    pub(crate) fn into_facts(self) -> Box<Facts> {
        self.facts
    }
}

impl Pending {
    /// Gives up: nobody will approve.
    #[must_use]
    pub fn refuse(self) -> Refused {
        Refused::held(self.facts, self.receipt)
    }

    /// What is known of the call.
    #[must_use]
    pub const fn facts(&self) -> &Facts {
        &self.facts
    }

    pub(crate) fn into_facts(self) -> Box<Facts> {
        self.facts
    }
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pending").field(&self.facts).finish()
    }
}
