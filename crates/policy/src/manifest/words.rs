//! The words of a manifest that no other file has.

use serde::Serialize;

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $text)] $variant),+ }

        impl $name {
            /// Every word of the set.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word as it is written.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }
    };
}

words! {
    /// Who says whether a call waits for a person.
    ApprovalRule {
        /// Every call waits, whatever the profile says.
        Required = "required",
        /// The profile says.
        Profile = "profile",
    }
}
words! {
    /// What a tool gets to see.
    Reads {
        /// Data that not everybody may see.
        Private = "private",
        /// Only what everybody may see, or what the call itself brings.
        Public = "public",
    }
}
words! {
    /// What a tool's results are worth as instructions.
    Returns {
        /// Somebody else may have written them: never instructions.
        Untrusted = "untrusted",
        /// Only we write them.
        Trusted = "trusted",
    }
}
words! {
    /// Whether a call needs an idempotency key.
    Idempotency {
        /// It does.
        Required = "required",
        /// It may do without.
        None = "none",
    }
}

/// Which fields are never shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Redaction {
    /// All of them.
    Everything,
    /// These, and those of the profile.
    Fields(Vec<String>),
}
