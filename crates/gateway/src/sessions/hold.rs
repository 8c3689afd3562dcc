//! Calls that wait for a person: how one is kept, and how it goes on when it was approved.

use std::sync::Arc;

use casemate_authority::Epoch;
use casemate_model::{ApprovalState, DecisionId, Reason, RunMode, Trigger, one_line};
use casemate_policy::{Approval, Claims, RoutePolicy, Verified};
use casemate_ports::{CallIo, Owner, SessionKeeper};
use casemate_store::{
    ApprovalRecord, ApprovalStore as _, Idempotency as _, MAX_SEALED_BYTES, StoreError,
};
use serde_json::json;
use tokio::sync::oneshot;

use super::{
    NewCall, SessionStores, Sessions, Told,
    ballots::{Ballot, REQUEST, question},
};
use crate::{
    Denied, Facts, Held, NotRenewed, Operation, Progress, Proposed, Refused, Wait,
    approval::{Kept, ToKeep},
    claim::{Standing, claim},
    limits::MAX_WAITING,
    stored::replay,
};

/// A call that waits for a person, for whoever asked for it.
#[derive(Debug)]
pub struct Waiting {
    /// What is known of it.
    pub facts: Box<Facts>,
    /// Until when it waits, in milliseconds since 1970.
    pub expires_at_ms: u64,
}

/// How a call comes to be, beside what it asks for.
#[derive(Clone, Copy, Debug)]
pub struct Demand {
    /// What made the agent act.
    pub trigger: Trigger,
    /// How much may happen without a person, if less than the profile says.
    pub mode: Option<RunMode>,
    /// Whether it gets a standard input, which nobody could approve.
    pub has_stdin: bool,
}

impl Default for Demand {
    fn default() -> Self {
        Self {
            trigger: Trigger::Interactive,
            mode: None,
            has_stdin: false,
        }
    }
}

/// What an approved call has that others have not.
pub(super) struct Approved {
    pub(super) approval: Approval,
    pub(super) mode: RunMode,
    /// When the call began, by the switches: what was off meanwhile stops it, also when it is on again.
    pub(super) since: Epoch,
}

impl<K: SessionKeeper, P: SessionStores> Sessions<K, P> {
    /// Keeps a call until a person has answered. It uses nothing meanwhile.
    pub(super) async fn hold(&self, held: Held, keep: &ToKeep, policy: &RoutePolicy) -> Told {
        let facts = held.facts();
        if let Some(action) = facts.action_hash {
            let decision = facts.decision;
            // What ran under its key, or cannot, is nothing to ask a person about.
            match claim(facts, action, &self.journal, &self.stores).await {
                Standing::Free => {}
                Standing::Claimed(store) => drop(store.release(decision).await),
                Standing::Done(stored) => {
                    return match replay(held.into_facts(), stored, &self.journal) {
                        Ok(released) => Told::Released(released),
                        Err(refused) => Told::Refused(refused),
                    };
                }
                Standing::Denied(reason, why) => {
                    let denied = Denied::new(held.into_facts(), reason, why);
                    return Told::Refused(denied.record(&self.journal));
                }
            }
        }
        match self.keep(held, keep, policy).await {
            Ok(waiting) => Told::Held(Box::new(waiting)),
            Err(refused) => Told::Refused(refused),
        }
    }

    pub(super) async fn keep(
        &self,
        mut held: Held,
        keep: &ToKeep,
        policy: &RoutePolicy,
    ) -> Result<Waiting, Refused> {
        let facts = held.facts();
        let owner = Owner {
            tenant: facts.tenant().to_owned(),
            agent: facts.ask.agent.clone(),
        };
        let deny = |held: Held, reason, why: String| {
            Err(Denied::new(held.into_facts(), reason, why).record(&self.journal))
        };
        let (store, mut record) = match self.prepare(facts, &owner, keep, policy).await {
            Ok(prepared) => prepared,
            Err((reason, why)) => return deny(held, reason, why),
        };
        if let Err(error) = store.add_approval(&record).await {
            return deny(held, Reason::RecordUnavailable, one_line(&error));
        }
        held.waits(Wait {
            action: record.action,
            until_ms: record.expires_at_ms,
            trigger: keep.demand.trigger,
        });
        // Nobody is asked before that is on disk. Whoever dies in between has kept the call: the next start records it.
        let pending = match held.record(&self.journal) {
            Ok(pending) => pending,
            Err(refused) => {
                record.state = ApprovalState::Superseded;
                record.version = 1;
                // If that cannot be either, the next start has it recorded, and it waits.
                drop(store.change_approval(&record).await);
                return Err(refused);
            }
        };
        self.waits(record.decision, owner, record.expires_at_ms);
        Ok(Waiting {
            facts: pending.into_facts(),
            expires_at_ms: record.expires_at_ms,
        })
    }

    /// Everything that is kept of a call that can wait.
    async fn prepare(
        &self,
        facts: &Facts,
        owner: &Owner,
        keep: &ToKeep,
        policy: &RoutePolicy,
    ) -> Result<(P::Store, ApprovalRecord), (Reason, String)> {
        if self.waiting().len() >= MAX_WAITING {
            let why = format!("{MAX_WAITING} calls wait for approval, and there may not be more");
            return Err((Reason::Overloaded, why));
        }
        if keep.demand.has_stdin || facts.ask.command.terminal.is_some() {
            let why = "the call needs approval, and what it would read from a person or a pipe cannot be approved: send it as a file";
            return Err((Reason::InvalidCall, why.to_owned()));
        }
        let spent = self.spend_approval(facts, policy);
        spent.map_err(|why| (Reason::BudgetExhausted, why))?;
        let too_large = || {
            let why = "the call needs approval, and its input files are too large to wait for it";
            (Reason::InvalidCall, why.to_owned())
        };
        let kept = Kept::new(facts, keep).map_err(|_| too_large())?;
        let json = kept.as_ref().map(serde_json::to_vec);
        let (Some(kept), Some(Ok(json)), Some(action)) = (kept, json, facts.action_hash) else {
            let why = "the call cannot be put into the form in which it would wait";
            return Err((Reason::RecordUnavailable, why.to_owned()));
        };
        if json.len() > MAX_SEALED_BYTES {
            return Err(too_large());
        }
        let failed = |error: StoreError| (Reason::RecordUnavailable, one_line(&error));
        let store = self.stores.open(&owner.agent).await.map_err(failed)?;
        let (tenant, tool) = (owner.tenant.clone(), facts.ask.tool.clone());
        let key = facts.ask.given_key().cloned();
        let decision = facts.decision;
        if let Some(key) = &key {
            let other = store.approval_of_key(&tenant, &tool, key).await;
            match other.map_err(failed)? {
                None => {}
                Some(other) if other.action == action => {
                    let why = format!("{} waits for approval", other.decision);
                    return Err((Reason::CallInFlight, why));
                }
                Some(other) => self.supersede(other.decision, decision).await,
            }
        }
        let now_ms = self.approval_now_ms();
        let last_ms = self.renewal.until_ms(&kept.token, keep.by);
        let request = self.sealed(owner, decision, REQUEST, &json);
        let record = ApprovalRecord {
            decision,
            tenant,
            tool,
            key,
            action,
            state: ApprovalState::Pending,
            held_at_ms: now_ms,
            expires_at_ms: now_ms.saturating_add(policy.approvals.wait_ms).min(last_ms),
            changed_at_ms: now_ms,
            ended: false,
            version: 0,
            request: Some(request.map_err(failed)?),
            votes: None,
        };
        Ok((store, record))
    }

    /// Runs a call that was approved. `told` is [`Told::Later`] when it cannot run yet, and is approved still.
    pub async fn resume(
        &self,
        decision: DecisionId,
        progress: Arc<Progress>,
        io: CallIo,
        told: oneshot::Sender<Told>,
    ) {
        if self.goes_on_itself(decision) {
            drop(told.send(Told::Later(decision)));
            return;
        }
        let Some((call, approved)) = self.approved(decision, progress).await else {
            drop(told.send(Told::Later(decision)));
            return;
        };
        let (tell, heard) = oneshot::channel();
        let life = Box::pin(self.live(call, io, tell, Some(approved)));
        let pass_on = async {
            if let Ok(answer) = heard.await {
                drop(told.send(self.settle(decision, answer).await));
            }
        };
        tokio::join!(life, pass_on);
    }

    /// An approved call, ready to be decided on again.
    pub(super) async fn approved(
        &self,
        decision: DecisionId,
        progress: Arc<Progress>,
    ) -> Option<(NewCall, Approved)> {
        let Ballot {
            record,
            kept,
            votes,
            ..
        } = self.ballot(decision).await.ok()?;
        if record.state != ApprovalState::Approved {
            return None;
        }
        let now_ms = self.approval_now_ms();
        if record.expires_at_ms <= now_ms {
            self.expire(decision).await;
            return None;
        }
        let claims = match self.renewal.renew(&kept.token, kept.by) {
            Ok(claims) => claims,
            Err(gone @ NotRenewed::Gone) => {
                let (to, reason) = (ApprovalState::Superseded, Reason::ExpiredToken);
                self.end_waiting(decision, to, reason, &gone.to_string())
                    .await;
                return None;
            }
            // It stays approved, for as long as consent lives.
            Err(NotRenewed::CannotTell) => return None,
        };
        let policy = self.policy(Some(&kept.route))?;
        let approvers = self.approvers.all().ok()?;
        let excluded = kept.token.people();
        let question = question(&record, &excluded, &policy.approvals, now_ms);
        let valid = question.valid(&votes, &approvers);
        let first = valid.first().map(|vote| vote.user.clone());
        let until_ms = valid.iter().map(|vote| vote.until_ms).min();
        let (Some(approver), Some(expires_at_ms), ApprovalState::Approved) =
            (first, until_ms, question.count(&votes, &approvers))
        else {
            // Somebody who consented may not approve any more: others have to.
            self.reopen(&record, policy.approvals.wait_ms, &claims)
                .await;
            return None;
        };
        let approved = Approved {
            approval: Approval {
                action_hash: record.action,
                approver,
                expires_at_ms,
            },
            mode: policy.modes.of(kept.trigger, Some(kept.mode)),
            since: Epoch::new(kept.epoch),
        };
        let demand = Demand {
            trigger: kept.trigger,
            mode: Some(kept.mode),
            has_stdin: false,
        };
        let (at_ms, wait, route) = (kept.at_ms, kept.wait(&record), kept.route.clone());
        let (ask, inputs) = kept.into_ask().ok()?;
        let (clock, entropy) = (self.clock.as_ref(), self.entropy.as_ref());
        let call = NewCall {
            proposed: Proposed::again((decision, at_ms), wait, ask, inputs, clock, entropy).ok()?,
            claims,
            route: Some(route),
            demand,
            progress,
        };
        Some((call, approved))
    }

    /// Whether a call is approved, and has not run.
    pub async fn is_approved(&self, decision: DecisionId) -> bool {
        let record = self.approval_record(decision).await;
        record.is_ok_and(|found| {
            found.is_some_and(|(record, _)| record.state == ApprovalState::Approved)
        })
    }

    /// Uses an approval up, before anything runs: whoever died after that had recorded the call, or it starts again.
    pub(super) async fn consume(&self, decision: DecisionId) -> Result<(), String> {
        let changed = self.change_waiting(decision, |record| {
            let is_approved = record.state == ApprovalState::Approved;
            record.state = ApprovalState::Consumed;
            is_approved
        });
        match changed.await {
            Ok(true) => Ok(()),
            Ok(false) => Err("the approval was used already, or taken back".to_owned()),
            Err(error) => Err(one_line(&error)),
        }
    }

    /// Notes what became of an approved call.
    async fn settle(&self, decision: DecisionId, answer: Told) -> Told {
        let unrecorded = matches!(&answer, Told::Refused(refused) if refused.facts().reason() == Reason::RecordUnavailable);
        if unrecorded || matches!(answer, Told::Later(_) | Told::Withdrawn(_)) {
            // Nothing ran, as nothing was recorded.
            let back = self.change_waiting(decision, |record| {
                let was_used = record.state == ApprovalState::Consumed && !record.ended;
                record.state = ApprovalState::Approved;
                was_used
            });
            // If that cannot be, the next start does it.
            drop(back.await);
            return Told::Later(decision);
        }
        let ran = matches!(answer, Told::Released(_) | Told::Unrecorded(..));
        let ended = self.change_waiting(decision, |record| {
            record.ended = true;
            if !ran && record.state == ApprovalState::Approved {
                record.state = ApprovalState::Superseded;
            }
            true
        });
        drop(ended.await);
        self.waiting().remove(decision);
        answer
    }

    /// Whoever consented may not any more: the call waits again.
    async fn reopen(&self, record: &ApprovalRecord, wait_ms: u64, claims: &Verified<Claims>) {
        let operation = Operation {
            what: "approval.reopen",
            reason: Reason::ApprovalInvalid,
            detail: "somebody who consented may not approve any more: the call waits again"
                .to_owned(),
            alert: false,
            subject: json!({ "decision": record.decision, "action": record.action }),
        };
        if self.journal.refuse_operation(operation, claims).is_err() {
            // It is tried again, and until then it does not run.
            return;
        }
        let until_ms = record.held_at_ms.saturating_add(wait_ms);
        let changed = self.change_waiting(record.decision, |record| {
            let was = record.state == ApprovalState::Approved;
            record.state = ApprovalState::Pending;
            record.expires_at_ms = until_ms;
            was
        });
        drop(changed.await);
        self.expires(record.decision, until_ms);
    }
}
