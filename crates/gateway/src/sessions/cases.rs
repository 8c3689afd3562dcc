//! Approvals for people: lists of them, and one with its call.

use casemate_answers::SignedAnswer;
use casemate_model::{ApprovalState, DecisionId, Digest, Text};
use casemate_policy::{Check, Claims, Verified};
use casemate_ports::{Owner, SessionKeeper};
use casemate_store::{ApprovalRecord, ApprovalStore as _};
use serde::Serialize;

use super::{AnswerError, SessionStores, Sessions, ballots::Ballot};
use crate::{CastVote, Vote, limits::MAX_LISTED};

/// An approval for people, without the call.
#[derive(Debug, Serialize)]
pub struct ApprovalView {
    /// The call.
    pub decision: DecisionId,
    /// The agent that asked.
    pub agent: String,
    /// Its tool.
    pub tool: String,
    /// How far it has come.
    pub state: ApprovalState,
    /// The hash of the canonical call.
    pub action: Digest,
    /// When it was held, in milliseconds since 1970.
    pub held_at_ms: u64,
    /// When the wait ends, or the consent, in milliseconds since 1970.
    pub expires_at_ms: u64,
    /// What was answered.
    pub votes: Vec<VoteView>,
}

/// A vote for people.
#[derive(Debug, Serialize)]
pub struct VoteView {
    /// Whose.
    pub user: String,
    /// What.
    pub vote: Vote,
    /// Why.
    pub reason: String,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// The answer as it came.
    #[serde(flatten)]
    pub signed: SignedAnswer,
}

/// An approval with the call: what an approver is shown is made from this, and its hash is what is signed.
#[derive(Debug, Serialize)]
pub struct ApprovalCase {
    /// How far it has come.
    #[serde(flatten)]
    pub view: ApprovalView,
    /// Who asked.
    pub user: String,
    /// On which route.
    pub route: String,
    /// How many have to consent, and in which roles.
    pub needed: u64,
    /// The roles; any if there is none.
    pub roles: Vec<String>,
    /// Why it waits.
    pub detail: String,
    /// The questions that the policy asked.
    pub checks: Vec<Check>,
    /// The policies that made it so.
    pub policies: Vec<String>,
    /// The canonical call (RFC 8785): the action hash is the SHA-256 of these bytes.
    pub canonical: Text,
    /// The program's source, whose digest is in the canonical call.
    pub code: Option<Text>,
    /// The input files, whose digests are in the canonical call.
    pub files: Vec<(Text, Text)>,
}

impl<K: SessionKeeper, P: SessionStores> Sessions<K, P> {
    /// The newest approvals of a tenant.
    ///
    /// # Errors
    /// When a store cannot be read.
    pub async fn approvals(
        &self,
        claims: &Verified<Claims>,
        state: Option<ApprovalState>,
    ) -> Result<Vec<ApprovalView>, AnswerError> {
        let (tenant, bounds) = (&claims.get().tenant, &claims.get().bounds);
        let mut all = Vec::new();
        for agent in self.stores.agents().await? {
            if !bounds.has_agent(&agent) {
                continue;
            }
            let Some(store) = self.stores.find(&agent).await? else {
                continue;
            };
            let owner = Owner {
                tenant: tenant.clone(),
                agent,
            };
            for record in store.approvals(tenant, state, MAX_LISTED).await? {
                if !self.is_asked(&record) || !bounds.has_tool(&record.tool) {
                    continue;
                }
                if bounds.threads.is_none() {
                    let votes = self.votes(&record, &owner)?;
                    all.push(view(&record, &owner, votes));
                    continue;
                }
                // Its thread is sealed with its call, which a list does not have.
                let Some(record) = store.approval(record.decision).await? else {
                    continue;
                };
                match self.ballot_of(claims, record, owner.clone()) {
                    Ok(ballot) => all.push(view(&ballot.record, &owner, ballot.votes)),
                    Err(AnswerError::Unknown(_)) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        all.sort_by_key(|view| std::cmp::Reverse((view.held_at_ms, view.decision)));
        all.truncate(MAX_LISTED as usize);
        Ok(all)
    }

    /// An approval with the call.
    ///
    /// # Errors
    /// When there is none that the caller could know of, or it cannot be read.
    pub async fn approval(
        &self,
        claims: &Verified<Claims>,
        decision: DecisionId,
    ) -> Result<ApprovalCase, AnswerError> {
        let Ballot {
            record,
            owner,
            kept,
            votes,
        } = self.ballot_for(claims, decision).await?;
        let canonical = kept.call.canonical();
        let canonical = canonical.map_err(|error| AnswerError::Content(error.to_string()))?;
        let rules = self
            .policy(Some(&kept.route))
            .map(|policy| policy.approvals.clone())
            .unwrap_or_default();
        Ok(ApprovalCase {
            view: view(&record, &owner, votes),
            user: kept.token.subject,
            route: kept.route,
            needed: rules.needed,
            roles: rules.roles,
            detail: kept.detail,
            checks: kept.checks,
            policies: kept.policies,
            canonical: canonical.into(),
            code: kept.code.map(|code| code.source),
            files: kept
                .files
                .into_iter()
                .map(|file| (file.name, file.content))
                .collect(),
        })
    }
}

fn view(record: &ApprovalRecord, owner: &Owner, votes: Vec<CastVote>) -> ApprovalView {
    let shown = |vote: CastVote| VoteView {
        user: vote.user,
        vote: vote.vote,
        reason: vote.reason,
        at_ms: vote.at_ms,
        signed: vote.signed,
    };
    ApprovalView {
        decision: record.decision,
        agent: owner.agent.clone(),
        tool: record.tool.clone(),
        state: record.state,
        action: record.action,
        held_at_ms: record.held_at_ms,
        expires_at_ms: record.expires_at_ms,
        votes: votes.into_iter().map(shown).collect(),
    }
}
