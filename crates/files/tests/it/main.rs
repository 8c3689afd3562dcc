//! That nobody else's file is read, nothing is half there, and one writer writes at a time.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod directory;
mod refusals;
