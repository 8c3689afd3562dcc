//! One request on the way out.

use std::{borrow::Cow, net::IpAddr};

use casemate_model::{DecisionId, DestinationClass, Digest, SideEffect};
use serde::{Deserialize, Serialize};

/// A word out of a closed set of whoever writes it.
type Word = Cow<'static, str>;

/// One request on the way out, as far as it came. No value of a query, a field or a body is in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Crossing {
    /// Its own decision.
    pub decision: DecisionId,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// How far it came.
    pub stage: Stage,
    /// Why it was refused more exactly.
    pub because: Option<Word>,
    /// How it came to the proxy.
    pub entry: Word,
    /// `https` or `http`.
    pub scheme: Option<Word>,
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// It was refused, with this code: nothing was sent.
    Denied(Word),
    /// It is about to be sent.
    Sent,
    /// It ended, with an answer or with this code.
    Ended(Option<Word>),
}

/// What of a request may say something of a person.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CrossingContent {
    /// Its path, without the query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The server name that the program asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// The digest of its body, if the decision was about the body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Digest>,
    /// All addresses that the name had.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpAddr>,
}

impl Crossing {
    /// Whether it reads as one line for people: nothing in it moves a cursor or hides a word.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        let code = match &self.stage {
            Stage::Denied(code) | Stage::Ended(Some(code)) => Some(code.as_ref()),
            Stage::Sent | Stage::Ended(None) => None,
        };
        let words = [
            code,
            self.because.as_deref(),
            Some(self.entry.as_ref()),
            self.scheme.as_deref(),
            self.host.as_deref(),
            self.rule.as_deref(),
            self.method.as_deref(),
            self.credential.as_deref(),
        ];
        let mut words = words.into_iter().flatten();
        words.all(is_plain)
    }
}

/// Whether nothing in it moves a cursor or hides a word.
pub(super) fn is_plain(word: &str) -> bool {
    !word
        .chars()
        .any(|char| char.is_control() || casemate_model::is_hidden(char))
}
