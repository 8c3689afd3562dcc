//! Signed addresses of files: whoever has one may read or write that file, until it expires.

use aws_lc_rs::{constant_time::verify_slices_are_equal, digest};
use base64::{Engine as _, prelude::BASE64_STANDARD_NO_PAD};

use crate::{Code, Fault};

/// What a signature is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To read the file.
    Read,
    /// To write it.
    Write,
}

impl Direction {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}

/// What a signature is made of, beside the token of a sandbox.
#[derive(Clone, Copy, Debug)]
pub struct Signed<'a> {
    /// The path.
    pub path: &'a str,
    /// What it is for.
    pub direction: Direction,
    /// The user, or nothing for the default one.
    pub user: &'a str,
    /// When it expires, in seconds since 1970.
    pub expires_at_s: Option<i64>,
}

/// How every signature begins.
const PREFIX: &str = "v1_";
/// The length of a digest in Base64.
const DIGEST_LETTERS: usize = 43;

/// What is signed with, without what clients of before pad it with; nothing for what is no signature of anybody's.
fn unpadded(signature: &str) -> Option<&str> {
    let signature = signature.strip_suffix('=').unwrap_or(signature);
    let digest = signature.strip_prefix(PREFIX)?;
    let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    (digest.len() == DIGEST_LETTERS && digest.bytes().all(is_base64)).then_some(signature)
}

/// Whether somebody could have made this signature.
#[must_use]
pub fn is_signature(text: &str) -> bool {
    unpadded(text).is_some()
}

/// The signature of the holder of `token`.
#[must_use]
pub fn sign(signed: &Signed<'_>, token: &str) -> String {
    let Signed {
        path,
        direction,
        user,
        expires_at_s,
    } = signed;
    let direction = direction.as_str();
    let mut text = format!("{path}:{direction}:{user}:{token}");
    if let Some(expires) = expires_at_s {
        text.push_str(&format!(":{expires}"));
    }
    let digest = digest::digest(&digest::SHA256, text.as_bytes());
    format!("{PREFIX}{}", BASE64_STANDARD_NO_PAD.encode(digest))
}

/// Whether somebody shows the token that was given out, which takes as long to find out whatever is shown.
#[must_use]
pub fn is_same(token: &str, shown: &str) -> bool {
    verify_slices_are_equal(token.as_bytes(), shown.as_bytes()).is_ok()
}

impl Signed<'_> {
    /// Whether `signature` is that of the holder of `token`.
    #[must_use]
    pub fn is_by(&self, token: &str, signature: &str) -> bool {
        // Nothing is hashed for what cannot be one.
        unpadded(signature).is_some_and(|signature| {
            let expected = sign(self, token);
            verify_slices_are_equal(expected.as_bytes(), signature.as_bytes()).is_ok()
        })
    }

    /// Whether it still counts.
    ///
    /// # Errors
    /// When it has expired.
    pub fn counts_at(&self, now_ms: u64) -> Result<(), Fault> {
        let now_s = i64::try_from(now_ms / 1_000).unwrap_or(i64::MAX);
        match self.expires_at_s {
            Some(expires) if expires <= now_s => Err(Fault::new(
                Code::Unauthenticated,
                "signature is already expired",
            )),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const SIGNED: Signed<'_> = Signed {
        path: "/home/user/a",
        direction: Direction::Read,
        user: "user",
        expires_at_s: Some(2_000_000_000),
    };

    /// As E2B's SDK for Python makes it.
    #[test]
    fn a_signature_is_the_one_that_clients_make() {
        assert_eq!(
            sign(&SIGNED, "token"),
            "v1_tLx4jvwzM+91FEi7Mc6+REU/X2fh+ICNyfvJzJyFQAo"
        );
    }

    #[test]
    fn nothing_of_what_is_signed_can_be_changed() {
        let signature = sign(&SIGNED, "token");
        assert!(SIGNED.is_by("token", &signature));
        for other in [
            Signed {
                path: "/home/user/b",
                ..SIGNED
            },
            Signed {
                direction: Direction::Write,
                ..SIGNED
            },
            Signed { user: "", ..SIGNED },
            Signed {
                expires_at_s: Some(2_000_000_001),
                ..SIGNED
            },
            Signed {
                expires_at_s: None,
                ..SIGNED
            },
        ] {
            assert!(!other.is_by("token", &signature), "{other:?}");
        }
        assert!(!SIGNED.is_by("tokem", &signature));
        assert!(!SIGNED.is_by("token", ""));
    }

    #[test]
    fn what_is_no_signature_is_not_looked_into() {
        let signature = sign(&SIGNED, "token");
        assert!(is_signature(&signature));
        let padded = format!("{signature}=");
        assert!(is_signature(&padded) && SIGNED.is_by("token", &padded));
        for other in [
            "".to_owned(),
            "v1_".to_owned(),
            "v1_x".to_owned(),
            signature.replace("v1_", "v2_"),
            signature.replace("v1_", ""),
            format!("{signature}x"),
            format!("{signature}=="),
            signature.replace('+', "-"),
            format!("v1_{}", "é".repeat(43)),
        ] {
            assert!(!is_signature(&other), "{other}");
        }
    }

    #[test]
    fn it_counts_until_it_expires() {
        assert!(SIGNED.counts_at(1_999_999_999_999).is_ok());
        let fault = SIGNED.counts_at(2_000_000_000_000).unwrap_err();
        assert_eq!(fault.status, http::StatusCode::UNAUTHORIZED);
        assert!(fault.message.contains("already expired"));
        assert!(
            Signed {
                expires_at_s: None,
                ..SIGNED
            }
            .counts_at(u64::MAX)
            .is_ok()
        );
    }
}
