//! Key sets (RFC 7517), of which only public keys for signatures are taken.

use std::{collections::BTreeMap, fmt};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use casemate_model::{JsonFault, strict_json};
use jsonwebtoken::DecodingKey;
use serde_json::{Map, Value};

use crate::{
    algorithm::{Algorithm, Family},
    limits::{JSON_BOUNDS, MAX_JWKS_BYTES, MAX_JWKS_KEYS, MAX_KID_BYTES},
};

/// Moduli of fewer bytes are too weak, of more too slow.
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;
/// The members of private keys.
const PRIVATE: &[&str] = &["d", "p", "q", "dp", "dq", "qi", "oth"];

/// Why a text is not a key set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JwksError {
    /// Too many bytes.
    #[error("the key set has more than {MAX_JWKS_BYTES} bytes")]
    TooLarge,
    /// Not JSON of this form.
    #[error("the key set is not `{{\"keys\": […]}}`")]
    Malformed,
    /// A member is there twice.
    #[error("the key set says something twice")]
    Duplicate,
    /// Too many keys.
    #[error("the key set has more than {MAX_JWKS_KEYS} keys")]
    TooMany,
    /// Two keys for signatures have the same name.
    #[error("two keys of the key set have the same name (`kid`)")]
    SameName,
    /// A private key was published.
    #[error("the key set holds a private key: withdraw it, everybody knows it now")]
    Private,
    /// No key that could be used.
    #[error("the key set has no named public key for signatures")]
    Empty,
}

/// A public key that verifies signatures.
#[derive(Clone)]
pub(crate) struct Key {
    family: Family,
    only: Option<Algorithm>,
    decoding: DecodingKey,
}

/// The keys of an issuer, by name.
#[derive(Clone, Debug)]
pub(crate) struct KeySet(BTreeMap<String, Key>);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.family)
    }
}

impl Key {
    pub(crate) fn ed25519(public: &[u8; 32]) -> Self {
        Self {
            family: Family::Ed25519,
            only: None,
            decoding: DecodingKey::from_ed_der(public),
        }
    }

    pub(crate) fn permits(&self, algorithm: Algorithm) -> bool {
        self.family == algorithm.family() && self.only.is_none_or(|only| only == algorithm)
    }

    pub(crate) const fn decoding(&self) -> &DecodingKey {
        &self.decoding
    }
}

impl KeySet {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, JwksError> {
        if bytes.len() as u64 > MAX_JWKS_BYTES {
            return Err(JwksError::TooLarge);
        }
        let set = match strict_json(bytes, JSON_BOUNDS) {
            Ok(set) => set,
            Err(JsonFault::Duplicate { .. }) => return Err(JwksError::Duplicate),
            Err(_) => return Err(JwksError::Malformed),
        };
        let listed = set.get("keys").and_then(Value::as_array);
        let listed = listed.ok_or(JwksError::Malformed)?;
        if listed.len() > MAX_JWKS_KEYS {
            return Err(JwksError::TooMany);
        }
        let mut keys = BTreeMap::new();
        for key in listed {
            let key = key.as_object().ok_or(JwksError::Malformed)?;
            if PRIVATE.iter().any(|member| key.contains_key(*member)) {
                return Err(JwksError::Private);
            }
            if let Some((kid, key)) = signature_key(key)
                && keys.insert(kid, key).is_some()
            {
                return Err(JwksError::SameName);
            }
        }
        match keys.len() {
            0 => Err(JwksError::Empty),
            _ => Ok(Self(keys)),
        }
    }

    pub(crate) fn get(&self, kid: &str) -> Option<&Key> {
        self.0.get(kid)
    }
}

/// A key with its name, or nothing if it is not a public key for signatures of a kind that is known here.
fn signature_key(key: &Map<String, Value>) -> Option<(String, Key)> {
    let text = |name: &str| key.get(name).and_then(Value::as_str);
    let bytes = |name: &str| BASE64_URL_SAFE_NO_PAD.decode(text(name)?).ok();
    let sized = |name: &str, size: usize| bytes(name).filter(|bytes| bytes.len() == size);
    let kid = text("kid").filter(|kid| (1..=MAX_KID_BYTES).contains(&kid.len()))?;
    if key.contains_key("use") && text("use") != Some("sig") {
        return None;
    }
    if let Some(operations) = key.get("key_ops") {
        let mut operations = operations.as_array()?.iter();
        operations.find(|operation| operation.as_str() == Some("verify"))?;
    }
    let curve = |family, size| {
        let point = [vec![4], sized("x", size)?, sized("y", size)?].concat();
        Some((family, DecodingKey::from_ec_der(&point)))
    };
    let (family, decoding) = match (text("kty")?, text("crv")) {
        ("OKP", Some("Ed25519")) => {
            let public = sized("x", 32)?;
            (Family::Ed25519, DecodingKey::from_ed_der(&public))
        }
        ("EC", Some("P-256")) => curve(Family::P256, 32)?,
        ("EC", Some("P-384")) => curve(Family::P384, 48)?,
        ("RSA", None) => {
            let (modulus, exponent) = (bytes("n")?, bytes("e")?);
            let first = modulus.first().copied().unwrap_or(0);
            if !RSA_BYTES.contains(&modulus.len()) || first == 0 {
                return None;
            }
            let decoding = DecodingKey::from_rsa_raw_components(&modulus, &exponent);
            (Family::Rsa, decoding)
        }
        // Secrets that are shared (`oct`) above all.
        _ => return None,
    };
    let only = match key.get("alg") {
        None => None,
        Some(name) => Some(Algorithm::from_word(name.as_str()?)?),
    };
    if only.is_some_and(|only| only.family() != family) {
        return None;
    }
    let key = Key {
        family,
        only,
        decoding,
    };
    Some((kid.to_owned(), key))
}
