//! The life of a call, with a keeper that runs nothing and a ledger, keys and stores that are real.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod approval;
#[path = "../../../answers/tests/it/authenticator.rs"]
mod authenticator;
mod between;
mod crash;
mod deeds;
mod fair;
mod fake;
mod forms;
mod holes;
mod house;
mod idempotency;
mod lost;
mod no_egress;
mod order;
mod pauses;
mod records;
mod refusals;
mod scan;
mod session_keeper;
mod sessions;
mod spent;
mod violations;
mod waits;
mod world;
