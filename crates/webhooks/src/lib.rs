//! Messages to other services: a call waits for a person, it waits no more, somebody has to look.
//!
//! They are read from the ledger. So nothing is told that is not on disk, in no other order, and nothing is lost: each
//! endpoint has a cursor, a place in the ledger, which goes on when the receiver has said that it has a message. The ledger is
//! the queue; whoever is slow, or away for a week, delays nobody and costs nothing.
//!
//! Invariants:
//! - At least once: a receiver gets a message again when its answer was lost. The name of a message is the same each time.
//! - A message holds names, a hash and times. Code, arguments, files and reasons of people are in no part of the ledger that
//!   this crate reads.
//! - One message at a time for each endpoint, in the order of the ledger; none is left out because a receiver does not take it.
//!
//! Deliberately absent: receivers that are asked whether they exist, redirects, proxies, plain HTTP to other hosts.

mod config;
mod courier;
mod cursor;
mod event;
mod limits;
mod post;

pub use self::{
    config::{ConfigError, Endpoint, Topic, Webhooks},
    courier::{Couriers, StartError, Surroundings},
    cursor::CursorError,
    event::Event,
    limits::{
        FIRST_PAUSE_MS, LOOK_EVERY_MS, MAX_CONFIG_BYTES, MAX_ENDPOINTS, MAX_PAUSE_MS, TIMEOUT_MS,
    },
    post::PostError,
};
