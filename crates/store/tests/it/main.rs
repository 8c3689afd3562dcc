//! Everything in the crate's public interface, attacked.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests"
)]

mod child;
mod conformance;
mod crash;
mod erase;
mod keys;
mod paused;
mod schemas;
mod seal;
mod session_conformance;
mod sqlite;
mod state;
mod support;
