//! After a restart: the calls that earlier processes left waiting.

use std::collections::HashSet;

use casemate_ledger::Kind;
use casemate_model::{ApprovalState, DecisionId};
use casemate_ports::{Owner, SessionKeeper};
use casemate_store::{ApprovalRecord, ApprovalStore as _};

use super::{AnswerError, SessionError, SessionStores, Sessions};
use crate::{Held, entry::REQUEST, limits::APPROVAL_MEMORY_MS};

/// A call that an earlier process left waiting.
#[derive(Clone, Debug)]
pub struct LeftWaiting {
    /// The call.
    pub decision: DecisionId,
    /// Whose.
    pub owner: Owner,
    /// Whether it was approved, and can run.
    pub approved: bool,
}

impl<K: SessionKeeper, P: SessionStores> Sessions<K, P> {
    /// Finds the calls that earlier processes left waiting. One that was kept and not recorded is recorded now; one that was about to
    /// run, and of which no record says that it did, can run still. Reads the whole log if there are any. Call it once, before the first
    /// call and after [`Journal::recover`](crate::Journal::recover).
    ///
    /// # Errors
    /// When a store or the log cannot be read or written.
    pub async fn take_up_waiting(&self) -> Result<Vec<LeftWaiting>, SessionError> {
        let found = self.open_approvals().await?;
        let names: HashSet<_> = found.iter().map(|(record, _)| record.decision).collect();
        let said = match names.is_empty() {
            true => HashSet::new(),
            false => self.journal.said_of(&names)?,
        };
        let mut left = Vec::new();
        for (record, owner) in found {
            let decision = record.decision;
            self.waits(decision, owner.clone(), record.expires_at_ms);
            if said.contains(&(decision, Kind::Allowed)) {
                // It ran, or nobody knows.
                self.change_waiting(decision, |record| {
                    record.state = ApprovalState::Consumed;
                    record.ended = true;
                    true
                })
                .await?;
                self.waiting().remove(decision);
                continue;
            }
            if !said.contains(&(decision, Kind::Held)) {
                self.record_held(&record).await?;
            }
            if record.tool == REQUEST {
                // Its call has ended with the process that ran it.
                self.end_request(decision).await;
                continue;
            }
            if record.state == ApprovalState::Consumed {
                self.change_waiting(decision, |record| {
                    record.state = ApprovalState::Approved;
                    true
                })
                .await?;
            }
            left.push(LeftWaiting {
                decision,
                owner,
                approved: record.state != ApprovalState::Pending,
            });
        }
        Ok(left)
    }

    async fn open_approvals(&self) -> Result<Vec<(ApprovalRecord, Owner)>, SessionError> {
        let mut found = Vec::new();
        for agent in self.stores.agents().await? {
            let Some(store) = self.stores.find(&agent).await? else {
                continue;
            };
            let long_ago = self.clock.now_ms().saturating_sub(APPROVAL_MEMORY_MS);
            store.forget_approvals(long_ago).await?;
            for record in store.open_approvals().await? {
                self.approval_time(record.changed_at_ms);
                let owner = Owner {
                    tenant: record.tenant.clone(),
                    agent: agent.clone(),
                };
                found.push((record, owner));
            }
        }
        Ok(found)
    }

    /// Records that a call waits whose process died before it could.
    async fn record_held(&self, record: &ApprovalRecord) -> Result<(), SessionError> {
        let ballot = self.ballot(record.decision).await;
        let ballot = ballot.map_err(|error| match error {
            AnswerError::Store(error) => SessionError::Store(error),
            other => SessionError::Invalid(other.to_string()),
        })?;
        let wait = ballot.kept.wait(record);
        let Some(facts) = ballot.kept.into_facts(record.decision, wait) else {
            let why = format!("the waiting call {} cannot be read", record.decision);
            return Err(SessionError::Invalid(why));
        };
        match Held::new(facts).record(&self.journal) {
            Ok(_) => Ok(()),
            Err(refused) => {
                let ruling = refused.facts().ruling.as_ref();
                let why = ruling.map_or("", |ruling| &ruling.detail);
                Err(SessionError::Invalid(why.to_owned()))
            }
        }
    }
}
