//! Messages from a real ledger to real servers, some of which are down, slow or elsewhere.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::expect_used,
    reason = "tests"
)]

mod config;
mod deliveries;
#[path = "receiver.rs"]
mod receiver;
