//! The proxy from outside: clients, destinations, and everything that must not pass between them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::print_stdout,
    clippy::large_futures,
    clippy::too_many_lines,
    reason = "tests"
)]

mod abuse;
mod bodies;
mod certificates;
mod client;
mod corpus;
mod credentials;
mod databases;
mod entries;
mod records;
mod smuggling;
mod upstream;
mod versions;
mod websockets;
mod world;
