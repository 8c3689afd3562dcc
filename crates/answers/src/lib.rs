//! Signed answers: what a passkey or a service signs, and whether it did.
//!
//! An approver says the same text in any of three forms ([`SignedAnswer`]): a C2SP note, an assertion of a passkey
//! (WebAuthn), or a message of Standard Webhooks. This crate knows the bytes of the last two, and the keys that are
//! enlisted for them; notes are the business of whoever has their keys. It also signs the messages that we send.
//!
//! Invariants:
//! - The challenge of an assertion is the SHA-256 of the text, so that what is signed is the text and nothing else.
//! - A passkey has seen its person: presence and verification of the user are both required.
//! - One message has one signature. What could be read in two ways is refused.
//! - Nothing is parsed before its size is known to be in bounds.
//!
//! Deliberately absent: who may answer, what is said, HTTP, clocks, attestation, algorithms beyond ES256 and Ed25519.

mod assertion;
mod limits;
mod message;
mod passkey;
mod signed;
mod signing_key;

pub use self::{
    assertion::AssertionError,
    limits::{
        MAX_ANSWER_BYTES, MAX_CLIENT_DATA_BYTES, MAX_CREDENTIAL_BYTES, MAX_ID_BYTES, MAX_ORIGINS,
        MAX_PASSKEY_BYTES, MAX_TIME_OFF_S,
    },
    message::{Message, MessageError, WebhookKey, WebhookKeyError},
    passkey::{Passkey, PasskeyError},
    signed::{Assertion, AuthenticatorResponse, SignedAnswer},
    signing_key::{SigningKey, SigningKeyError},
};
