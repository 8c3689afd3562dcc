//! What passkeys and services sign, and what is taken for it.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::expect_used,
    reason = "tests"
)]

mod authenticator;
mod messages;
mod passkeys;
