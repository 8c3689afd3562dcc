//! What the votes on a call come to.

use std::collections::BTreeSet;

use casemate_answers::SignedAnswer;
use casemate_model::{ApprovalState, DecisionId, Digest};
use casemate_policy::ApprovalRules;
use serde::{Deserialize, Serialize};

use super::{Approver, Statement, Vote};

/// The role of those who may do without the consent of others.
pub const BREAK_GLASS: &str = "break-glass";
/// How far the clocks of approvers may be off, in milliseconds.
const MAX_SKEW_MS: u64 = 5 * 60_000;

/// A vote that counts, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CastVote {
    /// Who.
    pub user: String,
    /// By which key.
    pub key: String,
    /// What.
    pub vote: Vote,
    /// Why.
    pub reason: String,
    /// When it was signed, in milliseconds since 1970.
    pub at_ms: u64,
    /// Until when it counts, in milliseconds since 1970.
    pub until_ms: u64,
    /// Whether it does without the consent of others.
    pub break_glass: bool,
    /// The answer as it came, for whoever wants to verify it again.
    #[serde(flatten)]
    pub signed: SignedAnswer,
}

/// Why a vote does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VoteError {
    /// The call does not wait for one.
    #[error("the call does not wait for an answer any more: it is {0}")]
    Over(ApprovalState),
    /// It says nothing of this call.
    #[error("the statement is not about this call")]
    OtherCall,
    /// It is about what the call is not.
    #[error("the statement is about another form of this call: look at it again")]
    OtherAction,
    /// The one who asked.
    #[error("{0} asked for the call, or it is made in their name: somebody else has to answer")]
    Requester(String),
    /// Without a role that it takes.
    #[error("{user} has none of the roles that this takes: {}", .roles.join(", "))]
    Role {
        /// Who.
        user: String,
        /// The roles.
        roles: Vec<String>,
    },
    /// A second time.
    #[error("{0} has answered already")]
    Again(String),
    /// At a time that cannot be.
    #[error(
        "it was signed before the call was held, or later than now: set the clock right and sign again"
    )]
    Time,
}

/// What the votes on a call are counted by.
pub(crate) struct Question<'a> {
    pub(crate) decision: DecisionId,
    pub(crate) action: Digest,
    pub(crate) held_at_ms: u64,
    pub(crate) now_ms: u64,
    /// Those who may not answer.
    pub(crate) excluded: &'a [String],
    pub(crate) rules: &'a ApprovalRules,
}

/// The vote that a signed statement is, if it counts.
pub(crate) fn cast(
    question: &Question<'_>,
    votes: &[CastVote],
    statement: &Statement,
    approver: &Approver,
    answer: &SignedAnswer,
) -> Result<CastVote, VoteError> {
    let member = statement.about(question.decision);
    let member = member.ok_or(VoteError::OtherCall)?;
    if member.action != question.action {
        return Err(VoteError::OtherAction);
    }
    if question.excluded.contains(&approver.user) {
        return Err(VoteError::Requester(approver.user.clone()));
    }
    if !fits(approver, question.rules, statement.break_glass) {
        let roles = match statement.break_glass {
            true => vec![BREAK_GLASS.to_owned()],
            false => question.rules.roles.clone(),
        };
        let user = approver.user.clone();
        return Err(VoteError::Role { user, roles });
    }
    let same = |vote: &CastVote| vote.user == approver.user || vote.key == approver.key;
    if votes.iter().any(same) {
        return Err(VoteError::Again(approver.user.clone()));
    }
    let earliest = question.held_at_ms.saturating_sub(MAX_SKEW_MS);
    let latest = question.now_ms.saturating_add(MAX_SKEW_MS);
    if !(earliest..=latest).contains(&statement.at_ms) {
        return Err(VoteError::Time);
    }
    let most = question.rules.grant_ms;
    let grant_ms = statement.grant_ms.unwrap_or(most).min(most);
    Ok(CastVote {
        user: approver.user.clone(),
        key: approver.key.clone(),
        vote: statement.vote,
        reason: statement.reason.clone(),
        at_ms: statement.at_ms,
        until_ms: question.now_ms.saturating_add(grant_ms),
        break_glass: statement.break_glass,
        signed: answer.clone(),
    })
}

impl Question<'_> {
    /// What these votes come to, under the rules and with the approvers of now.
    pub(crate) fn count(&self, votes: &[CastVote], approvers: &[Approver]) -> ApprovalState {
        for vote in votes {
            match vote.vote {
                Vote::Deny => return ApprovalState::Denied,
                Vote::RequestChanges => return ApprovalState::ChangesRequested,
                Vote::Approve => {}
            }
        }
        let valid = self.valid(votes, approvers);
        let users: BTreeSet<_> = valid.iter().map(|vote| vote.user.as_str()).collect();
        let needed = usize::try_from(self.rules.needed.max(1)).unwrap_or(usize::MAX);
        match users.len() >= needed || valid.iter().any(|vote| vote.break_glass) {
            true => ApprovalState::Approved,
            false => ApprovalState::Pending,
        }
    }

    /// The consents that count now: of those who still may give them.
    pub(crate) fn valid<'v>(
        &self,
        votes: &'v [CastVote],
        approvers: &[Approver],
    ) -> Vec<&'v CastVote> {
        let counts = |vote: &&CastVote| {
            vote.vote == Vote::Approve
                && vote.until_ms > self.now_ms
                && !self.excluded.contains(&vote.user)
                && approvers.iter().any(|approver| {
                    approver.user == vote.user
                        && approver.key == vote.key
                        && fits(approver, self.rules, vote.break_glass)
                })
        };
        votes.iter().filter(counts).collect()
    }
}

/// Whether an approver has a role that this takes.
fn fits(approver: &Approver, rules: &ApprovalRules, break_glass: bool) -> bool {
    if break_glass {
        return approver.roles.contains(BREAK_GLASS);
    }
    rules.roles.is_empty() || rules.roles.iter().any(|role| approver.roles.contains(role))
}
