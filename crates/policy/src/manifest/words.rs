//! The words of a manifest that no other file has.

use casemate_model::words;

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
