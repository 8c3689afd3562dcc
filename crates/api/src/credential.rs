//! What a request presents to prove who sends it: one credential, never two.

use std::{net::SocketAddr, sync::Arc};

use axum::http::{HeaderMap, HeaderName, header};
use casemate_callers::{API_KEY_PREFIX, Credential, KEY_TOKEN_PREFIX, Refusal};

/// How keys begin that clients of E2B take.
const E2B_KEY_PREFIX: &str = "e2b_";
/// Digits of the id in an API key.
const API_KEY_ID_DIGITS: usize = 16;
/// Where the proof stands that goes with an envelope.
pub(crate) const PROOF: HeaderName = HeaderName::from_static("casemate-proof");

/// Every field in which a credential can be, with what it is called: none is passed on to anybody. [`Presented::of`] sees no other.
pub(crate) const PRESENTED: [(HeaderName, &str); 4] = [
    (header::AUTHORIZATION, "Authorization header"),
    (HeaderName::from_static("x-api-key"), "API key"),
    // Of a client with a managed identity of Azure.
    (HeaderName::from_static("x-identity-header"), "API key"),
    (PROOF, "proof"),
];

/// The other end of a connection over a network.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    /// Whether nobody on the way reads along.
    pub(crate) tls: bool,
    /// The first certificate of the chain that TLS verified, if one was presented.
    pub(crate) certificate: Option<Arc<[u8]>>,
}

/// A credential of a request, taken out of it.
pub(crate) enum Presented {
    Token(String),
    ApiKey(String),
    KeyToken(String),
    Certificate(Arc<[u8]>),
    Envelope { text: String, proof: String },
}

impl Presented {
    /// The one credential of a request.
    pub(crate) fn of(headers: &HeaderMap, peer: &Peer) -> Result<Self, Refusal> {
        let [authorization, key, identity, proof] =
            PRESENTED.map(|(name, what)| one(headers, &name, what));
        let (authorization, proof) = (authorization?, proof?);
        let key = match (key?, identity?) {
            (Some(_), Some(_)) => return Err(Refusal::Several),
            (key, identity) => key.or(identity),
        };
        let certificate = peer.certificate.clone();
        let presented = match (authorization, key, certificate) {
            (None, None, None) => return Err(Refusal::Missing),
            (None, Some(key), None) => Self::ApiKey(spelled(key)),
            (None, None, Some(certificate)) => Self::Certificate(certificate),
            (Some(authorization), None, None) => Self::read(authorization, proof)?,
            _ => return Err(Refusal::Several),
        };
        match (&presented, proof) {
            (Self::Envelope { .. }, _) | (_, None) => Ok(presented),
            (_, Some(_)) => Err(Refusal::Several),
        }
    }

    fn read(authorization: &str, proof: Option<&str>) -> Result<Self, Refusal> {
        let malformed = Refusal::Malformed("Authorization header");
        let Some((scheme, text)) = authorization.split_once(' ') else {
            return Err(malformed);
        };
        let text = text.to_owned();
        match scheme.to_ascii_lowercase().as_str() {
            "bearer" if text.starts_with(API_KEY_PREFIX) => Ok(Self::ApiKey(text)),
            "bearer" if text.starts_with(KEY_TOKEN_PREFIX) => Ok(Self::KeyToken(text)),
            "bearer" => Ok(Self::Token(text)),
            "envelope" => Ok(Self::Envelope {
                text,
                proof: proof.ok_or(Refusal::Malformed("proof"))?.to_owned(),
            }),
            _ => Err(malformed),
        }
    }

    pub(crate) fn credential(&self) -> Credential<'_> {
        match self {
            Self::Token(token) => Credential::Token(token),
            Self::ApiKey(key) => Credential::ApiKey(key),
            Self::KeyToken(token) => Credential::KeyToken(token),
            Self::Certificate(der) => Credential::Certificate(der),
            Self::Envelope { text, proof } => Credential::Envelope { text, proof },
        }
    }
}

/// An API key, as it was given out. Clients of E2B take a key only if it begins as theirs do and goes on in hex digits: the same key
/// without what they do not take is the same key.
fn spelled(key: &str) -> String {
    let digits = key
        .strip_prefix(E2B_KEY_PREFIX)
        .filter(|digits| digits.is_ascii());
    match digits.and_then(|digits| digits.split_at_checked(API_KEY_ID_DIGITS)) {
        Some((id, rest)) => format!("{API_KEY_PREFIX}{id}_{rest}"),
        None => key.to_owned(),
    }
}

/// The value of a header that may be there once.
fn one<'h>(
    headers: &'h HeaderMap,
    name: &HeaderName,
    what: &'static str,
) -> Result<Option<&'h str>, Refusal> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(Refusal::Several);
    }
    value
        .to_str()
        .map(Some)
        .map_err(|_| Refusal::Malformed(what))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(
        headers: &[(&'static str, &'static str)],
        certificate: bool,
    ) -> Result<&'static str, Refusal> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        let certificate = certificate.then(|| Arc::from(&b"der"[..]));
        let peer = Peer {
            address: ([127, 0, 0, 1], 1).into(),
            tls: certificate.is_some(),
            certificate,
        };
        Ok(match Presented::of(&map, &peer)? {
            Presented::Token(_) => "token",
            Presented::ApiKey(_) => "key",
            Presented::KeyToken(_) => "key token",
            Presented::Certificate(_) => "certificate",
            Presented::Envelope { .. } => "envelope",
        })
    }

    /// A key in the spelling of clients of E2B is the key that was given out, and nothing else becomes one.
    #[test]
    fn a_key_may_be_spelled_as_clients_of_e2b_take_it() {
        assert_eq!(
            spelled("e2b_0123456789abcdeffeed"),
            "cm_0123456789abcdef_feed"
        );
        for key in [
            "cm_0123456789abcdef_feed",
            "e2b_01",
            "e2b_",
            "e2b_é123456789abcdefe",
            "0123",
        ] {
            assert_eq!(spelled(key), key);
        }
    }

    /// I14: a request that says two things about who sends it says nothing.
    #[test]
    fn one_credential_is_taken_and_never_two() {
        let token = ("authorization", "Bearer a.b.c");
        let key = ("authorization", "bearer cm_1_2");
        let header = ("x-api-key", "cm_1_2");
        let identity = ("x-identity-header", "cm_1_2");
        let key_token = ("authorization", "Bearer cmt_a.b.c");
        let envelope = ("authorization", "Envelope a.b.c");
        let proof = ("casemate-proof", "a.b.c");
        for (headers, certificate, found) in [
            (&[token][..], false, "token"),
            (&[key], false, "key"),
            (&[header], false, "key"),
            (&[identity], false, "key"),
            (&[key_token], false, "key token"),
            (&[], true, "certificate"),
            (&[envelope, proof], false, "envelope"),
        ] {
            assert_eq!(read(headers, certificate).unwrap(), found);
        }
        for (headers, certificate) in [
            (&[token, token][..], false),
            (&[token, header], false),
            (&[header, header], false),
            (&[header, identity], false),
            (&[token, identity], false),
            (&[identity, identity], false),
            (&[identity], true),
            (&[token], true),
            (&[header], true),
            (&[envelope, proof], true),
            (&[envelope, proof, proof], false),
            (&[token, proof], false),
            (&[proof], true),
        ] {
            let refused = read(headers, certificate);
            assert!(
                matches!(refused, Err(Refusal::Several)),
                "{headers:?}: {refused:?}"
            );
        }
        assert!(matches!(read(&[], false), Err(Refusal::Missing)));
        for bad in ["Bearer", "Basic YTpi", "Digest x", ""] {
            let refused = read(&[("authorization", bad)], false);
            assert!(
                matches!(refused, Err(Refusal::Malformed(_))),
                "{bad}: {refused:?}"
            );
        }
        assert!(matches!(
            read(&[envelope], false),
            Err(Refusal::Malformed("proof"))
        ));
    }
}
