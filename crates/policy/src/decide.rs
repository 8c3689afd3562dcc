//! Whether a call may run: a fixed list of questions, asked in a fixed order.

mod access;
mod call;
mod caller;
mod right;

use casemate_model::{Call, Isolation, Reason, RunMode};
use serde::Serialize;

pub use self::access::{Access, AccessRequest, decide_access};
use crate::{
    claims::{Claims, Verified},
    profile::Profile,
    visible::quoted,
};

/// A call, and everything that its decision depends on beside the profile.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// What would run.
    pub call: &'a Call,
    /// Who asks.
    pub claims: &'a Verified<Claims>,
    /// What the sandbox that would run it enforces, measured.
    pub isolation: &'a Isolation,
    /// The time, in milliseconds since 1970.
    pub now_ms: u64,
    /// How much may happen without a person.
    pub mode: RunMode,
}

/// What is to be done with a call. Ordered: a later one lets more happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It does not run.
    Deny,
    /// It does not run until a person has approved it.
    Hold,
    /// It may run.
    Allow,
}

impl Verdict {
    /// The word as it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deny => "deny",
            Self::Hold => "hold",
            Self::Allow => "allow",
        }
    }
}

/// A question and its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// The question.
    pub name: CheckName,
    /// Whether the call may go on.
    pub passed: bool,
}

/// What was decided about a call, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Decision {
    /// What is to be done.
    pub verdict: Verdict,
    /// Why, for machines.
    pub reason: Reason,
    /// Why, for people: one line without the value of any argument or variable.
    pub detail: String,
    /// The questions that were asked, in order; only the last can have failed.
    pub checks: Vec<Check>,
}

/// The answer of a check that fails.
#[derive(Debug)]
struct Refusal {
    reason: Reason,
    detail: String,
}

type Answer = Result<(), Refusal>;
type Question = fn(&Profile, &Request<'_>) -> Answer;

fn refuse(reason: Reason, detail: impl Into<String>) -> Answer {
    Err(Refusal {
        reason,
        detail: detail.into(),
    })
}

macro_rules! checks {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $question:path;)+) => {
        /// The questions that [`decide`] asks, in this order.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
        pub enum CheckName { $($(#[$doc])* #[serde(rename = $text)] $name),+ }

        impl CheckName {
            /// Every question, in the order in which they are asked.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The name as it is written.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text),+ }
            }
        }

        /// The order of DESIGN §2. It also names kill switches (first), information flow and budget
        /// (before approval): no request carries those, so no check claims to have looked at them.
        const CHECKS: &[(CheckName, Question)] = &[$((CheckName::$name, $question)),+];
    };
}

checks! {
    /// Is the caller's issuer one that the profile accepts?
    Issuer = "issuer", caller::issuer;
    /// Is the call complete, within its bounds, and for this caller, route and profile?
    Call = "call", call::well_formed;
    /// Is it free of what looks like a secret?
    Secrets = "secrets", call::secrets;
    /// May its environment variables be declared?
    Environment = "environment", call::environment;
    /// Does it ask for no more than the profile gives?
    Limits = "limits", call::limits;
    /// Are its input files of types that the profile takes?
    Inputs = "inputs", call::inputs;
    /// Do the caller's claims still hold?
    Expiry = "expiry", caller::expiry;
    /// Are they for this service?
    Audience = "audience", caller::audience;
    /// Is the call in the caller's own tenant, and is that one allowed?
    Tenant = "tenant", caller::tenant;
    /// Is the tool one of the profile's, and has the caller every scope for it?
    Scope = "scope", right::scope;
    /// Does the run mode permit what the tool does?
    Mode = "mode", right::mode;
    /// Does a call with a side effect carry an idempotency key?
    Idempotency = "idempotency", right::idempotency;
    /// Is the destination allowed?
    Destination = "destination", right::destination;
    /// Does the sandbox enforce what the profile demands?
    Isolation = "isolation", right::isolation;
    /// May it run without a person's approval?
    Approval = "approval", right::approval;
}

/// Decides whether `request` may run under `profile`.
///
/// Pure: no clock, no I/O, no state. The first question whose answer is no gives the reason.
#[must_use]
pub fn decide(profile: &Profile, request: &Request<'_>) -> Decision {
    let answers = CHECKS
        .iter()
        .map(|(name, question)| (*name, question(profile, request)));
    let allowed = || {
        format!(
            "tool {} may run on route {}",
            quoted(&request.call.tool),
            quoted(&profile.route)
        )
    };
    first_no(answers, allowed)
}

/// What follows from the answers: the first no, or what `allowed` says.
fn first_no(
    answers: impl Iterator<Item = (CheckName, Answer)>,
    allowed: impl FnOnce() -> String,
) -> Decision {
    let mut checks = Vec::with_capacity(CHECKS.len());
    for (name, answer) in answers {
        checks.push(Check {
            name,
            passed: answer.is_ok(),
        });
        if let Err(Refusal { reason, detail }) = answer {
            let verdict = match reason {
                Reason::ApprovalRequired => Verdict::Hold,
                _ => Verdict::Deny,
            };
            return Decision {
                verdict,
                reason,
                detail,
                checks,
            };
        }
    }
    Decision {
        verdict: Verdict::Allow,
        reason: Reason::Allowed,
        detail: allowed(),
        checks,
    }
}
