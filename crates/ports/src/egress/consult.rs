//! Asking a program of the operator's about a request that the rules let through. It can only tighten.

use std::fmt;

use casemate_model::{DecisionId, Text, words};
use serde::{Deserialize, Serialize};

use super::Pending;

/// Asks such a program.
pub trait Decider: fmt::Debug + Send + Sync {
    /// What records call it.
    fn name(&self) -> &str;

    /// What it says of a request. When nothing can be had from it, that is a denial (I1).
    fn consult(&self, request: ConsultedRequest) -> Pending<'_, Said>;
}

/// A request about which it is asked: as it would be sent, without what is put in on the way, and without what its program proves
/// itself by.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsultedRequest {
    /// Its decision.
    pub decision: DecisionId,
    /// Its method.
    pub method: String,
    /// The host.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The name that TLS was asked for, if it was.
    pub server_name: Option<String>,
    /// Its path.
    pub path: String,
    /// What follows the question mark.
    pub query: Option<String>,
    /// Its fields.
    pub fields: Vec<(String, Text)>,
    /// Its body.
    pub body: ConsultedBody,
}

/// What of a body can be shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum ConsultedBody {
    /// All of it.
    Whole(Text),
    /// Its beginning.
    Beginning(Text),
    /// Nothing: it is not there yet.
    Stream,
}

/// What is said of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum Advice {
    /// It may be sent without these fields, if it may be without them.
    Pass {
        /// Names in small letters, in which `-`, `_` and `.` are the same.
        without: Vec<String>,
    },
    /// It is not sent.
    Deny {
        /// Why.
        code: AdviceCode,
        /// The status of the answer, 400 to 599, if one was named.
        status: Option<u16>,
    },
}

words! {
    /// Why a request is not sent that the rules let through.
    AdviceCode {
        /// The decider says so.
        Denied = "decider_denied",
        /// It lets nothing go there.
        NotListed = "decider_not_listed",
        /// It wants to put something in that only we put in.
        Widens = "decider_widens",
        /// It wants to see a body that cannot be shown.
        Body = "decider_body",
        /// It did not answer in time.
        TimedOut = "decider_timeout",
        /// It is gone, or broke the protocol.
        Unavailable = "decider_unavailable",
        /// It cannot be asked about such a request.
        Inexpressible = "decider_inexpressible",
    }
}

/// What a decider said, and why, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// What becomes of the request.
    pub advice: Advice,
    /// One line.
    pub reason: Option<String>,
}

impl Said {
    /// That nothing could be had from it.
    #[must_use]
    pub const fn nothing(code: AdviceCode) -> Self {
        Self {
            advice: Advice::Deny { code, status: None },
            reason: None,
        }
    }
}

impl fmt::Debug for ConsultedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What it says may be about a person.
        f.debug_struct("ConsultedRequest")
            .field("decision", &self.decision)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ConsultedBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Whole(_) => "Whole",
            Self::Beginning(_) => "Beginning",
            Self::Stream => "Stream",
        })
    }
}
