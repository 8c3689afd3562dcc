//! The text of an API key: `cm_<id>_<secret><checksum>`, in lower-case hex.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use casemate_model::Digest;
use zeroize::Zeroizing;

use crate::{
    Refusal,
    random::{self, from_hex, hex},
};

/// How the text of an API key begins, for those who search for keys that got out.
pub const API_KEY_PREFIX: &str = "cm_";

const ID_BYTES: usize = 8;
const SECRET_BYTES: usize = 32;
const SUM_BYTES: usize = 4;
/// In hex digits, after the prefix and with the `_` between id and secret.
const TEXT_BYTES: usize =
    API_KEY_PREFIX.len() + 2 * ID_BYTES + 1 + 2 * SECRET_BYTES + 2 * SUM_BYTES;

/// The id and the digest of the secret of an API key.
#[derive(Debug)]
pub(crate) struct Presented {
    pub(crate) id: String,
    secret: Digest,
}

impl Presented {
    /// Reads the text of an API key.
    pub(crate) fn read(text: &str) -> Result<Self, Refusal> {
        let malformed = || Refusal::Malformed("API key");
        if text.len() != TEXT_BYTES || !text.is_ascii() {
            return Err(malformed());
        }
        let parts = text.strip_prefix(API_KEY_PREFIX).ok_or_else(malformed)?;
        let (id, rest) = parts.split_once('_').ok_or_else(malformed)?;
        let (secret, sum) = rest
            .split_at_checked(2 * SECRET_BYTES)
            .ok_or_else(malformed)?;
        from_hex::<ID_BYTES>(id).ok_or_else(malformed)?;
        let secret = from_hex::<SECRET_BYTES>(secret).map(Zeroizing::new);
        let secret = secret.ok_or_else(malformed)?;
        let sum = from_hex::<SUM_BYTES>(sum).ok_or_else(malformed)?;
        if sum != checksum(id, &secret) {
            return Err(Refusal::Mistyped);
        }
        Ok(Self {
            id: id.to_owned(),
            secret: Digest::of(secret.as_slice()),
        })
    }

    /// Whether `stored` is the digest of the secret, in a time that does not tell how much of it is.
    pub(crate) fn matches(&self, stored: &Digest) -> bool {
        verify_slices_are_equal(self.secret.as_bytes(), stored.as_bytes()).is_ok()
    }
}

/// A new id, the text of its key, and the digest of the secret.
pub(crate) fn generate() -> Result<(String, Zeroizing<String>, Digest), Refusal> {
    let id = hex(&random::bytes::<ID_BYTES>()?);
    let secret = Zeroizing::new(random::bytes::<SECRET_BYTES>()?);
    let (digits, sum) = (
        Zeroizing::new(hex(secret.as_slice())),
        hex(&checksum(&id, &secret)),
    );
    let text = Zeroizing::new(format!("{API_KEY_PREFIX}{id}_{}{sum}", *digits));
    Ok((id, text, Digest::of(secret.as_slice())))
}

/// Finds what was mistyped or cut off. It protects nothing.
fn checksum(id: &str, secret: &[u8; SECRET_BYTES]) -> [u8; SUM_BYTES] {
    let mut summed = Zeroizing::new(Vec::with_capacity(id.len() + 1 + SECRET_BYTES));
    summed.extend_from_slice(id.as_bytes());
    summed.push(b'_');
    summed.extend_from_slice(secret);
    // Not the digest of the secret, which is what is stored.
    let [a, b, c, d, ..] = *Digest::of(&summed).as_bytes();
    [a, b, c, d]
}
