//! The HTTP interface on a fake keeper, over real sockets.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests, some of whose parts are the gateway's"
)]

#[path = "../../../gateway/tests/it/fake.rs"]
mod fake;
#[path = "../../../gateway/tests/it/house.rs"]
mod house;
#[path = "../../../gateway/tests/it/no_egress.rs"]
mod no_egress;
#[path = "../../../gateway/tests/it/session_keeper.rs"]
mod session_keeper;
#[path = "../../../callers/tests/it/support.rs"]
mod support;
#[path = "../../../gateway/tests/it/world.rs"]
mod world;

mod answers;
mod attach;
mod azure;
mod calls;
mod client;
mod cloudflare;
mod crowd;
mod delegation;
mod e2b;
mod e2b_inside;
mod e2b_messages;
mod files;
mod mcp;
mod mcp_calls;
mod openai;
mod page;
mod records;
mod remote;
mod roles;
mod sockets;
mod strangers;
mod tags;
mod tenancy;
mod tls;
