//! Bundles and their store, by way of the public interface.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests"
)]

mod activation;
mod bad;
mod digest;
mod processes;
mod signature;
mod support;
mod tampering;
mod watch;
