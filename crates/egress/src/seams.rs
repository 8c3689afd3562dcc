//! What the proxy needs of others beside a decision: addresses, credentials, a look at answers.

use std::{fmt, net::IpAddr, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};

use crate::{Facts, LoginFacts, Name, Pending};

/// Finds the addresses of names. It asks a fixed server, never the system's configuration, and only about names that
/// were admitted.
pub trait Resolver: fmt::Debug + Send + Sync {
    /// All addresses of `name`.
    fn resolve<'a>(&'a self, name: &'a Name) -> Pending<'a, Result<Vec<IpAddr>, ResolveError>>;
}

/// There are no addresses, or nobody can say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the name cannot be resolved")]
pub struct ResolveError;

/// Renders credentials: for one request, and only once the destination has proven who it is.
pub trait Injector: fmt::Debug + Send + Sync {
    /// What goes into the request of `facts`, which `rule` lets through, from the credential that `handle` names.
    fn render<'a>(
        &'a self,
        handle: &'a str,
        rule: &'a str,
        facts: &'a Facts,
    ) -> Pending<'a, Result<Injection, InjectError>>;

    /// Whether a credential is presented when a connection is made, and goes into no request.
    fn presents(&self, _handle: &str) -> bool {
        false
    }

    /// What a connection for the request of `facts` is proven with, by `rule` and with the credential that `handle` names. The destination has not
    /// proven yet who it is: what is secret of it comes when it has, with the signature.
    fn present<'a>(
        &'a self,
        _handle: &'a str,
        _rule: &'a str,
        _facts: &'a Facts,
    ) -> Pending<'a, Result<ClientCertificate, InjectError>> {
        Box::pin(std::future::ready(Err(InjectError::Scope)))
    }

    /// What answers the challenge of a destination at which somebody logs in, by `rule` and with the credential that `handle` names.
    fn prove<'a>(
        &'a self,
        _handle: &'a str,
        _rule: &'a str,
        _facts: &'a LoginFacts,
        _challenge: Challenge,
    ) -> Pending<'a, Result<Proof, InjectError>> {
        Box::pin(std::future::ready(Err(InjectError::Scope)))
    }
}

/// What a client proves with who it is, in the handshake of one connection.
#[derive(Clone, Debug)]
pub struct ClientCertificate {
    /// Its certificate, and those between it and its authority, in DER.
    pub certificates: Vec<Vec<u8>>,
    /// Whether its key is RSA, and not P-256.
    pub is_rsa: bool,
    /// Who has the key.
    pub signs: Arc<dyn Signs>,
}

/// Signs the handshake of one connection.
pub trait Signs: fmt::Debug + Send + Sync {
    /// The signature of a handshake of TLS 1.3. Nothing else is done meanwhile.
    fn sign(&self, scheme: u16, message: &[u8]) -> Option<Vec<u8>>;
}

/// How a destination asks for proof of who logs in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// For the secret itself.
    Cleartext,
    /// For a digest of it with this salt.
    Md5 {
        /// The salt.
        salt: [u8; 4],
    },
    /// For the second message of SCRAM-SHA-256.
    Scram {
        /// The first message of the client, without what is in front of `n=`.
        client: String,
        /// The first message of the server.
        server: String,
    },
}

/// The answer to a challenge.
#[derive(Clone)]
pub struct Proof {
    /// What is sent; for SCRAM also what the server has to say then.
    pub answers: Vec<Bytes>,
    /// What must not come back, if the secret itself is sent.
    pub injection: Injection,
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Proof(..)")
    }
}

/// There is no credential for this request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InjectError {
    /// It is not for this request.
    #[error("the credential is not for this request")]
    Scope,
    /// It cannot be had.
    #[error("the credential cannot be had")]
    Unavailable,
}

/// What of a credential goes into one request, and by what it is known again in the answer.
#[derive(Clone)]
pub struct Injection {
    fields: Vec<(HeaderName, HeaderValue)>,
    query: Option<Bytes>,
    path: Option<String>,
    body: Option<Bytes>,
    hidden: Vec<(String, Bytes)>,
    expires_at_ms: Option<u64>,
    once: Vec<(String, Bytes)>,
}

impl Injection {
    /// This field; its value is marked so that nothing prints it.
    #[must_use]
    pub fn new(name: HeaderName, value: HeaderValue) -> Self {
        Self::empty().with_field(name, value)
    }

    /// Nothing yet.
    #[must_use]
    pub const fn empty() -> Self {
        Self {
            fields: Vec::new(),
            query: None,
            path: None,
            body: None,
            hidden: Vec::new(),
            expires_at_ms: None,
            once: Vec::new(),
        }
    }

    /// With another field.
    #[must_use]
    pub fn with_field(mut self, name: HeaderName, mut value: HeaderValue) -> Self {
        value.set_sensitive(true);
        self.fields.push((name, value));
        self
    }

    /// With a pair at the end of the query, escaped as it is sent.
    #[must_use]
    pub fn with_query(self, pair: Bytes) -> Self {
        Self {
            query: Some(pair),
            ..self
        }
    }

    /// With this in the place of the path.
    #[must_use]
    pub fn with_path(self, path: String) -> Self {
        Self {
            path: Some(path),
            ..self
        }
    }

    /// With this in the place of the body.
    #[must_use]
    pub fn with_body(self, body: Bytes) -> Self {
        Self {
            body: Some(body),
            ..self
        }
    }

    /// With something that must not come back, and the handle of the credential that it belongs to.
    #[must_use]
    pub fn hiding(mut self, handle: &str, secret: Bytes) -> Self {
        self.hidden.push((handle.to_owned(), secret));
        self
    }

    /// With the time, in milliseconds since 1970, from which nobody takes any more what must not come back.
    #[must_use]
    pub fn expiring(self, at_ms: Option<u64>) -> Self {
        Self {
            expires_at_ms: at_ms,
            ..self
        }
    }

    /// With something that is good for this request only: it must not come back in its answer, and is not worth looking for in others.
    #[must_use]
    pub fn hiding_once(mut self, handle: &str, secret: Bytes) -> Self {
        self.once.push((handle.to_owned(), secret));
        self
    }

    /// The fields, which take the place of the client's.
    #[must_use]
    pub fn fields(&self) -> &[(HeaderName, HeaderValue)] {
        &self.fields
    }

    /// What is added to the query.
    #[must_use]
    pub fn query(&self) -> Option<&[u8]> {
        self.query.as_deref()
    }

    /// What takes the place of the path.
    #[must_use]
    pub fn path(&self) -> Option<&str> {
        self.path.as_deref()
    }

    /// What takes the place of the body.
    #[must_use]
    pub const fn body(&self) -> Option<&Bytes> {
        self.body.as_ref()
    }

    /// When what must not come back is worth nothing any more; nothing if nobody knows.
    #[must_use]
    pub const fn expires_at_ms(&self) -> Option<u64> {
        self.expires_at_ms
    }

    /// What must not come back in any answer, and whose it is.
    #[must_use]
    pub fn hidden(&self) -> &[(String, Bytes)] {
        &self.hidden
    }

    /// What must not come back in the answer to this request, and whose it is.
    #[must_use]
    pub fn once(&self) -> &[(String, Bytes)] {
        &self.once
    }
}

impl fmt::Debug for Injection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.fields.iter().map(|(name, _)| name.as_str()).collect();
        write!(f, "Injection({})", names.join(", "))
    }
}

/// Gives programs placeholders where their platform would give them credentials, and takes placeholders out of requests again: whatever goes
/// into a request, its rule says.
pub trait Placeholders: fmt::Debug + Send + Sync {
    /// The answer of a platform's service, if there is one. Nothing of it is worth anything elsewhere.
    fn give(&self, enquiry: &Enquiry<'_>) -> Option<Response<Bytes>>;

    /// Whether programs find such services where platforms have them, and not only at the proxy.
    fn has_platform(&self) -> bool;

    /// Takes a placeholder out of the fields by which clients prove who they are, if it is there and nothing else is.
    fn take(&self, fields: &mut HeaderMap);
}

/// What a program asks of a service of its platform.
#[derive(Clone, Copy, Debug)]
pub struct Enquiry<'a> {
    /// Whether it asks where platforms have their services, and not at the proxy.
    pub at_platform: bool,
    /// The method.
    pub method: &'a Method,
    /// The path.
    pub path: &'a str,
    /// The query.
    pub query: Option<&'a str>,
    /// The fields.
    pub fields: &'a HeaderMap,
}

/// Makes filters for answers.
pub trait Filters: fmt::Debug + Send + Sync {
    /// Learns what is about to go into a request. The destination may show it in any answer from then on, whatever becomes of this
    /// request: it is not sent before this has come back.
    ///
    /// # Errors
    /// When it could not be looked for: then it is not sent.
    fn learn(&self, injected: &Injection) -> Result<(), FilterError>;

    /// Whether answers are looked at into whose requests nothing went. Then requests ask for answers that can be looked into.
    fn looks(&self) -> bool;

    /// What looks at the answer to this request, into which `injected` went. `None` where there is nothing to look for:
    /// the answer then passes as it is.
    fn filter(&self, facts: &Facts, injected: Option<&Injection>) -> Option<Box<dyn Filter>>;
}

/// Looks at one answer while it passes. What it cannot look at does not pass.
pub trait Filter: Send {
    /// The status line and the header fields.
    ///
    /// # Errors
    /// When nothing of the answer may pass.
    fn head(&mut self, status: StatusCode, fields: &mut HeaderMap) -> Result<(), FilterError>;

    /// More of the body; what comes back may pass now.
    ///
    /// # Errors
    /// When nothing more may pass.
    fn data(&mut self, bytes: Bytes) -> Result<Bytes, FilterError>;

    /// The end of the body: what was held back.
    ///
    /// # Errors
    /// As [`Filter::data`].
    fn finish(&mut self) -> Result<Bytes, FilterError>;

    /// The fields behind the body.
    ///
    /// # Errors
    /// As [`Filter::data`].
    fn trailers(&mut self, fields: &mut HeaderMap) -> Result<(), FilterError>;

    /// A whole message of a WebSocket.
    ///
    /// # Errors
    /// As [`Filter::data`].
    fn message(&mut self, bytes: Bytes) -> Result<Bytes, FilterError>;

    /// How often something was found.
    fn hits(&self) -> u64;
}

/// The answer does not pass any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the answer cannot be checked")]
pub struct FilterError;
