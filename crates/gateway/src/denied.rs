//! A refusal: first decided, then recorded, and only then told.

use casemate_ledger::{Kind, Receipt};
use casemate_model::{Reason, one_line};
use casemate_ports::KeeperError;

use crate::{Facts, Journal, QuotaUse, limits::RETRY_AFTER_MS};

/// A call that may not run. Why is not told before it is recorded.
#[derive(Debug)]
pub struct Denied {
    facts: Box<Facts>,
    cause: Refusal,
}

/// What refused a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The decision.
    Policy,
    /// The sandbox could not be made.
    Sandbox,
    /// The record could not be written.
    Record,
}

impl Denied {
    /// A refusal by the decision, whose reason `facts` have.
    pub(crate) const fn decided(facts: Box<Facts>) -> Self {
        Self {
            facts,
            cause: Refusal::Policy,
        }
    }

    /// A refusal outside of the decision.
    pub(crate) fn new(mut facts: Box<Facts>, reason: Reason, detail: impl Into<String>) -> Self {
        facts.refuse(reason, detail);
        let cause = match reason {
            Reason::RecordUnavailable => Refusal::Record,
            _ => Refusal::Policy,
        };
        Self { facts, cause }
    }

    /// A refusal because the keeper cannot make the sandbox, or will not.
    pub(crate) fn by_keeper(mut facts: Box<Facts>, error: &KeeperError) -> Self {
        let (reason, cause) = match error {
            KeeperError::Spec(_) | KeeperError::File { .. } => {
                (Reason::InvalidCall, Refusal::Policy)
            }
            KeeperError::NoSession(_) => (Reason::SessionUnknown, Refusal::Policy),
            KeeperError::SessionGone { .. } => (Reason::SessionGone, Refusal::Policy),
            KeeperError::NoContext { .. } => (Reason::ContextUnknown, Refusal::Policy),
            KeeperError::Busy(_) => (Reason::SessionBusy, Refusal::Policy),
            KeeperError::Quota {
                quota,
                of,
                limit,
                used,
            } => {
                facts.quota = Some(QuotaUse {
                    quota: quota.clone(),
                    of: of.clone(),
                    limit: *limit,
                    used: *used,
                    retry_after_ms: Some(RETRY_AFTER_MS),
                });
                (Reason::QuotaExceeded, Refusal::Policy)
            }
            _ => (Reason::IsolationUnavailable, Refusal::Sandbox),
        };
        Self {
            cause,
            ..Self::new(facts, reason, one_line(error))
        }
    }

    /// Why.
    pub(crate) fn reason(&self) -> Reason {
        self.facts.reason()
    }

    /// Records the refusal. Blocks for one flush of the disk.
    #[must_use]
    pub fn record(self, journal: &Journal) -> Refused {
        match journal.decided(&self.facts, Kind::Denied, None) {
            Ok(receipt) => Refused {
                facts: self.facts,
                cause: self.cause,
                receipt: Some(receipt),
            },
            Err(error) => {
                let reason = self.facts.reason();
                let why = format!(
                    "the refusal ({reason}) cannot be recorded: {}",
                    one_line(&error)
                );
                Refused::unrecorded(self.facts, why)
            }
        }
    }

    /// Gives up because nothing can be recorded; `why` is one line for people.
    #[must_use]
    pub fn without_record(self, why: &str) -> Refused {
        Refused::unrecorded(self.facts, why)
    }
}

/// A refused call. Its refusal is recorded, unless the record is what failed.
#[derive(Debug)]
pub struct Refused {
    facts: Box<Facts>,
    cause: Refusal,
    receipt: Option<Receipt>,
}

impl Refused {
    /// A refusal because nothing can be recorded (I1).
    pub(crate) fn unrecorded(mut facts: Box<Facts>, why: impl Into<String>) -> Self {
        facts.refuse(Reason::RecordUnavailable, why);
        Self {
            facts,
            cause: Refusal::Record,
            receipt: None,
        }
    }

    /// A call that was held and recorded, and that nobody will approve.
    pub(crate) const fn held(facts: Box<Facts>, receipt: Receipt) -> Self {
        Self {
            facts,
            cause: Refusal::Policy,
            receipt: Some(receipt),
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

    /// What refused it.
    #[must_use]
    pub const fn cause(&self) -> Refusal {
        self.cause
    }

    /// Where the refusal is recorded.
    #[must_use]
    pub const fn receipt(&self) -> Option<&Receipt> {
        self.receipt.as_ref()
    }
}
