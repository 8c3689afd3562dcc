//! The way out of calls: what is asked of whoever serves it, and what it tells of each request.

mod consult;
mod crossing;

use std::{fmt, future::Future, path::PathBuf, pin::Pin, sync::Arc};

use casemate_model::{DecisionId, Digest, SessionId, SideEffect, Text};
use serde::{Deserialize, Serialize};

pub use self::{
    consult::{Advice, AdviceCode, ConsultedBody, ConsultedRequest, Decider, Said},
    crossing::{Crossing, CrossingContent, Stage},
};
use crate::{Owner, WaySockets};

/// An answer that is on its way.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The rules by which requests are judged: a profile, as it was written.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WayRules {
    /// In which language it is written.
    pub form: RulesForm,
    /// Its text.
    pub text: String,
}

/// The languages of profiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RulesForm {
    /// JSON.
    Json,
    /// TOML.
    Toml,
}

/// Who vouches for destinations, and where sockets are handed over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WayAuthority {
    /// The certificate, in PEM: what programs have to believe.
    pub pem: String,
    /// Where the keeper hands over the sockets of a place. Nowhere, if they come from this process.
    pub handover: Option<PathBuf>,
}

/// The way out of one call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewWay {
    /// The call. Its decision is on disk.
    pub decision: DecisionId,
    /// The trace that it belongs to.
    pub trace: String,
    /// Its tool.
    pub tool: String,
    /// The most that its requests may do.
    pub ceiling: SideEffect,
    /// The digest of the certificate that its programs believe.
    pub authority: Digest,
    /// What may leave.
    pub rules: WayRules,
    /// Whether a program of the operator's is asked about each request.
    pub consults: bool,
    /// Where its agent has been.
    pub known: Vec<KnownDestination>,
    /// Whose call it is, and what was decided: what a lease of credentials is bound to.
    pub bound: Option<WayBound>,
}

/// A destination that has answered an agent.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownDestination {
    /// Its host.
    pub host: String,
    /// Its port.
    pub port: u16,
}

/// Whose call it is, and what was decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WayBound {
    /// Whose data it touches.
    pub tenant: String,
    /// The agent.
    pub agent: String,
    /// The session, if it is in one.
    pub session: Option<SessionId>,
    /// The route.
    pub route: String,
    /// The digest of the policy.
    pub policy: Digest,
    /// The hash of everything that runs.
    pub action: Digest,
    /// How long the call may take, in milliseconds.
    pub wall_ms: u64,
}

/// Serves the ways out of calls.
pub trait Egress: fmt::Debug + Send + Sync {
    /// Who vouches for destinations to calls of `owner` under `rules`. Asked before there is a sandbox.
    fn authority<'a>(
        &'a self,
        owner: &'a Owner,
        rules: &'a WayRules,
    ) -> Pending<'a, Result<WayAuthority, EgressError>>;

    /// Opens the way out of a call, whose sockets are these, or are handed over when its program begins. `witness` keeps
    /// its records.
    fn open<'a>(
        &'a self,
        owner: &'a Owner,
        way: NewWay,
        sockets: Option<WaySockets>,
        witness: Arc<dyn Witness>,
    ) -> Pending<'a, Result<Box<dyn ServedWay>, EgressError>>;
}

/// A way out that is served. When this is dropped, nothing more leaves by it.
pub trait ServedWay: fmt::Debug + Send {
    /// Comes when it is served no more though nobody closed it, with the reason.
    fn lost(&mut self) -> Pending<'_, EgressError>;

    /// From now on nothing is let through, and what is open is cut off. It is still to be closed.
    fn revoke(&self);

    /// Closes it. When that has come back, everything that left by it is recorded, with its end.
    ///
    /// # Errors
    /// When it ended before, or not all of that is recorded.
    fn close(self: Box<Self>) -> Pending<'static, Result<(), EgressError>>;
}

/// Keeps the records of one way out.
pub trait Witness: fmt::Debug + Send + Sync {
    /// Writes down how far a request came. When this has come back without an error, it is durable.
    fn record(&self, crossing: Crossing) -> Pending<'_, Result<(), NotRecorded>>;

    /// Waits until a person has consented to exactly this request, which may then be sent, once.
    fn consent(&self, request: HeldRequest) -> Pending<'_, Result<(), NotConsented>>;

    /// What a program of the operator's says of a request that the rules let through.
    fn consult(&self, request: ConsultedRequest) -> Pending<'_, Advice>;
}

/// A request that a person has to consent to.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeldRequest {
    /// Its decision.
    pub decision: DecisionId,
    /// The rule that lets it through if a person does.
    pub rule: String,
    /// Why it waits, in a word of the rules.
    pub because: String,
    /// What it does to the world.
    pub side_effect: SideEffect,
    /// Its method.
    pub method: String,
    /// Where it goes: the scheme, the host and the port.
    pub target: String,
    /// Its path, with the query.
    pub path: String,
    /// The fields that are sent, in their order, but for what a credential adds and what is only between two neighbours.
    pub fields: Vec<(String, String)>,
    /// Its body, whole.
    pub body: Option<Text>,
}

/// Why a request may not be sent about which a person was to be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotConsented {
    /// Nobody consented, or nobody can.
    #[error("nobody consented to the request")]
    Refused,
    /// A person did, and whoever holds the credential of its rule could not be told: it would not get it.
    #[error("a person consented to the request, and its credential's keeper could not be told")]
    Unnoted,
}

impl HeldRequest {
    /// Whether it reads as one line for people.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        let words = [
            &self.rule,
            &self.because,
            &self.method,
            &self.target,
            &self.path,
        ];
        let fields = self.fields.iter().flat_map(|(name, value)| [name, value]);
        let mut words = words.into_iter().chain(fields);
        words.all(|word| crossing::is_plain(word))
    }
}

impl fmt::Debug for HeldRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What it says may be about a person.
        f.debug_struct("HeldRequest")
            .field("decision", &self.decision)
            .finish_non_exhaustive()
    }
}

/// Nothing was written, and so nothing may leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the request cannot be recorded")]
pub struct NotRecorded;

/// Why there is no way out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum EgressError {
    /// Whoever serves it does not answer, or has died.
    #[error("the process of egress is not available: {0}")]
    Unavailable(String),
    /// It did not answer in time.
    #[error("the process of egress did not {0} in time")]
    Late(String),
    /// What it may use of credentials could not be had with what was lent for it. Nothing was opened, and it may be lent again.
    #[error("identity ended before the call had its credentials: {0}")]
    Unlent(String),
    /// What was asked for cannot be served.
    #[error("there is no way out: {0}")]
    Refused(String),
}

impl fmt::Debug for WayRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WayRules")
            .field("form", &self.form)
            .field("bytes", &self.text.len())
            .finish()
    }
}
