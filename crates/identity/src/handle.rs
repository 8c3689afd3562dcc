//! What models, profiles and people see of a credential: its name.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::limits::MAX_NAME_BYTES;

const SCHEME: &str = "cred:";

/// The handle of a credential: `cred:` and its name. It says nothing about the secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Handle(String);

/// Why a text is no handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a handle is `cred:` and at most {MAX_NAME_BYTES} lower-case letters, digits, `_`, `-` and `.`, the first a letter or digit"
)]
pub struct HandleError;

impl Handle {
    /// The name alone: safe as a part of a file name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0
    }
}

impl FromStr for Handle {
    type Err = HandleError;

    /// Reads a handle; `cred:` may be left out, as profiles that name one in a key `credential` do.
    fn from_str(text: &str) -> Result<Self, HandleError> {
        let name = text.strip_prefix(SCHEME).unwrap_or(text);
        let first = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let good = name.len() <= MAX_NAME_BYTES
            && name.bytes().next().is_some_and(first)
            && name
                .bytes()
                .all(|byte| first(byte) || matches!(byte, b'_' | b'-' | b'.'));
        if good {
            Ok(Self(name.to_owned()))
        } else {
            Err(HandleError)
        }
    }
}

impl TryFrom<String> for Handle {
    type Error = HandleError;

    fn try_from(text: String) -> Result<Self, HandleError> {
        text.parse()
    }
}

impl From<Handle> for String {
    fn from(handle: Handle) -> Self {
        handle.to_string()
    }
}

impl fmt::Display for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_is_a_name_and_leads_nowhere_else() {
        for bad in [
            "",
            "cred:",
            "cred:.",
            "cred:..",
            "cred:../x",
            "cred:a/b",
            "cred:A",
            "a b",
            "cred:.new",
            "cred:cred:a",
            "a\n",
            "a\0",
            "-a",
        ] {
            assert!(bad.parse::<Handle>().is_err(), "{bad:?}");
        }
        assert!("x".repeat(MAX_NAME_BYTES + 1).parse::<Handle>().is_err());
        let handle: Handle = "cred:github-readonly".parse().unwrap();
        assert_eq!(handle, "github-readonly".parse().unwrap());
        assert_eq!(handle.to_string(), "cred:github-readonly");
    }
}
