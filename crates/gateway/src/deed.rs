//! What is done with a session beside calls: decided, on disk before it happens, and closed after it.

use casemate_ledger::{Entry, Kind};
use casemate_model::{DecisionId, Digest, OutcomeStatus, Reason, SideEffect, Text};
use casemate_policy::{Claims, Decision, Inputs, Verified};
use casemate_ports::Owner;
use serde::Serialize;

use crate::{
    Journal, Lodging, RecordError, Terms, entry, journal::content_aad, open::Guard,
    proposed::trace_of,
};

/// Who asks for something with a session.
#[derive(Clone, Debug)]
pub struct Caller {
    /// What is proven of them.
    pub claims: Verified<Claims>,
    /// The agent in whose name they ask.
    pub agent: String,
}

impl Caller {
    /// Whose sessions they may use.
    #[must_use]
    pub fn owner(&self) -> Owner {
        Owner {
            tenant: self.claims.get().tenant.clone(),
            agent: self.agent.clone(),
        }
    }
}

/// What was done, and under which name that is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done<T> {
    /// The name.
    pub decision: DecisionId,
    /// What came of it.
    pub value: T,
}

/// What a deed is about. Sealed in its record: names of files may be personal.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Subject {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) thread: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) path: Option<Text>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sha256: Option<Digest>,
    /// What went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
}

/// Something to be done with a session.
#[derive(Debug)]
pub(crate) struct Deed {
    pub(crate) decision: DecisionId,
    pub(crate) trace_id: String,
    pub(crate) caller: Caller,
    pub(crate) access: &'static str,
    pub(crate) side_effect: SideEffect,
    /// What its session's profile says of records, if that is known.
    pub(crate) terms: Option<Terms>,
    pub(crate) inputs: Option<Inputs>,
    pub(crate) ruling: Decision,
    pub(crate) lodging: Lodging,
    pub(crate) subject: Subject,
}

/// How a deed ended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    /// It was done.
    Done,
    /// It was not, for this reason.
    Failed(Reason),
}

impl End {
    pub(crate) const fn status(self) -> OutcomeStatus {
        match self {
            Self::Done => OutcomeStatus::Succeeded,
            Self::Failed(_) => OutcomeStatus::Failed,
        }
    }

    pub(crate) const fn stop_reason(self) -> &'static str {
        match self {
            Self::Done => "completed",
            Self::Failed(reason) => reason.as_str(),
        }
    }
}

/// A deed that is on disk and has not ended. Dropped, it is closed as unknown.
pub(crate) struct OpenDeed<'j> {
    pub(crate) deed: Deed,
    journal: &'j Journal,
    /// Not for what is recorded once.
    guard: Option<Guard<'j>>,
}

impl OpenDeed<'_> {
    /// Records how it ended.
    pub(crate) fn close(mut self, end: End) -> Result<DecisionId, RecordError> {
        let decision = self.deed.decision;
        if let Some(guard) = &mut self.guard {
            self.journal
                .append_deed(&self.deed, Kind::Outcome, Some(end))?;
            guard.disarm();
        }
        Ok(decision)
    }
}

impl Journal {
    /// A name for something that is done, and its trace.
    pub(crate) fn deed_name(&self) -> Result<(DecisionId, String), RecordError> {
        let decision = self.name()?;
        Ok((decision, trace_of(decision)))
    }

    /// Writes an allowed deed to disk. What only reads is recorded once, before it.
    pub(crate) fn begin(&self, deed: Deed) -> Result<OpenDeed<'_>, RecordError> {
        let kind = match deed.side_effect {
            SideEffect::Read => Kind::Event,
            _ => Kind::Allowed,
        };
        self.append_deed(&deed, kind, None)?;
        let owner = deed.caller.owner();
        let guard = (kind == Kind::Allowed)
            .then(|| Guard::new(self, deed.decision, &owner.agent, &owner.tenant));
        Ok(OpenDeed {
            deed,
            journal: self,
            guard,
        })
    }

    /// Writes to disk that a deed was refused.
    pub(crate) fn refuse(&self, deed: &Deed) -> Result<(), RecordError> {
        self.append_deed(deed, Kind::Denied, None)
    }

    fn append_deed(&self, deed: &Deed, kind: Kind, end: Option<End>) -> Result<(), RecordError> {
        let summary = entry::deed(deed, end).map_err(RecordError::Encode)?;
        if kind != Kind::Denied
            && let Some(field) = entry::missing_field(deed.terms.as_ref(), &summary)
        {
            return Err(RecordError::MissingField(field.to_owned()));
        }
        let content = entry::deed_content(deed).map_err(RecordError::Encode)?;
        let owner = deed.caller.owner();
        let aad = content_aad(deed.decision, kind);
        let sealed = self.keys.seal(&owner.agent, &aad, &content);
        self.write(Entry {
            at_ms: self.clock.now_ms(),
            decision: deed.decision,
            kind,
            agent: owner.agent,
            tenant: owner.tenant,
            summary,
            payload: Some(sealed.map_err(RecordError::Seal)?),
        })?;
        Ok(())
    }

    /// Records that a session ended without being asked to.
    pub(crate) fn session_ended(
        &self,
        owner: &Owner,
        lodging: Lodging,
        policy: Option<Digest>,
        why: &str,
    ) -> Result<(), RecordError> {
        let (decision, trace_id) = self.deed_name()?;
        let summary = entry::session_ending(&trace_id, lodging, policy, why);
        self.write(Entry {
            at_ms: self.clock.now_ms(),
            decision,
            kind: Kind::Event,
            agent: owner.agent.clone(),
            tenant: owner.tenant.clone(),
            summary: summary.map_err(RecordError::Encode)?,
            payload: None,
        })?;
        Ok(())
    }
}
