//! Who decides. The proxy finds out what a request is; whether it may be is asked here.

use std::{fmt, future::Future, pin::Pin};

use bytes::Bytes;
use casemate_model::{DecisionId, DestinationClass, Digest, SideEffect, is_credential, is_header};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use crate::{Cidr, Code, Destination, Entry, Name, Origin, Target};

/// An answer that is on its way.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Decides. When it cannot, it denies: there is no third answer (I1).
pub trait Judge: fmt::Debug + Send + Sync {
    /// What is known of `target`, if the call of `origin` may connect to it for anything at all. Asked before a tunnel
    /// is opened, and again for each request.
    ///
    /// # Errors
    /// When no rule is about it.
    fn admit(&self, target: &Target, origin: &Origin) -> Result<Admission, Denial>;

    /// Whether the sandbox may know an address for `name`: whether any destination of this name could be admitted.
    ///
    /// # Errors
    /// When none could.
    fn resolves(&self, name: &Name, origin: &Origin) -> Result<(), Denial>;

    /// How many bytes of the body the decision is about, if it is about the body. It is then read whole, or refused.
    fn body_bytes(&self, facts: &Facts) -> Option<usize>;

    /// Decides about one request; it waits as long as that takes, for instance for a person.
    fn judge<'a>(&'a self, facts: &'a Facts) -> Pending<'a, Result<Allowance, Denial>>;

    /// Whether a rule makes `target` a place to log in, and for no requests. Whoever knows of none has none.
    fn is_for_logins(&self, _target: &Target, _origin: &Origin) -> bool {
        false
    }

    /// Decides about one login: what passes after it is not judged. Whoever knows of none allows none.
    fn login<'a>(&'a self, _facts: &'a LoginFacts) -> Pending<'a, Result<Allowance, Denial>> {
        Box::pin(std::future::ready(Err(Code::EgressDenied.into())))
    }

    /// Takes bytes that are about to pass from the budgets.
    ///
    /// # Errors
    /// When there are not so many.
    fn spend(&self, allowance: &Allowance, flow: Flow, bytes: u64) -> Result<(), Denial>;

    /// Whether what this rule allowed may go on.
    fn stands(&self, rule: &str) -> bool;
}

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// From the sandbox.
    Out,
    /// Into the sandbox.
    In,
}

/// What is known of a destination to which there may be a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admission {
    /// Whose it is.
    pub class: DestinationClass,
    /// The private blocks in which its addresses may be, if it is internal.
    pub pins: Vec<Cidr>,
    /// The rule.
    pub rule: String,
    /// Whether it may be spoken to without encryption.
    pub plaintext: bool,
}

/// No.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// Why.
    pub code: Code,
    /// Why more exactly, in a word of the judge's own that stays.
    pub because: Option<&'static str>,
    /// The rule, if one says so.
    pub rule: Option<String>,
    /// The status of the answer, if it is not that of the code.
    pub status: Option<StatusCode>,
}

impl From<Code> for Denial {
    fn from(code: Code) -> Self {
        Self {
            code,
            because: None,
            rule: None,
            status: None,
        }
    }
}

/// Yes, to one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// The rule.
    pub rule: String,
    /// What the request does to the world.
    pub side_effect: SideEffect,
    /// How many bytes its body may have.
    pub body_bytes: u64,
    /// The handle of the credential that belongs to it. The injector knows what it is.
    pub credential: Option<String>,
    /// Whether its destination keeps an escaped `/` in its path apart from one that separates.
    pub escaped_slash: bool,
    /// Which messages may pass, if it becomes a WebSocket.
    pub messages: Option<Messages>,
    /// The fields without which it was judged, and is sent: in any spelling of `-`, `_` and `.`.
    pub without: Vec<String>,
}

/// Which messages of a WebSocket may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Messages {
    /// Text.
    pub text: bool,
    /// Anything else.
    pub binary: bool,
    /// Bytes of one message to the destination, and never more than the proxy's own limit, which is that of the other way.
    pub bytes: usize,
}

/// Everything that a decision about one request is made from. Nothing of it is normalised: the destination gets these
/// bytes.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The name of this decision.
    pub decision: DecisionId,
    /// Whose it is.
    pub origin: Origin,
    /// How the request came.
    pub entry: Entry,
    /// Where it goes.
    pub destination: Destination,
    /// The server name in the ClientHello, if there was one.
    pub server_name: Option<String>,
    /// Its method.
    pub method: Method,
    /// Its path, in the one form that means one thing, but for escaped slashes: see [`Allowance::escaped_slash`].
    pub path: String,
    /// What follows the question mark.
    pub query: Option<String>,
    /// Its fields, without those that end at this proxy.
    pub fields: HeaderMap,
    /// How long its body is.
    pub length: BodyLength,
    /// Its body, if it was asked for.
    pub body: Option<Whole>,
    /// Whether it asks for a WebSocket.
    pub websocket: bool,
}

/// Everything that a decision about one login is made from.
#[derive(Clone, Debug)]
pub struct LoginFacts {
    /// The name of this decision.
    pub decision: DecisionId,
    /// Whose it is.
    pub origin: Origin,
    /// Where it goes.
    pub destination: Destination,
    /// As whom.
    pub user: String,
    /// To which database.
    pub database: String,
}

impl Facts {
    /// The fields that are sent, as far as they are its sender's. If a credential is put in, they are without those by which a client
    /// proves who it is.
    #[must_use]
    pub fn sent(&self, lends: bool) -> HeaderMap {
        let mut fields = self.fields.clone();
        if lends {
            strip_credentials(&mut fields);
            make_readable(&mut fields);
        }
        fields
    }

    /// Takes fields out, in whatever spelling of `-`, `_` and `.` they are there.
    pub fn remove(&mut self, names: &[String]) {
        let is_meant = |field: &HeaderName| {
            let mut names = names.iter();
            names.any(|name| is_header(field.as_str(), name))
        };
        let meant: Vec<_> = self
            .fields
            .keys()
            .filter(|name| is_meant(name))
            .cloned()
            .collect();
        for name in meant {
            self.fields.remove(name);
        }
    }
}

/// Takes out the fields by which clients prove who they are. Other spellings are the same field to some servers.
fn strip_credentials(fields: &mut HeaderMap) {
    let is_one = |name: &&HeaderName| is_credential(name.as_str());
    let named: Vec<_> = fields.keys().filter(is_one).cloned().collect();
    for name in named {
        fields.remove(name);
    }
}

/// Has an answer come readable, and whole, for whoever looks for a credential in it.
pub(crate) fn make_readable(fields: &mut HeaderMap) {
    fields.insert(
        header::ACCEPT_ENCODING,
        HeaderValue::from_static("identity"),
    );
    fields.remove(header::RANGE);
}

/// How long a body is, as far as the head says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength {
    /// There is none.
    Empty,
    /// So many bytes, and no other number.
    Bytes(u64),
    /// Nobody knows before its end.
    Unknown,
}

/// A body, read whole before the decision.
#[derive(Clone, Debug)]
pub struct Whole {
    /// Its bytes.
    pub bytes: Bytes,
    /// Their SHA-256.
    pub digest: Digest,
}
