//! Secrets against everything that could carry one past the scrubber.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod coding;
mod common;
mod seal;
mod stream;
