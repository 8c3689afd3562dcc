//! Typed ids: a prefix that names the kind, then a UUID version 7 (RFC 9562) in 32 hex digits.
//!
//! Ids sort by the time they were made. They are names, not secrets.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use uuid::{Builder, Uuid};

/// The random part of an id.
pub type Entropy = [u8; 10];

/// Why a text is not an id.
#[derive(Debug, thiserror::Error)]
#[error("`{text}` is not a {kind} id: expected `{prefix}` and 32 hex digits")]
pub struct ParseIdError {
    text: String,
    kind: &'static str,
    prefix: &'static str,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Uuid);

        impl $name {
            /// A new id, made at `unix_ms` (milliseconds since 1970) from `entropy`.
            #[must_use]
            pub fn new(unix_ms: u64, entropy: Entropy) -> Self {
                Self(Builder::from_unix_timestamp_millis(unix_ms, &entropy).into_uuid())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0.simple())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.strip_prefix($prefix)
                    .filter(|hex| hex.len() == 32)
                    .and_then(|hex| Uuid::try_parse(hex).ok())
                    .map(Self)
                    .ok_or_else(|| ParseIdError {
                        text: text.chars().take(100).collect(),
                        kind: $kind,
                        prefix: $prefix,
                    })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
            }
        }
    };
}

id! {
    /// Joins a call, its processes, its records and its outcome.
    DecisionId, "decision", "dec_"
}
id! {
    /// Names one sandbox.
    SandboxId, "sandbox", "sbx_"
}

id! {
    /// Names one session: the sandbox of one thread of one agent.
    SessionId, "session", "ses_"
}
id! {
    /// Names one stateful interpreter of a session.
    ContextId, "context", "ctx_"
}

/// So much of the name of a call its requests have in theirs.
type Kin = [u8; 6];

impl DecisionId {
    /// The name of a request of this call, made at `unix_ms`. No other call, and no request of another call, has such a name: whoever
    /// names requests of one call can name nothing else.
    #[must_use]
    pub fn request(self, unix_ms: u64, entropy: [u8; 4]) -> Self {
        let [a, b, c, d, e, f] = self.kin();
        let [w, x, y, z] = entropy;
        Self::new(unix_ms, [a, b, c, d, e, f, w, x, y, z])
    }

    /// Whether it is the name of a request of `call`.
    #[must_use]
    pub fn is_request_of(self, call: Self) -> bool {
        self != call && self.kin() == call.kin()
    }

    fn kin(self) -> Kin {
        let [_, _, _, _, _, _, a, b, c, d, e, f, ..] = self.0.into_bytes();
        [a, b, c, d, e, f]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names of requests are of one call, and different from each other and from its own.
    #[test]
    fn requests_are_named_after_their_call() {
        let [call, other] = [1, 2].map(|seed| DecisionId::new(1, [seed; 10]));
        let first = call.request(2, [0, 0, 0, 1]);
        let second = call.request(2, [0, 0, 0, 2]);
        assert_ne!(first, second);
        assert!(first.is_request_of(call) && second.is_request_of(call));
        for stranger in [call, other, other.request(2, [0, 0, 0, 1])] {
            assert!(!stranger.is_request_of(call), "{stranger}");
        }
    }

    #[test]
    fn ids_sort_by_time_and_refuse_other_kinds() {
        let early = DecisionId::new(1, [255; 10]);
        let late = DecisionId::new(2, [0; 10]);
        assert!(early < late && early.to_string() < late.to_string());
        assert_eq!(early.to_string().parse::<DecisionId>().unwrap(), early);
        let sandbox = SandboxId::new(1, [0; 10]).to_string();
        for bad in ["", "dec_", "dec_xyz", sandbox.as_str()] {
            assert!(bad.parse::<DecisionId>().is_err(), "{bad}");
        }
    }
}
