//! Callers and those who only say that they are, by way of the public interface.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::print_stdout,
    reason = "tests"
)]

mod api_keys;
mod callers;
mod certificates;
mod config;
mod envelopes;
mod forged;
mod https;
mod jwt;
mod key_tokens;
mod mutation;
mod narrowing;
mod rotation;
mod support;
