//! What this crate promises, from outside.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod bad_profiles;
mod build;
mod decisions;
mod hostile;
mod monotone;
mod profiles;
mod reference;
mod seed_table;
