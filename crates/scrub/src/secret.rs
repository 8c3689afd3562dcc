//! What must not come through.

use zeroize::Zeroizing;

/// A shorter secret would be found in everything.
pub const MIN_SECRET_BYTES: usize = 8;
/// A longer one is a file, not a credential.
pub const MAX_SECRET_BYTES: usize = 16 * 1024;

/// The value of a credential, and the name by which people know it. Erased from memory when it is dropped, and never shown.
#[expect(
    missing_debug_implementations,
    reason = "a secret is not shown, not even its name beside it"
)]
pub struct Secret {
    pub(crate) name: String,
    pub(crate) value: Zeroizing<Vec<u8>>,
}

impl Secret {
    /// A secret that can be looked for.
    ///
    /// # Errors
    /// When it is too short or too long for that. The value is erased.
    pub fn new(
        name: impl Into<String>,
        value: impl Into<Zeroizing<Vec<u8>>>,
    ) -> Result<Self, SecretError> {
        let (name, value) = (name.into(), value.into());
        match value.len() {
            0..MIN_SECRET_BYTES => Err(SecretError::TooShort { name }),
            MIN_SECRET_BYTES..=MAX_SECRET_BYTES => Ok(Self { name, value }),
            _ => Err(SecretError::TooLong { name }),
        }
    }
}

/// Why a secret cannot be looked for. The route that needs it stays closed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// It is so short that ordinary text holds it by chance.
    #[error(
        "the secret `{name}` is shorter than {MIN_SECRET_BYTES} bytes, and would be found in ordinary text; use a longer one"
    )]
    TooShort {
        /// The credential's name.
        name: String,
    },
    /// It is longer than anything that is a credential.
    #[error(
        "the secret `{name}` is longer than {MAX_SECRET_BYTES} bytes; check that it is not a file of another kind"
    )]
    TooLong {
        /// The credential's name.
        name: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A short secret would blank out ordinary text, and one without an end would cost any amount of memory.
    #[test]
    fn a_secret_that_is_too_short_or_too_long_is_refused() {
        let of = |bytes: usize| Secret::new("db", vec![b'x'; bytes]).err();
        let short = SecretError::TooShort { name: "db".into() };
        let long = SecretError::TooLong { name: "db".into() };
        assert_eq!(of(0), Some(short.clone()));
        assert_eq!(of(MIN_SECRET_BYTES - 1), Some(short));
        assert_eq!(of(MIN_SECRET_BYTES), None);
        assert_eq!(of(MAX_SECRET_BYTES), None);
        assert_eq!(of(MAX_SECRET_BYTES + 1), Some(long));
    }
}
