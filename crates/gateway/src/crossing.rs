//! Requests of a call on its way out: on disk before they are sent, and closed after it.

use std::net::IpAddr;

use casemate_ledger::{Entry, Kind, Receipt};
use casemate_model::{DecisionId, DestinationClass, Digest, SideEffect};
use serde::Serialize;

use crate::{Facts, Journal, RecordError, entry, journal::content_aad};

/// One request on the way out, as far as it came. No value of a query, a field or a body is in it.
#[derive(Clone, Debug)]
pub struct Crossing {
    /// Its own decision.
    pub decision: DecisionId,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// How far it came.
    pub stage: Stage,
    /// Why it was refused more exactly.
    pub because: Option<&'static str>,
    /// How it came to the proxy.
    pub entry: &'static str,
    /// `https` or `http`.
    pub scheme: Option<&'static str>,
    /// The host that was asked for.
    pub host: Option<String>,
    /// Its port.
    pub port: Option<u16>,
    /// Whose it is.
    pub class: Option<DestinationClass>,
    /// The rule that decided.
    pub rule: Option<String>,
    /// What it does to the world.
    pub side_effect: Option<SideEffect>,
    /// The method.
    pub method: Option<String>,
    /// The handle of the credential that was put in.
    pub credential: Option<String>,
    /// The status of the answer.
    pub status: Option<u16>,
    /// Bytes of bodies that went out.
    pub bytes_out: u64,
    /// Bytes of bodies that came in.
    pub bytes_in: u64,
    /// How often a secret was found in the answer.
    pub hits: u64,
    /// What is sealed, because it may say something of a person.
    pub sealed: CrossingContent,
}

/// How far a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It was refused, with this code: nothing was sent.
    Denied(&'static str),
    /// It is about to be sent.
    Sent,
    /// It ended, with an answer or with this code.
    Ended(Option<&'static str>),
}

/// What of a request may say something of a person.
#[derive(Clone, Debug, Default, Serialize)]
pub struct CrossingContent {
    /// Its path, without the query.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The server name that the program asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// The digest of its body, if the decision was about the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<Digest>,
    /// All addresses that the name had.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpAddr>,
}

impl Journal {
    /// Records a request of `call`. Blocks for one flush of the disk.
    ///
    /// # Errors
    /// When it cannot be recorded; then it must not be sent.
    pub fn crossing(&self, call: &Facts, crossing: &Crossing) -> Result<Receipt, RecordError> {
        let kind = match crossing.stage {
            Stage::Denied(_) => Kind::Denied,
            Stage::Sent => Kind::Allowed,
            Stage::Ended(_) => Kind::Outcome,
        };
        let summary = entry::crossing(call, crossing).map_err(RecordError::Encode)?;
        if kind == Kind::Allowed
            && let Some(field) = entry::missing_field(call.terms.as_ref(), &summary)
        {
            return Err(RecordError::MissingField(field.to_owned()));
        }
        let content = entry::crossing_content(crossing).map_err(RecordError::Encode)?;
        let agent = &call.ask.agent;
        let aad = content_aad(crossing.decision, kind);
        let sealed = self.keys.seal(agent, &aad, &content);
        self.write(Entry {
            at_ms: crossing.at_ms,
            decision: crossing.decision,
            kind,
            agent: agent.clone(),
            tenant: call.tenant().to_owned(),
            summary,
            payload: Some(sealed.map_err(RecordError::Seal)?),
        })
    }
}
