//! What is asked before a call runs, and what is answered.

mod access;
mod form;

use std::sync::Arc;

use casemate_model::{Call, DestinationClass, Digest, Isolation, Reason, RunMode};
use serde::{Deserialize, Serialize};

pub use self::access::{Access, AccessRequest};
use crate::{
    claims::{Claims, Verified},
    domain::reach,
    engine::Engine,
    inputs::{Approval, Destination, Inputs, Labels, Token, Wish},
    profile::Profile,
};

/// A call, and everything that its decision depends on beside the profile.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// What would run.
    pub call: &'a Call,
    /// Its hash, which an approval is bound to.
    pub action: Digest,
    /// The source that an interpreter would run, if there is one: of that, the call has the digest.
    pub source: Option<&'a [u8]>,
    /// Who asks.
    pub claims: &'a Verified<Claims>,
    /// What the sandbox that would run it enforces, measured.
    pub isolation: &'a Isolation,
    /// The time, in milliseconds since 1970.
    pub now_ms: u64,
    /// How much may happen without a person.
    pub mode: RunMode,
    /// A person's consent, if there is one.
    pub approval: Option<&'a Approval>,
    /// What has come together in the thread, where that is known.
    pub labels: Option<Labels>,
}

/// What is to be done with a call. Ordered: a later one lets more happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
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
    /// The policies that made it so: the grant, or those that forbid.
    pub policies: Vec<String>,
}

macro_rules! checks {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $reason:expr;)+) => {
        /// The questions of a decision, in the order in which their answers count (DESIGN §2).
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
        )]
        pub enum CheckName { $($(#[$doc])* #[serde(rename = $text)] $name),+ }

        impl CheckName {
            /// Every question, in the order in which their answers count.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The name as it is written.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text),+ }
            }

            /// Why a call is refused to which the answer is no; nothing where the call's form says more.
            #[must_use]
            pub const fn reason(self) -> Option<Reason> {
                match self { $(Self::$name => $reason),+ }
            }
        }
    };
}

checks! {
    /// Is the caller's issuer one that the profile accepts?
    Issuer = "issuer", Some(Reason::UntrustedIssuer);
    /// Is the call complete, within its bounds, and for this caller, route and policy?
    Call = "call", None;
    /// Is it free of what looks like a secret?
    Secrets = "secrets", None;
    /// May its environment variables be declared?
    Environment = "environment", None;
    /// Does it ask for no more than the profile gives?
    Limits = "limits", None;
    /// Are its input files of types that the profile takes?
    Inputs = "inputs", None;
    /// Do the caller's claims still hold?
    Expiry = "expiry", Some(Reason::ExpiredToken);
    /// Are they for this service?
    Audience = "audience", Some(Reason::WrongAudience);
    /// Is the call in the caller's own tenant, and is that one allowed?
    Tenant = "tenant", Some(Reason::TenantBoundary);
    /// Is the tool one of the profile's, and has the caller every scope for it?
    Scope = "scope", Some(Reason::MissingScope);
    /// Is the profile's tier one that may have such a tool?
    Tier = "tier", Some(Reason::TierExceeded);
    /// Does the run mode permit what the tool does?
    Mode = "mode", Some(Reason::MissingScope);
    /// Does a call with a side effect carry an idempotency key?
    Idempotency = "idempotency", Some(Reason::MissingIdempotencyKey);
    /// Is the destination allowed?
    Destination = "destination", Some(Reason::EgressDenied);
    /// Does nothing private leave that something untrusted may have asked for?
    Flow = "flow", Some(Reason::InformationFlow);
    /// Is there something left to spend?
    Budget = "budget", Some(Reason::BudgetExhausted);
    /// Does the sandbox enforce what the profile demands?
    Isolation = "isolation", Some(Reason::IsolationUnavailable);
    /// Does no policy of the bundle forbid it?
    Policy = "policy", Some(Reason::PolicyForbids);
    /// May it run without a person's approval?
    Approval = "approval", Some(Reason::ApprovalRequired);
}

impl Engine {
    /// Decides whether a call may run.
    ///
    /// Pure: no clock, no I/O, no state. The first question whose answer is no gives the reason.
    #[must_use]
    pub fn decide(&self, request: &Request<'_>) -> Decision {
        self.judge(&self.inputs(request))
    }

    /// What a call's decision is made from.
    #[must_use]
    pub fn inputs(&self, request: &Request<'_>) -> Inputs {
        let (call, claims) = (request.call, request.claims.get());
        let profile = self.profile(&call.route);
        Inputs {
            policy: self.digest(),
            route: call.route.clone(),
            wish: Wish::Tool(call.tool.clone()),
            side_effect: call.side_effect,
            tenant: call.tenant.clone(),
            user: call.user.clone(),
            agent: call.agent.clone(),
            token: Token::from(claims),
            delegated: claims.delegated(),
            mode: request.mode,
            now_ms: request.now_ms,
            idempotency_key: call
                .idempotency_key
                .as_ref()
                .is_some_and(|key| !key.is_empty()),
            action_hash: Some(request.action),
            destination: call
                .destination
                .as_deref()
                .map(|host| destination(profile.map(Arc::as_ref), host)),
            approval: request.approval.cloned(),
            labels: request.labels,
            budget: None,
            isolation: Some(request.isolation.clone()),
            flaw: profile.and_then(|profile| form::flaw(profile, self.digest(), request)),
        }
    }
}

/// A destination as a profile classifies it. What it does not list, and what is spelled oddly, is unknown.
pub(crate) fn destination(profile: Option<&Profile>, host: &str) -> Destination {
    let network = profile.map(|profile| &profile.sandbox.network);
    Destination {
        host: host.to_owned(),
        class: network.map_or(DestinationClass::Unknown, |network| network.class_of(host)),
        reach: reach(host),
    }
}
