//! What people answer about calls that wait, and what becomes of those that nobody answers.

use std::sync::{Arc, PoisonError};

use casemate_answers::SignedAnswer;
use casemate_model::{ApprovalState, DecisionId, Reason, one_line};
use casemate_policy::{Claims, Verified};
use casemate_ports::SessionKeeper;
use casemate_store::{ApprovalRecord, ApprovalStore as _, StoreError};
use serde_json::json;
use tokio::sync::mpsc;

use super::{
    SessionStores, Sessions,
    ballots::{Ballot, MAX_TRIES, VOTES, question},
};
use crate::{
    Approver, CastVote, Denied, OpenAnswerError, Operation, RecordError, Refused, Statement,
    StatementError, VoteError,
    approval::{Kept, cast},
    limits::RETRY_AFTER_MS,
};

/// What became of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answered {
    /// The call.
    pub decision: DecisionId,
    /// How far it has come.
    pub state: ApprovalState,
}

/// Why an answer does not count.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// There is no such call that the caller could know of.
    #[error("no call {0} waits for an answer, or did")]
    Unknown(DecisionId),
    /// Nobody of those who may approve signed it.
    #[error("the signed answer does not count: {0}")]
    Signature(String),
    /// Nobody can tell now who signed it, or who may approve.
    #[error("nobody can tell now who may approve the call: {0}")]
    Approvers(String),
    /// It is no statement.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// It is one, and does not count for this call.
    #[error(transparent)]
    Vote(#[from] VoteError),
    /// Nobody can tell who may approve it.
    #[error("nobody can tell by which policy it is approved: {0}")]
    Policy(String),
    /// It cannot be read.
    #[error("the call cannot be read: {0}")]
    Content(String),
    /// It cannot be stored.
    #[error("the answer cannot be stored")]
    Store(#[from] StoreError),
    /// It cannot be recorded.
    #[error("the answer cannot be recorded")]
    Record(#[from] RecordError),
}

impl AnswerError {
    /// The reason, for machines.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Unknown(_) => Reason::InvalidCall,
            Self::Signature(_) | Self::Statement(_) | Self::Vote(_) => Reason::ApprovalInvalid,
            Self::Policy(_) => Reason::PolicyError,
            Self::Approvers(_) | Self::Content(_) | Self::Store(_) | Self::Record(_) => {
                Reason::RecordUnavailable
            }
        }
    }
}

impl From<OpenAnswerError> for AnswerError {
    fn from(error: OpenAnswerError) -> Self {
        match error {
            OpenAnswerError::NotCounted(why) => Self::Signature(why),
            OpenAnswerError::Unavailable(why) => Self::Approvers(why),
        }
    }
}

impl<K: SessionKeeper, P: SessionStores> Sessions<K, P> {
    /// Takes a signed answer to a call. Says how far the call has come with it: whoever hears `approved` lets it run, by
    /// [`Sessions::resume`].
    ///
    /// # Errors
    /// When it does not count, or cannot be recorded: then nothing has changed.
    pub async fn answer(
        &self,
        claims: &Verified<Claims>,
        decision: DecisionId,
        answer: &SignedAnswer,
    ) -> Result<Answered, AnswerError> {
        let taken = self.take(claims, decision, answer).await;
        if let Err(error) = &taken
            && !matches!(error, AnswerError::Record(_) | AnswerError::Unknown(_))
        {
            let reason = error.reason();
            let detail = match reason {
                Reason::RecordUnavailable => "the answer cannot be taken now",
                _ => "the answer does not count",
            };
            let operation = Operation {
                what: "approval.answer",
                reason,
                detail: detail.to_owned(),
                alert: false,
                subject: json!({
                    "decision": decision,
                    "form": answer.form(),
                    "why": one_line(error),
                }),
            };
            self.journal.refuse_operation(operation, claims)?;
        }
        taken
    }

    async fn take(
        &self,
        claims: &Verified<Claims>,
        decision: DecisionId,
        answer: &SignedAnswer,
    ) -> Result<Answered, AnswerError> {
        let (text, approver) = self.opened(answer).await?;
        let statement = Statement::parse(&text)?;
        for _ in 0..MAX_TRIES {
            let ballot = self.ballot_for(claims, decision).await?;
            let Ballot {
                mut record,
                owner,
                kept,
                mut votes,
            } = ballot;
            let now_ms = self.approval_now_ms();
            if record.state == ApprovalState::Pending && record.expires_at_ms <= now_ms {
                self.expire(decision).await;
                return Err(VoteError::Over(ApprovalState::Expired).into());
            }
            if record.state != ApprovalState::Pending {
                return Err(VoteError::Over(record.state).into());
            }
            let policy = self.policy(Some(&kept.route));
            let policy =
                policy.ok_or_else(|| AnswerError::Policy(self.no_policy(Some(&kept.route)).1))?;
            let approvers = self.approvers.all().map_err(AnswerError::Approvers)?;
            let excluded = kept.token.people();
            let question = question(&record, &excluded, &policy.approvals, now_ms);
            let vote = cast(&question, &votes, &statement, &approver, answer)?;
            let break_glass = vote.break_glass;
            votes.push(vote);
            let state = question.count(&votes, &approvers);
            if state == ApprovalState::Approved {
                let valid = question.valid(&votes, &approvers);
                let until_ms = valid.iter().map(|vote| vote.until_ms).min();
                record.expires_at_ms = until_ms.unwrap_or(now_ms);
            }
            record.state = state;
            record.changed_at_ms = now_ms;
            record.version += 1;
            let json = serde_json::to_vec(&votes);
            let json = json.map_err(|error| AnswerError::Content(error.to_string()))?;
            record.votes = Some(self.sealed(&owner, decision, VOTES, &json)?);
            let open = self.journal.operate(
                Operation {
                    what: "approval.answer",
                    reason: Reason::Allowed,
                    detail: format!("{} by {}", statement.vote.as_str(), approver.user),
                    alert: break_glass,
                    subject: json!({
                        "decision": decision,
                        "action": record.action,
                        "approver": approver.user,
                        "key": approver.key,
                        "form": answer.form(),
                        "vote": statement.vote,
                        "signed_at_ms": statement.at_ms,
                        "members": statement.members.len(),
                        "break_glass": break_glass,
                        "state": state,
                    }),
                },
                claims,
            )?;
            let store = self.stores.open(&owner.agent).await?;
            if !store.change_approval(&record).await? {
                open.close(Err("somebody else answered at the same time"))?;
                continue;
            }
            open.close(Ok(()))?;
            self.answered(&record, kept, &votes);
            return Ok(Answered { decision, state });
        }
        Err(AnswerError::Content("too many answers at once".to_owned()))
    }

    /// What an answer says, and whose it is. The store of approvers may have to wait for a lock: the other calls of this thread
    /// do not wait with it.
    async fn opened(&self, answer: &SignedAnswer) -> Result<(String, Approver), OpenAnswerError> {
        let (approvers, answer) = (Arc::clone(&self.approvers), answer.clone());
        let now_ms = self.clock.now_ms();
        let opening = tokio::task::spawn_blocking(move || approvers.open(&answer, now_ms));
        opening
            .await
            .map_err(|error| OpenAnswerError::Unavailable(error.to_string()))?
    }

    /// Does what follows from an answer that is stored.
    fn answered(&self, record: &ApprovalRecord, kept: Kept, votes: &[CastVote]) {
        match record.state {
            ApprovalState::Approved => {
                self.expires(record.decision, record.expires_at_ms);
                self.requests.tell(record.decision);
            }
            ApprovalState::Denied | ApprovalState::ChangesRequested => {
                let reason = match record.state {
                    ApprovalState::Denied => Reason::ApprovalDenied,
                    _ => Reason::ChangesRequested,
                };
                let last = votes.last();
                let user = last.map_or("", |vote| vote.user.as_str());
                let why = last.map_or("", |vote| vote.reason.as_str());
                let refused = self.refuse_kept(record, kept, reason, &format!("by {user}"));
                self.over(record.decision, refused, why);
            }
            _ => {}
        }
    }

    /// Records that a kept call does not run.
    fn refuse_kept(
        &self,
        record: &ApprovalRecord,
        kept: Kept,
        reason: Reason,
        detail: &str,
    ) -> Option<Refused> {
        let wait = kept.wait(record);
        let facts = kept.into_facts(record.decision, wait)?;
        Some(Denied::new(facts, reason, detail).record(&self.journal))
    }

    /// Notes that a call does not wait any more, and tells whoever waits for it. Why a person said no is told, and not recorded
    /// in clear: it is sealed with the votes.
    fn over(&self, decision: DecisionId, refused: Option<Refused>, why: &str) {
        self.waiting().remove(decision);
        self.requests.tell(decision);
        let Some(mut refused) = refused else {
            return;
        };
        if !why.is_empty()
            && let Some(ruling) = &mut refused.facts_mut().ruling
        {
            ruling.detail.push_str(": ");
            ruling.detail.push_str(why);
        }
        // If nobody listens, it is on disk.
        drop(self.refusals.0.send((decision, refused)));
    }

    /// The calls that waited and were refused, as they are: for one listener.
    #[must_use]
    pub fn take_refusals(&self) -> Option<mpsc::UnboundedReceiver<(DecisionId, Refused)>> {
        let mut listener = self
            .refusals
            .1
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        listener.take()
    }

    /// Takes a call back that waits, or was approved and has not run.
    ///
    /// # Errors
    /// When there is none, it waits no more, or it cannot be recorded that it is taken back.
    pub async fn cancel_waiting(
        &self,
        claims: &Verified<Claims>,
        decision: DecisionId,
    ) -> Result<(), AnswerError> {
        let ballot = self.ballot_for(claims, decision).await?;
        let state = ballot.record.state;
        if !matches!(state, ApprovalState::Pending | ApprovalState::Approved) {
            return Err(VoteError::Over(state).into());
        }
        // Not only whoever asked may: it is on record who does.
        let why = format!("taken back by {}", claims.get().subject);
        let open = self.journal.operate(
            Operation {
                what: "approval.cancel",
                reason: Reason::Allowed,
                detail: why.clone(),
                alert: false,
                subject: json!({
                    "decision": decision,
                    "action": ballot.record.action,
                }),
            },
            claims,
        )?;
        let (to, reason) = (ApprovalState::Cancelled, Reason::ApprovalCancelled);
        if !self.end_waiting(decision, to, reason, &why).await {
            open.close(Err("it waits no more"))?;
            return Err(VoteError::Over(ApprovalState::Consumed).into());
        }
        open.close(Ok(()))?;
        Ok(())
    }

    /// Ends a call whose time is over. Nothing if it has gone on meanwhile.
    pub async fn expire(&self, decision: DecisionId) {
        let Ok(ballot) = self.ballot(decision).await else {
            // It is looked at again, not for ever at once.
            let later = self.approval_now_ms().saturating_add(RETRY_AFTER_MS);
            return self.expires(decision, later);
        };
        let record = ballot.record;
        if record.expires_at_ms > self.approval_now_ms() {
            return self.expires(decision, record.expires_at_ms);
        }
        let why = match record.state {
            ApprovalState::Pending => "nobody answered in time",
            ApprovalState::Approved => "it was approved, and could not run in time",
            // It runs, and says itself when it has ended.
            ApprovalState::Consumed => return self.expires(decision, u64::MAX),
            _ => return self.waiting().remove(decision),
        };
        let (to, reason) = (ApprovalState::Expired, Reason::ApprovalExpired);
        self.end_waiting(decision, to, reason, why).await;
    }

    /// Ends a call that waits in favour of another.
    pub(super) async fn supersede(&self, other: DecisionId, by: DecisionId) {
        let why = format!("{by} came in its place, under the same idempotency key");
        let (to, reason) = (ApprovalState::Superseded, Reason::ApprovalInvalid);
        self.end_waiting(other, to, reason, &why).await;
    }

    /// Ends a call that waits, or was approved and has not run. Says whether it did.
    pub(super) async fn end_waiting(
        &self,
        decision: DecisionId,
        to: ApprovalState,
        reason: Reason,
        why: &str,
    ) -> bool {
        let changed = self.change_waiting(decision, |record| {
            let waits = matches!(
                record.state,
                ApprovalState::Pending | ApprovalState::Approved
            );
            record.state = to;
            waits
        });
        if !matches!(changed.await, Ok(true)) {
            return false;
        }
        let refused = match self.ballot(decision).await {
            Ok(ballot) => self.refuse_kept(&ballot.record, ballot.kept, reason, why),
            Err(_) => None,
        };
        self.over(decision, refused, "");
        true
    }
}
