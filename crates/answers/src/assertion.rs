//! Whether a passkey signed a text (WebAuthn Level 3, §7.2).
//!
//! The authenticator signs its own data and the hash of what the browser says; the browser says what was asked for and
//! from where. No extension is asked for, so the authenticator's data has exactly 37 bytes and needs no CBOR.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use casemate_model::{Digest, strict_json};
use serde_json::{Map, Value};

use crate::{
    Assertion, Passkey,
    limits::{CLIENT_DATA_BOUNDS, MAX_ANSWER_BYTES, MAX_CLIENT_DATA_BYTES, MAX_SIGNATURE_BYTES},
};

/// The hash of the RP id, flags and a counter.
const AUTHENTICATOR_BYTES: usize = 32 + 1 + 4;
const USER_PRESENT: u8 = 0x01;
const USER_VERIFIED: u8 = 0x04;
const BACKUP_ELIGIBLE: u8 = 0x08;
const BACKED_UP: u8 = 0x10;
/// Flags of what would follow, and of what nobody has defined.
const NOT_HERE: u8 = 0x80 | 0x40 | 0x20 | 0x02;

/// Why an assertion does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AssertionError {
    /// It is not one, or has parts of another size or encoding.
    #[error("the `{0}` of the assertion is not what a browser sends")]
    Malformed(&'static str),
    /// Of another credential.
    #[error("the assertion is of another credential")]
    Credential,
    /// Made for another purpose.
    #[error("the passkey was not asked to sign an answer")]
    Purpose,
    /// Of another text.
    #[error("the passkey signed something else: the statement, or the challenge, was changed")]
    Challenge,
    /// From elsewhere.
    #[error("the passkey was used on `{0}`, where it may not be")]
    Origin(String),
    /// From a page within another page.
    #[error("the passkey was used in a page within another page")]
    CrossOrigin,
    /// For another host.
    #[error("the passkey was used for another host than it was enlisted for")]
    RelyingParty,
    /// Nobody touched it.
    #[error("nobody was there when the passkey signed")]
    NotPresent,
    /// Nobody showed who they are.
    #[error("the passkey did not verify its user: sign again with the PIN or biometrics")]
    NotVerified,
    /// Not signed by it.
    #[error("the signature is not of the enlisted passkey")]
    Signature,
    /// Its counter went back.
    #[error(
        "the counter of the passkey went back: it was copied, or an old answer came again. Dismiss its user if nobody can tell"
    )]
    Counter,
}

impl Passkey {
    /// Whether this passkey signed `statement`. Gives its counter.
    ///
    /// # Errors
    /// [`AssertionError`]: of the first thing that is not as it should be.
    pub fn verify(&self, statement: &str, assertion: &Assertion) -> Result<u32, AssertionError> {
        if statement.len() > MAX_ANSWER_BYTES {
            return Err(AssertionError::Malformed("statement"));
        }
        if assertion.kind != "public-key" {
            return Err(AssertionError::Malformed("type"));
        }
        if assertion.id != self.credential() {
            return Err(AssertionError::Credential);
        }
        let response = &assertion.response;
        let client_data = decoded(
            "clientDataJSON",
            &response.client_data,
            MAX_CLIENT_DATA_BYTES,
        )?;
        let data = "authenticatorData";
        let data = decoded(data, &response.authenticator_data, AUTHENTICATOR_BYTES)?;
        let signature = decoded("signature", &response.signature, MAX_SIGNATURE_BYTES)?;

        self.check_client_data(&client_data, statement)?;
        let count = self.check_authenticator_data(&data)?;
        let mut signed = data;
        signed.extend_from_slice(Digest::of(&client_data).as_bytes());
        match self.signed(&signed, &signature) {
            true => Ok(count),
            false => Err(AssertionError::Signature),
        }
    }

    /// What the browser says: for what, for which text, and from where.
    fn check_client_data(&self, bytes: &[u8], statement: &str) -> Result<(), AssertionError> {
        let Ok(Value::Object(said)) = strict_json(bytes, CLIENT_DATA_BOUNDS) else {
            return Err(AssertionError::Malformed("clientDataJSON"));
        };
        if word(&said, "type")? != "webauthn.get" {
            return Err(AssertionError::Purpose);
        }
        let challenge = BASE64_URL_SAFE_NO_PAD.encode(Digest::of(statement.as_bytes()).as_bytes());
        if word(&said, "challenge")? != challenge {
            return Err(AssertionError::Challenge);
        }
        let origin = word(&said, "origin")?;
        if !self.origins().iter().any(|known| known == origin) {
            let shown = origin.chars().take(100).flat_map(char::escape_debug);
            return Err(AssertionError::Origin(shown.collect()));
        }
        let crosses = !matches!(said.get("crossOrigin"), None | Some(Value::Bool(false)));
        match crosses || said.contains_key("topOrigin") {
            true => Err(AssertionError::CrossOrigin),
            false => Ok(()),
        }
    }

    /// What the authenticator says: for which host, that somebody was there, and its counter.
    fn check_authenticator_data(&self, bytes: &[u8]) -> Result<u32, AssertionError> {
        let malformed = AssertionError::Malformed("authenticatorData");
        let Ok(data) = <&[u8; AUTHENTICATOR_BYTES]>::try_from(bytes) else {
            return Err(malformed);
        };
        let [rp_id @ .., flags, a, b, c, d] = data;
        if rp_id != Digest::of(self.rp_id().as_bytes()).as_bytes() {
            return Err(AssertionError::RelyingParty);
        }
        let has = |flag: u8| flags & flag != 0;
        if has(NOT_HERE) || has(BACKED_UP) && !has(BACKUP_ELIGIBLE) {
            return Err(malformed);
        }
        if !has(USER_PRESENT) {
            return Err(AssertionError::NotPresent);
        }
        if !has(USER_VERIFIED) {
            return Err(AssertionError::NotVerified);
        }
        Ok(u32::from_be_bytes([*a, *b, *c, *d]))
    }
}

/// Bytes of which there are at most so many.
fn decoded(name: &'static str, text: &str, most: usize) -> Result<Vec<u8>, AssertionError> {
    let malformed = AssertionError::Malformed(name);
    if text.len() > most.div_ceil(3) * 4 {
        return Err(malformed);
    }
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(text);
    match bytes {
        Ok(bytes) if bytes.len() <= most => Ok(bytes),
        _ => Err(malformed),
    }
}

fn word<'s>(said: &'s Map<String, Value>, name: &'static str) -> Result<&'s str, AssertionError> {
    let word = said.get(name).and_then(Value::as_str);
    word.ok_or(AssertionError::Malformed("clientDataJSON"))
}
