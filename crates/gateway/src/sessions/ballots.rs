//! The calls that wait, as they are kept: read, changed by one at a time, and known without looking.

use std::sync::{MutexGuard, PoisonError, atomic::Ordering};

use casemate_model::{ApprovalState, DecisionId, Sealed, one_line};
use casemate_policy::{ApprovalRules, Claims, Verified};
use casemate_ports::{Owner, SessionKeeper};
use casemate_store::{ApprovalRecord, ApprovalStore as _, StoreError};

use super::{AnswerError, SessionStores, Sessions, waits::Waits};
use crate::{
    CastVote,
    approval::{Kept, Question},
    journal::aad,
};

/// How often a change is tried again that another one came before.
pub(super) const MAX_TRIES: usize = 64;

/// What the content of a waiting call, and of its votes, is bound to beside its decision.
pub(super) const REQUEST: &str = "approval";
pub(super) const VOTES: &str = "votes";

/// A waiting call with everything that was said about it.
pub(super) struct Ballot {
    pub(super) record: ApprovalRecord,
    pub(super) owner: Owner,
    pub(super) kept: Kept,
    pub(super) votes: Vec<CastVote>,
}

impl<K: SessionKeeper, P: SessionStores> Sessions<K, P> {
    pub(super) fn sealed(
        &self,
        owner: &Owner,
        decision: DecisionId,
        what: &str,
        content: &[u8],
    ) -> Result<Sealed, StoreError> {
        let aad = aad(decision, what);
        self.journal.keys.seal(&owner.agent, &aad, content)
    }

    pub(super) fn unsealed<T: serde::de::DeserializeOwned>(
        &self,
        owner: &Owner,
        decision: DecisionId,
        what: &str,
        sealed: &Sealed,
    ) -> Result<T, String> {
        let aad = aad(decision, what);
        let json = self.journal.keys.unseal(&owner.agent, &aad, sealed);
        let json = json.map_err(|error| one_line(&error))?;
        serde_json::from_slice(&json).map_err(|error| error.to_string())
    }

    /// Changes a record as `change` does, if that says that it may, and tries again while others come before.
    pub(super) async fn change_waiting(
        &self,
        decision: DecisionId,
        change: impl Fn(&mut ApprovalRecord) -> bool,
    ) -> Result<bool, StoreError> {
        for _ in 0..MAX_TRIES {
            let Some((mut record, owner)) = self.approval_record(decision).await? else {
                return Ok(false);
            };
            if !change(&mut record) {
                return Ok(false);
            }
            record.version += 1;
            record.changed_at_ms = self.approval_now_ms();
            let store = self.stores.open(&owner.agent).await?;
            if store.change_approval(&record).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(super) async fn approval_record(
        &self,
        decision: DecisionId,
    ) -> Result<Option<(ApprovalRecord, Owner)>, StoreError> {
        let known = self.waiting_owner(decision).map(|owner| owner.agent);
        let agents = match known {
            Some(agent) => vec![agent],
            None => self.stores.agents().await?,
        };
        for agent in agents {
            let Some(store) = self.stores.find(&agent).await? else {
                continue;
            };
            if let Some(record) = store.approval(decision).await? {
                let tenant = record.tenant.clone();
                return Ok(Some((record, Owner { tenant, agent })));
            }
        }
        Ok(None)
    }

    pub(super) async fn ballot(&self, decision: DecisionId) -> Result<Ballot, AnswerError> {
        let (record, owner) = self.found(decision).await?;
        self.open_ballot(record, owner)
    }

    async fn found(&self, decision: DecisionId) -> Result<(ApprovalRecord, Owner), AnswerError> {
        let found = self.approval_record(decision).await?;
        found.ok_or(AnswerError::Unknown(decision))
    }

    fn open_ballot(&self, record: ApprovalRecord, owner: Owner) -> Result<Ballot, AnswerError> {
        let request = record.request.as_ref();
        let request = request.ok_or_else(|| AnswerError::Content("it was not kept".to_owned()))?;
        let kept = self
            .unsealed(&owner, record.decision, REQUEST, request)
            .map_err(AnswerError::Content)?;
        let votes = self.votes(&record, &owner)?;
        Ok(Ballot {
            record,
            owner,
            kept,
            votes,
        })
    }

    pub(super) fn votes(
        &self,
        record: &ApprovalRecord,
        owner: &Owner,
    ) -> Result<Vec<CastVote>, AnswerError> {
        match &record.votes {
            None => Ok(Vec::new()),
            Some(sealed) => self
                .unsealed(owner, record.decision, VOTES, sealed)
                .map_err(AnswerError::Content),
        }
    }

    /// As long as it is of the caller's tenant and within its bounds: another is as unknown as one that never was.
    pub(super) async fn ballot_for(
        &self,
        claims: &Verified<Claims>,
        decision: DecisionId,
    ) -> Result<Ballot, AnswerError> {
        let (record, owner) = self.found(decision).await?;
        self.ballot_of(claims, record, owner)
    }

    /// The same of a record that was read.
    pub(super) fn ballot_of(
        &self,
        claims: &Verified<Claims>,
        record: ApprovalRecord,
        owner: Owner,
    ) -> Result<Ballot, AnswerError> {
        let ballot = self.open_ballot(record, owner)?;
        let (claims, owner) = (claims.get(), &ballot.owner);
        let thread = self.thread_of(owner, ballot.kept.call.within.as_ref());
        let is_within = claims.bounds.has_agent(&owner.agent)
            && claims.bounds.has_tool(&ballot.record.tool)
            && claims.bounds.has_thread(thread.as_deref());
        match owner.tenant == claims.tenant && is_within && self.is_asked(&ballot.record) {
            true => Ok(ballot),
            false => Err(AnswerError::Unknown(ballot.record.decision)),
        }
    }

    /// Whether people may be asked about a call that waits: it is on record that it does.
    pub(super) fn is_asked(&self, record: &ApprovalRecord) -> bool {
        record.state != ApprovalState::Pending || self.waiting_owner(record.decision).is_some()
    }

    /// Whose a call is that waits, or was approved and has not ended.
    #[must_use]
    pub fn waiting_owner(&self, decision: DecisionId) -> Option<Owner> {
        self.waiting().owner(decision)
    }

    /// How many calls wait for a person, or were approved and have not ended.
    #[must_use]
    pub fn waiting_count(&self) -> usize {
        self.waiting().len()
    }

    /// The next call whose time will be over, and when, in milliseconds since 1970.
    #[must_use]
    pub fn next_expiry(&self) -> Option<(DecisionId, u64)> {
        self.waiting().next()
    }

    /// Waits until [`Sessions::next_expiry`] may be another.
    pub async fn waiting_changed(&self) {
        self.waiting_changed.notified().await;
    }

    /// The time, as far as approvals are concerned: it never goes back, so that no consent lives longer.
    pub(super) fn approval_now_ms(&self) -> u64 {
        self.approval_time(self.clock.now_ms())
    }

    pub(super) fn approval_time(&self, now_ms: u64) -> u64 {
        let before = self.latest_ms.fetch_max(now_ms, Ordering::Relaxed);
        before.max(now_ms)
    }

    pub(super) fn waits(&self, decision: DecisionId, owner: Owner, expires_at_ms: u64) {
        self.waiting().add(decision, owner, expires_at_ms);
        self.waiting_changed.notify_one();
    }

    pub(super) fn expires(&self, decision: DecisionId, at_ms: u64) {
        self.waiting().expires(decision, at_ms);
        self.waiting_changed.notify_one();
    }

    pub(super) fn waiting(&self) -> MutexGuard<'_, Waits> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the votes on a record are counted by.
pub(super) const fn question<'a>(
    record: &ApprovalRecord,
    excluded: &'a [String],
    rules: &'a ApprovalRules,
    now_ms: u64,
) -> Question<'a> {
    Question {
        decision: record.decision,
        action: record.action,
        held_at_ms: record.held_at_ms,
        now_ms,
        excluded,
        rules,
    }
}
