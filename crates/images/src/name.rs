//! Names of images, and the words by which people mean one.

use std::{fmt, str::FromStr};

use casemate_model::Digest;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// The longest name.
pub const MAX_NAME_BYTES: usize = 63;
/// The fewest hex digits that can mean an image.
pub const MIN_PREFIX_DIGITS: usize = 8;

const DIGEST_DIGITS: usize = 64;
const DIGEST_PREFIX: &str = "sha256:";
/// How much of a text that is no name a message repeats.
const SHOWN_CHARS: usize = 100;

/// The name under which an image is built.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ImageName(String);

/// Why a text is not a name.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0:?} is not the name of an image: use 1 to 63 of a-z, 0-9, `-` and `_`, starting with a letter, and not only a-f \
     and 0-9 in 8 or more, which would be a digest"
)]
pub struct ParseNameError(String);

impl ImageName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ImageName {
    type Err = ParseNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
        let is_name = text.len() <= MAX_NAME_BYTES
            && text.starts_with(|first: char| first.is_ascii_lowercase())
            && text.as_bytes().iter().all(allowed)
            && !(text.len() >= MIN_PREFIX_DIGITS && is_hex(text));
        if is_name {
            Ok(Self(text.to_owned()))
        } else {
            Err(ParseNameError(text.chars().take(SHOWN_CHARS).collect()))
        }
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for ImageName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ImageName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

/// What a word means: a name, or the first digits of a digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reference {
    Name(ImageName),
    Digits(String),
}

impl FromStr for Reference {
    type Err = ParseNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.strip_prefix(DIGEST_PREFIX).unwrap_or(text);
        if (MIN_PREFIX_DIGITS..=DIGEST_DIGITS).contains(&digits.len()) && is_hex(digits) {
            Ok(Self::Digits(digits.to_owned()))
        } else {
            text.parse().map(Self::Name)
        }
    }
}

fn is_hex(text: &str) -> bool {
    text.bytes()
        .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The name of an image's directory. No colon: mount options and search paths are split at it.
pub(crate) fn directory_of(digest: &Digest) -> String {
    let text = digest.to_string();
    text.strip_prefix(DIGEST_PREFIX).unwrap_or(&text).to_owned()
}

/// The digest of an image, from the name of its directory.
pub(crate) fn digest_of(directory: &str) -> Option<Digest> {
    format!("{DIGEST_PREFIX}{directory}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_file_name_and_never_a_digest() {
        for name in [
            "a",
            "python-data",
            "x_1",
            "deadbee",
            "decade-1",
            &"a-".repeat(31),
        ] {
            assert_eq!(name.parse::<ImageName>().unwrap().as_str(), name);
        }
        let long = "x".repeat(64);
        for bad in [
            "",
            ".",
            "..",
            "a/b",
            "../x",
            "/x",
            "a\0",
            "a\n",
            "A",
            "1a",
            "-a",
            "_a",
            "a b",
            "ä",
            "deadbeef",
            "deadbeef00",
            "sha256:deadbeef",
            &long,
        ] {
            assert!(bad.parse::<ImageName>().is_err(), "{bad:?}");
            let json = serde_json::to_string(bad).unwrap();
            assert!(serde_json::from_str::<ImageName>(&json).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_word_is_a_name_or_the_start_of_a_digest() {
        let digest = Digest::of(b"x");
        let directory = directory_of(&digest);
        assert_eq!(digest_of(&directory), Some(digest));
        for (word, digits) in [
            (&*directory, &*directory),
            (&digest.to_string(), &directory),
            ("deadbeef", "deadbeef"),
            ("sha256:deadbeef", "deadbeef"),
        ] {
            assert_eq!(
                word.parse::<Reference>().unwrap(),
                Reference::Digits(digits.to_owned())
            );
        }
        assert!(matches!("deadbee".parse(), Ok(Reference::Name(_))));
        for bad in [
            "",
            "sha256:",
            "sha256:deadbee",
            "DEADBEEF",
            "../deadbeef",
            "1234567",
            &format!("{directory}0"),
        ] {
            assert!(bad.parse::<Reference>().is_err(), "{bad:?}");
        }
        for bad in ["", ".", "names", "..", "deadbeef"] {
            assert_eq!(digest_of(bad), None);
        }
    }
}
