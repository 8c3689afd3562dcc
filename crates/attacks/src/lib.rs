//! Attacks on a way out of a sandbox, as data, and what runs them against any proxy.
//!
//! A [`Case`] is a client that tries something: steps, the refusal it meets, how many requests arrive. [`run`] drives a [`Subject`],
//! which stands for one proxy, and looks at what arrived at the [`Destinations`]: they count, and say whether what came could be read
//! in two ways.
//!
//! Invariants:
//! - What a proxy says about itself never makes a case hold: the destinations' own count does.
//! - Nothing here knows any proxy, ours included.
//!
//! Only for tests and benchmarks.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a part of tests"
)]

mod case;
mod clear;
mod client;
mod destination;
mod http2;
mod outcome;
mod roots;
mod run;
mod shaped;
mod subject;

pub use self::{
    case::{Asked, Case, Step, Tls, Within, cases},
    client::{Answer, Duplex, ask, hello, is_closed, read, read_head, tls, tunnel},
    destination::{Destination, Destinations, Seen},
    outcome::{Outcome, judge},
    roots::{Roots, pem},
    run::{Manner, Report, run},
    subject::{Later, Subject},
};
