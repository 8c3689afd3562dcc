//! Identity's public interface, attacked.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "tests"
)]

mod fetching;
mod grants;
mod handshakes;
mod kept;
mod logins;
mod platforms;
mod wire;
mod world;
