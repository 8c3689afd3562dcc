//! Deciders that answer, lie, hang and break off.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod asking;
mod breaking;
mod script;
