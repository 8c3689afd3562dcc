//! The three forms in which the same text is signed.

use serde::{Deserialize, Serialize};

use crate::Message;

/// A text that somebody signed, as it came. Kept so, it can be verified again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum SignedAnswer {
    /// A C2SP signed note, in which the text is.
    Note {
        /// The note.
        note: String,
    },
    /// A text, and the assertion of a passkey over its SHA-256.
    Passkey {
        /// The text.
        statement: String,
        /// The assertion.
        assertion: Assertion,
    },
    /// A message whose body is the text.
    Webhook {
        /// The message.
        webhook: Message,
    },
}

/// An assertion, in the members of WebAuthn's `AuthenticationResponseJSON` that count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assertion {
    /// The credential.
    pub id: String,
    /// `public-key`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What the authenticator answered.
    pub response: AuthenticatorResponse,
}

/// What an authenticator answered: bytes in base64url.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthenticatorResponse {
    /// What the browser says.
    #[serde(rename = "clientDataJSON")]
    pub client_data: String,
    /// What the authenticator says.
    #[serde(rename = "authenticatorData")]
    pub authenticator_data: String,
    /// Its signature over both.
    pub signature: String,
}

impl SignedAnswer {
    /// A note.
    #[must_use]
    pub fn note(note: impl Into<String>) -> Self {
        Self::Note { note: note.into() }
    }

    /// The word for this form.
    #[must_use]
    pub const fn form(&self) -> &'static str {
        match self {
            Self::Note { .. } => "note",
            Self::Passkey { .. } => "passkey",
            Self::Webhook { .. } => "webhook",
        }
    }
}
