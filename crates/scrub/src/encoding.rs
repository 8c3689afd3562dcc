//! The spellings in which a secret is looked for.

use std::fmt;

mod base64;
mod escape;

use zeroize::Zeroizing;

/// How a secret was spelled where it was found. The table in the crate's documentation says what each comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Encoding {
    /// As it is.
    Raw,
    /// Base64, at any of the three places where it can begin in a longer text.
    Base64,
    /// Base64 for URLs, likewise.
    Base64Url,
    /// Hexadecimal digits.
    Hex,
    /// `%41`.
    Percent,
    /// As a string in JSON or JavaScript.
    Json,
    /// As text or an attribute in HTML or XML.
    Html,
    /// Last byte first.
    Reversed,
}

impl Encoding {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::Raw,
        Self::Base64,
        Self::Base64Url,
        Self::Hex,
        Self::Percent,
        Self::Json,
        Self::Html,
        Self::Reversed,
    ];

    /// The word for it in records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Base64 => "base64",
            Self::Base64Url => "base64url",
            Self::Hex => "hex",
            Self::Percent => "percent",
            Self::Json => "json",
            Self::Html => "html",
            Self::Reversed => "reversed",
        }
    }

    /// All spellings of `secret` in this encoding.
    pub(crate) fn spellings(self, secret: &[u8]) -> Vec<Spelling> {
        match self {
            Self::Raw => vec![secret.to_vec().into()],
            Self::Base64 => base64::spellings(secret, base64::Alphabet::Standard),
            Self::Base64Url => base64::spellings(secret, base64::Alphabet::Url),
            Self::Hex => vec![
                each(secret, |byte, out| two_digits(byte, Case::Lower, out)),
                each(secret, |byte, out| two_digits(byte, Case::Upper, out)),
            ],
            Self::Percent => escape::percent(secret),
            Self::Json => escape::json(secret),
            Self::Html => escape::html(secret),
            Self::Reversed => vec![secret.iter().rev().copied().collect::<Vec<_>>().into()],
        }
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Bytes that are as secret as the secret.
pub(crate) type Spelling = Zeroizing<Vec<u8>>;

/// Of the digits that are letters.
#[derive(Clone, Copy)]
enum Case {
    Lower,
    Upper,
}

/// The most bytes that one byte comes to in any encoding: `&#x41;` and `\u0041`.
const MOST_FOR_A_BYTE: usize = 6;

/// What `write` makes of each byte. Room is taken beforehand: a buffer that grows leaves copies behind that nobody erases.
fn each(secret: &[u8], mut write: impl FnMut(u8, &mut Vec<u8>)) -> Spelling {
    let mut spelling = Zeroizing::new(Vec::with_capacity(secret.len() * MOST_FOR_A_BYTE));
    for byte in secret {
        write(*byte, &mut spelling);
    }
    spelling
}

fn two_digits(byte: u8, case: Case, out: &mut Vec<u8>) {
    out.extend([digit(byte >> 4, case), digit(byte & 15, case)]);
}

fn digit(value: u8, case: Case) -> u8 {
    match (value, case) {
        (0..10, _) => b'0' + value,
        (_, Case::Lower) => b'a' + (value - 10),
        (_, Case::Upper) => b'A' + (value - 10),
    }
}
