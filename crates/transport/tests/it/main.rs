//! The transport on a real socket, with a fake keeper behind it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod abuse;
mod bounds;
mod egress;
mod fake;
mod handovers;
mod leaving;
mod peers;
mod sockets;
mod trips;
mod world;
