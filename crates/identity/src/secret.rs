//! A secret: erased when it is dropped, and never shown.

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::limits::{MAX_SECRET_BYTES, MIN_SECRET_BYTES};

/// A secret. It has no form that a message could contain.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(Zeroizing<String>);

/// What a secret looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One line of visible ASCII, which can stand in a header: a key, a token, a password.
    Line,
    /// A private key in PEM.
    Pem,
    /// There is none: what proves who this is is elsewhere.
    Nothing,
}

/// Why something is not kept as a secret. Nothing of it is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// There is nothing.
    #[error("the secret is empty: pass it on standard input or in a file")]
    Empty,
    /// It would be found everywhere.
    #[error(
        "the secret has fewer than {MIN_SECRET_BYTES} bytes, and could not be told from ordinary text in answers: use a longer one"
    )]
    TooShort,
    /// It is something else.
    #[error(
        "the secret has more than {MAX_SECRET_BYTES} bytes: check that it is not a file of another kind"
    )]
    TooLong,
    /// It would end a header, or hide in it.
    #[error(
        "the secret has a line break, a NUL or another character that no header can carry: pass it as one line of visible ASCII"
    )]
    Characters,
    /// Nobody would look at it.
    #[error("a credential of this kind has no secret: what proves who this is is elsewhere")]
    Unwanted,
    /// It is not what this kind of credential signs with.
    #[error("this is no private key in PEM: pass the whole file, from BEGIN to END")]
    NotPem,
}

impl Secret {
    /// A secret as somebody passed it. One line break at its end is the file's, not the secret's.
    ///
    /// # Errors
    /// When it could not be used, or not be kept out of answers.
    pub fn read(bytes: &[u8], form: Form) -> Result<Self, SecretError> {
        let text = match form {
            Form::Line => bytes.strip_suffix(b"\n").unwrap_or(bytes),
            Form::Pem => bytes,
            Form::Nothing if bytes.is_empty() => return Ok(Self::made(String::new())),
            Form::Nothing => return Err(SecretError::Unwanted),
        };
        match text.len() {
            0 => return Err(SecretError::Empty),
            1..MIN_SECRET_BYTES => return Err(SecretError::TooShort),
            MIN_SECRET_BYTES..=MAX_SECRET_BYTES => {}
            _ => return Err(SecretError::TooLong),
        }
        let text = std::str::from_utf8(text).map_err(|_| SecretError::Characters)?;
        let good = match form {
            Form::Line | Form::Nothing => is_line(text),
            Form::Pem => {
                if !text.trim_start().starts_with("-----BEGIN ") {
                    return Err(SecretError::NotPem);
                }
                text.bytes()
                    .all(|byte| is_visible(byte) || matches!(byte, b'\n' | b'\r'))
            }
        };
        if good {
            Ok(Self(Zeroizing::new(text.to_owned())))
        } else {
            Err(SecretError::Characters)
        }
    }

    /// A secret that was made here, of bytes that can stand in a header.
    pub(crate) fn made(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// Bytes that it takes at most once something in it is escaped, so that a buffer for it need not grow and leave copies behind.
    pub(crate) fn room(&self) -> usize {
        3 * self.0.len() + 64
    }

    /// Its text, for whoever puts it where it belongs.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// Whether `text` can stand in a header as it is: no space at an end, which some would cut off.
pub(crate) fn is_line(text: &str) -> bool {
    text.bytes().all(is_visible) && text.trim_matches(' ') == text
}

const fn is_visible(byte: u8) -> bool {
    byte == b' ' || byte.is_ascii_graphic()
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(bytes: &[u8]) -> Result<Secret, SecretError> {
        Secret::read(bytes, Form::Line)
    }

    /// R92: what could end a header, hide in one, or not be found again in an answer is never kept.
    #[test]
    fn what_no_header_can_carry_is_refused() {
        for bad in [
            &b"abc\r\ndef-ghi"[..],
            b"abcdefgh\r",
            b"abcdefgh\r\n",
            b"abcd\nefgh",
            b"abcdefgh\n\n",
            b"abcd\0efgh",
            b"abcd\x7fefgh",
            b"abcd\tefgh",
            b"\xff\xfeabcdefgh",
            "abcdefgh\u{e9}".as_bytes(),
            b" abcdefgh",
            b"abcdefgh ",
        ] {
            assert_eq!(line(bad), Err(SecretError::Characters), "{bad:?}");
        }
        assert_eq!(line(b""), Err(SecretError::Empty));
        assert_eq!(line(b"\n"), Err(SecretError::Empty));
        assert_eq!(line(b"1234567"), Err(SecretError::TooShort));
        assert_eq!(line(b"1234567\n"), Err(SecretError::TooShort));
        assert_eq!(
            line(&[b'x'; MAX_SECRET_BYTES + 1]),
            Err(SecretError::TooLong)
        );
        assert_eq!(line(&vec![b'x'; 1 << 20]), Err(SecretError::TooLong));
        assert_eq!(line(b"12345678\n").unwrap().expose(), "12345678");
        assert_eq!(
            line(&[b'x'; MAX_SECRET_BYTES]).unwrap().expose().len(),
            MAX_SECRET_BYTES
        );
    }

    /// R92, I2: nothing that prints values prints this one.
    #[test]
    fn nothing_prints_a_secret() {
        let secret = line(b"hunter2-hunter2").unwrap();
        assert_eq!(format!("{secret:?} {secret:#?}"), "Secret(..) Secret(..)");
    }

    #[test]
    fn only_a_private_key_is_one() {
        let pem = |bytes: &[u8]| Secret::read(bytes, Form::Pem);
        assert_eq!(pem(b"ssh-ed25519 AAAA"), Err(SecretError::NotPem));
        assert_eq!(
            pem(b"-----BEGIN PRIVATE KEY-----\nAA\0A\n"),
            Err(SecretError::Characters)
        );
        pem(b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n").unwrap();
    }
}
