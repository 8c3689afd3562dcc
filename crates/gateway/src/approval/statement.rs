//! What an approver signs.

use casemate_model::{DecisionId, Digest};
use serde::{Deserialize, Serialize};

/// The most calls that one statement is about.
pub const MAX_MEMBERS: usize = 64;
/// The most bytes of a reason.
const MAX_REASON_BYTES: usize = 4 << 10;
/// What the text of every statement begins with, so that no other signature of the same key can pass for one.
const HEAD: &str = "casemate approval v1\n";

/// What an approver says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Vote {
    /// It may run, once.
    Approve,
    /// It may not.
    Deny,
    /// It may not, but another might.
    RequestChanges,
}

/// A call that an approver was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// Which.
    pub decision: DecisionId,
    /// The hash of its canonical form, as the approver computed it from what was shown.
    pub action: Digest,
}

/// What an approver says of one call, or of each call in a list. It holds for no other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// Which calls: 1 to [`MAX_MEMBERS`], each once.
    pub members: Vec<Member>,
    /// What is said of them.
    pub vote: Vote,
    /// Why. The agent is told.
    #[serde(default)]
    pub reason: String,
    /// When it was signed, in milliseconds since 1970.
    pub at_ms: u64,
    /// How long a consent counts, in milliseconds, if that is less than the profile says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant_ms: Option<u64>,
    /// Whether the consent of others is done without. It takes the role `break-glass` and a reason, and raises an alert.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub break_glass: bool,
}

/// Why a text is no statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StatementError {
    /// It is something else.
    #[error("it is not a statement of an approver")]
    Form,
    /// About nothing, about too much, or twice about the same.
    #[error("a statement is about 1 to {MAX_MEMBERS} calls, each once")]
    Members,
    /// A refusal, or breaking the glass, without a reason, or one that is too long.
    #[error("this takes a reason of at most {MAX_REASON_BYTES} bytes, without control characters")]
    Reason,
}

impl Statement {
    /// The text that is signed.
    ///
    /// # Errors
    /// [`StatementError`], when there is no such statement.
    pub fn text(&self) -> Result<String, StatementError> {
        self.check()?;
        let json = serde_json::to_string(self).map_err(|_| StatementError::Form)?;
        Ok(format!("{HEAD}{json}\n"))
    }

    /// The statement with this text.
    ///
    /// # Errors
    /// [`StatementError`].
    pub fn parse(text: &str) -> Result<Self, StatementError> {
        let json = text.strip_prefix(HEAD).ok_or(StatementError::Form)?;
        let read: Self = serde_json::from_str(json).map_err(|_| StatementError::Form)?;
        // There is one text for each statement.
        match read.text()? == text {
            true => Ok(read),
            false => Err(StatementError::Form),
        }
    }

    /// What it says of `decision`, if anything.
    #[must_use]
    pub fn about(&self, decision: DecisionId) -> Option<&Member> {
        let mut members = self.members.iter();
        members.find(|member| member.decision == decision)
    }

    fn check(&self) -> Result<(), StatementError> {
        let mut names: Vec<_> = self.members.iter().map(|member| member.decision).collect();
        names.sort_unstable();
        names.dedup();
        if names.is_empty() || names.len() != self.members.len() || names.len() > MAX_MEMBERS {
            return Err(StatementError::Members);
        }
        let wanted = self.vote != Vote::Approve || self.break_glass;
        let odd = self.reason.len() > MAX_REASON_BYTES || self.reason.chars().any(char::is_control);
        match odd || wanted && self.reason.trim().is_empty() {
            true => Err(StatementError::Reason),
            false => Ok(()),
        }
    }
}

impl Vote {
    /// The word as it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Deny => "deny",
            Self::RequestChanges => "request_changes",
        }
    }
}
