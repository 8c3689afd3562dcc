//! What an operator does to policies: decided, on disk before it takes effect, and closed after it.

use casemate_authority::{Position, Throw};
use casemate_ledger::{Entry, Kind, Receipt};
use casemate_model::{DecisionId, Reason};
use casemate_policy::{Claims, Verdict, Verified};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{Journal, RecordError, entry};

/// In whose name operations are recorded.
const OPERATOR: &str = "operator";

/// Something that an operator does.
#[derive(Clone, Debug, Serialize)]
pub struct Operation {
    /// What, such as `policy.activate`.
    pub what: &'static str,
    /// Why it may be done, or not.
    pub reason: Reason,
    /// The same, for people.
    pub detail: String,
    /// Whether somebody has to look at it.
    pub alert: bool,
    /// What it is about. No personal data: it stays readable for ever.
    pub subject: Value,
}

impl Operation {
    /// That a switch is thrown.
    #[must_use]
    pub fn of_throw(throw: &Throw) -> Self {
        let word = match throw.to {
            Position::Off => "off",
            Position::On => "on",
        };
        Self {
            what: "switch.throw",
            reason: Reason::Allowed,
            detail: format!(
                "{} {} is switched {word}",
                throw.kind,
                throw.name.escape_debug()
            ),
            alert: true,
            subject: json!({
                "kind": throw.kind,
                "name": throw.name,
                "tenant": throw.tenant,
                "to": word,
                "why": throw.reason,
            }),
        }
    }
}

/// An operation that is on disk, and has not taken effect yet.
#[derive(Debug)]
pub struct OpenOperation<'j> {
    journal: &'j Journal,
    operation: Operation,
    actor: String,
    tenant: String,
    decision: DecisionId,
}

impl Journal {
    /// Records that something is about to be done. Blocks for one flush of the disk.
    ///
    /// # Errors
    /// When it cannot be recorded; then it must not be done.
    pub fn operate(
        &self,
        operation: Operation,
        claims: &Verified<Claims>,
    ) -> Result<OpenOperation<'_>, RecordError> {
        let open = self.operation(operation, claims)?;
        open.write(Kind::Allowed, Verdict::Allow, "not_ended")?;
        Ok(open)
    }

    /// Records something that is done once, before it is done. Blocks for one flush of the disk.
    ///
    /// # Errors
    /// When it cannot be recorded; then it must not be done.
    pub fn note(
        &self,
        operation: Operation,
        claims: &Verified<Claims>,
    ) -> Result<DecisionId, RecordError> {
        let open = self.operation(operation, claims)?;
        open.write(Kind::Event, Verdict::Allow, "completed")?;
        Ok(open.decision)
    }

    /// Records that something was refused.
    ///
    /// # Errors
    /// When it cannot be recorded.
    pub fn refuse_operation(
        &self,
        operation: Operation,
        claims: &Verified<Claims>,
    ) -> Result<DecisionId, RecordError> {
        let open = self.operation(operation, claims)?;
        open.write(Kind::Denied, Verdict::Deny, open.operation.reason.as_str())?;
        Ok(open.decision)
    }

    /// Records that something was refused to somebody of whom nothing is proven.
    ///
    /// # Errors
    /// When it cannot be recorded.
    pub fn refuse_stranger(&self, operation: Operation) -> Result<DecisionId, RecordError> {
        self.refuse_several(operation, String::new())
    }

    /// Records that something was refused to several of a tenant, or of none who are not named.
    ///
    /// # Errors
    /// When it cannot be recorded.
    pub fn refuse_several(
        &self,
        operation: Operation,
        tenant: String,
    ) -> Result<DecisionId, RecordError> {
        let open = OpenOperation {
            journal: self,
            operation,
            actor: String::new(),
            tenant,
            decision: self.name()?,
        };
        open.write(Kind::Denied, Verdict::Deny, open.operation.reason.as_str())?;
        Ok(open.decision)
    }

    fn operation(
        &self,
        operation: Operation,
        claims: &Verified<Claims>,
    ) -> Result<OpenOperation<'_>, RecordError> {
        let claims = claims.get();
        Ok(OpenOperation {
            journal: self,
            operation,
            actor: claims.subject.clone(),
            tenant: claims.tenant.clone(),
            decision: self.name()?,
        })
    }
}

impl OpenOperation<'_> {
    /// Its name in the log.
    #[must_use]
    pub const fn decision(&self) -> DecisionId {
        self.decision
    }

    /// Adds what turned out meanwhile, for the record of its end.
    pub fn note(&mut self, name: &str, value: Value) {
        if let Value::Object(subject) = &mut self.operation.subject {
            subject.insert(name.to_owned(), value);
        }
    }

    /// Records how it ended. One that nobody closes is found, and closed as unknown, by the next start.
    ///
    /// # Errors
    /// When it cannot be recorded.
    pub fn close(self, done: Result<(), &str>) -> Result<DecisionId, RecordError> {
        let stop = done.err().unwrap_or("completed");
        self.write(Kind::Outcome, Verdict::Allow, stop)?;
        Ok(self.decision)
    }

    fn write(&self, kind: Kind, verdict: Verdict, stop: &str) -> Result<Receipt, RecordError> {
        let summary = entry::operation(&self.operation, &self.actor, verdict, stop);
        self.journal.write(Entry {
            at_ms: self.journal.clock.now_ms(),
            decision: self.decision,
            kind,
            agent: OPERATOR.to_owned(),
            tenant: self.tenant.clone(),
            summary: summary.map_err(RecordError::Encode)?,
            payload: None,
        })
    }
}
