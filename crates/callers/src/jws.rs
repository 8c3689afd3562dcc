//! Compact JSON web signatures, read strictly (RFC 7515).

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use casemate_model::{JsonFault, strict_json};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::{
    Refusal,
    algorithm::{Algorithm, Family},
    jwks::Key,
    limits::{JSON_BOUNDS, MAX_KID_BYTES},
};

/// Headers by which a token would bring its own key or change how it is read.
const REFUSED: &[&str] = &[
    "crit", "jku", "jwk", "x5u", "x5c", "b64", "zip", "enc", "epk", "cty",
];

/// A token whose signature nobody has looked at.
#[derive(Debug)]
pub(crate) struct Unverified<'a> {
    header: Map<String, Value>,
    /// Only to choose whom to ask; nothing else may be believed before [`Unverified::signed_by`].
    hint: Map<String, Value>,
    signed: &'a str,
    signature: &'a str,
}

impl<'a> Unverified<'a> {
    /// Reads a token of at most `max` bytes.
    pub(crate) fn read(text: &'a str, max: usize) -> Result<Self, Refusal> {
        if text.len() > max {
            return Err(Refusal::TooLarge(max));
        }
        let malformed = || Refusal::Malformed("token");
        let (signed, signature) = text.rsplit_once('.').ok_or_else(malformed)?;
        let (header, payload) = signed.split_once('.').ok_or_else(malformed)?;
        if payload.contains('.') || signature.is_empty() {
            return Err(malformed());
        }
        let header = part(header, "header")?;
        if let Some(name) = REFUSED.iter().find(|name| header.contains_key(**name)) {
            return Err(Refusal::Header(name));
        }
        Ok(Self {
            header,
            hint: part(payload, "payload")?,
            signed,
            signature,
        })
    }

    /// The kind of token, without the prefix of media types.
    pub(crate) fn typ(&self) -> Result<String, Refusal> {
        let typ = self.header.get("typ").and_then(Value::as_str);
        let typ = typ.ok_or(Refusal::Type)?.to_ascii_lowercase();
        Ok(typ.strip_prefix("application/").unwrap_or(&typ).to_owned())
    }

    /// The algorithm that the header names, if it is one of ours.
    pub(crate) fn algorithm(&self) -> Result<Algorithm, Refusal> {
        let name = self.header.get("alg").and_then(Value::as_str);
        name.and_then(Algorithm::from_word)
            .ok_or(Refusal::Algorithm)
    }

    /// The name of the key.
    pub(crate) fn kid(&self) -> Result<&str, Refusal> {
        match self.header.get("kid") {
            None => Err(Refusal::MissingKeyId),
            Some(Value::String(kid)) if (1..=MAX_KID_BYTES).contains(&kid.len()) => Ok(kid),
            Some(_) => Err(Refusal::Claim("kid")),
        }
    }

    /// Who the token says that it comes from.
    pub(crate) fn issuer_hint(&self) -> Option<&str> {
        self.hint.get("iss").and_then(Value::as_str)
    }

    /// What the token says, once `key` is known to have signed it.
    pub(crate) fn signed_by(self, key: &Key) -> Result<Map<String, Value>, Refusal> {
        let algorithm = self.algorithm()?;
        if !key.permits(algorithm) {
            return Err(Refusal::Algorithm);
        }
        let good = jsonwebtoken::crypto::verify(
            self.signature,
            self.signed.as_bytes(),
            key.decoding(),
            algorithm.library(),
        );
        match good {
            Ok(true) => Ok(self.hint),
            _ => Err(Refusal::Signature),
        }
    }
}

fn part(text: &str, name: &'static str) -> Result<Map<String, Value>, Refusal> {
    let bytes = BASE64_URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|_| Refusal::Malformed(name))?;
    match strict_json(&bytes, JSON_BOUNDS) {
        Ok(Value::Object(object)) => Ok(object),
        Err(JsonFault::Duplicate { .. }) => Err(Refusal::Duplicate(name)),
        _ => Err(Refusal::Malformed(name)),
    }
}

/// A token of ours, signed by an Ed25519 key.
pub(crate) fn sign<T: Serialize>(
    typ: &str,
    kid: Option<&str>,
    payload: &T,
    key: &aws_lc_rs::signature::Ed25519KeyPair,
) -> Result<String, Refusal> {
    let mut header = serde_json::json!({"alg": Algorithm::EdDsa, "typ": typ});
    if let (Some(kid), Some(header)) = (kid, header.as_object_mut()) {
        header.insert("kid".to_owned(), kid.into());
    }
    let payload = serde_json::to_vec(payload).map_err(|_| Refusal::Malformed("payload"))?;
    let header = BASE64_URL_SAFE_NO_PAD.encode(header.to_string());
    let signed = format!("{header}.{}", BASE64_URL_SAFE_NO_PAD.encode(payload));
    let signature = BASE64_URL_SAFE_NO_PAD.encode(key.sign(signed.as_bytes()).as_ref());
    Ok(format!("{signed}.{signature}"))
}

/// Checks a token of ours by the one key that may have signed it, and gives what it says.
pub(crate) fn verify_ours<T: serde::de::DeserializeOwned>(
    text: &str,
    max: usize,
    typ: &str,
    kid: Option<&str>,
    public: &[u8; 32],
) -> Result<T, Refusal> {
    let token = Unverified::read(text, max)?;
    if token.typ()? != typ {
        return Err(Refusal::Type);
    }
    if token.algorithm()?.family() != Family::Ed25519 {
        return Err(Refusal::Algorithm);
    }
    if let Some(kid) = kid
        && token.kid()? != kid
    {
        return Err(Refusal::UnknownKey);
    }
    let payload = token.signed_by(&Key::ed25519(public))?;
    serde_json::from_value(Value::Object(payload)).map_err(|_| Refusal::Malformed("payload"))
}
