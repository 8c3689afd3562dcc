//! What this crate promises, from outside.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod against_oracle;
mod arguments;
mod bad_manifests;
mod bad_profiles;
mod build;
mod corpus;
mod decisions;
mod directory;
mod gate;
mod hostile;
mod library;
mod manifests;
mod monotone;
mod oracle;
mod profiles;
mod reference;
mod seed_table;
mod worlds;
