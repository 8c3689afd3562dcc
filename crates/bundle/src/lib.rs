//! Policy bundles: content-addressed, signed, versioned directories, and which one is in force (I13).
//!
//! A bundle is a directory:
//!
//! ```text
//! bundle.toml                  name, version (1 and up), description
//! profiles/*.toml|*.json       profiles of routes
//! tools/*.toml|*.json          manifests of tools
//! policies/*.cedar             policies
//! tests/*.toml                 tests of policies
//! README.md                    for people
//! bundle.sig                   a signed note by whoever published it; not part of the digest
//! ```
//!
//! Its digest is the SHA-256 of the RFC 8785 JSON `{files: {path: sha256}, format, name, version}`: a function of
//! names and bytes, and of nothing else. A [`PolicyStore`] is a directory of bundles:
//!
//! ```text
//! bundles/<64 hex digits>/     a bundle, never changed
//! current                      the activation in force, signed with `key`
//! history/<number>             each activation that was in force, as `current` had it
//! key                          signs activations
//! trusted                      who may publish bundles, who may approve that one permits more
//! approvers                    who may approve calls, what for, and by which keys
//! counters                     how often each passkey has signed
//! ```
//!
//! Invariants:
//! - Each file is read once. What was hashed, verified and activated are the same bytes.
//! - What a directory may hold is listed; anything else is an error that names it. Everything is bounded (I15).
//! - A bundle is staged whole and durable, or not at all, and checked against its digest each time it is loaded.
//! - An activation is one rename. Before it the old bundle is in force, after it the new one, also when the process or
//!   the machine dies; an activation that returned is on disk.
//! - One writer at a time, and only on top of what it saw: of two, one gets [`PolicyStoreError::Changed`].
//! - Only what a trusted publisher signed is activated. An older version comes back by rollback only, and only if it was
//!   in force before.
//! - A `current` that was changed, lost or put back is an error, never "no policy" and never another one (I1).
//!
//! What it cannot find alone: a whole store that was put back to an older state. The ledger records each activation.
//! The store must be on a local file system.
//!
//! Deliberately absent: what is in the files (`policy` knows), proofs and replays before an activation, clocks, pruning.

mod activate;
mod activation;
mod approval;
mod approver;
mod approver_key;
mod bundle;
mod counters;
mod error;
mod key;
mod limits;
mod list;
mod note;
mod place;
mod read;
mod store;
mod trusted;
mod watch;

pub use self::{
    activation::{Activation, ActivationKind},
    approval::Approval,
    approver::{Approver, ApproverError, ApproverList, OpenError},
    approver_key::{ApproverKey, ApproverKeyError},
    bundle::Bundle,
    error::{BundleError, PolicyStoreError},
    key::{KeyError, PolicyKey, PublicKey},
    limits::{
        LOCK_WAIT_MS, MAX_ACTIVATIONS, MAX_BUNDLE_BYTES, MAX_DESCRIPTION_BYTES, MAX_FILE_BYTES,
        MAX_FILE_NAME_BYTES, MAX_FILES, MAX_KEY_NAME_BYTES, MAX_NAME_BYTES, MAX_NOTE_BYTES,
        MAX_SIGNATURES, MAX_TRUSTED_KEYS, MAX_VERSION,
    },
    list::{Listed, Named},
    note::NoteError,
    place::{MANIFEST, README, SIGNATURE},
    store::PolicyStore,
    trusted::{Role, Trusted, TrustedError},
    watch::Watch,
};
