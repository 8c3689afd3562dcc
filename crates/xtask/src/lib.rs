//! The chores of the project: generated pages, checks of the tree, measurements, the demonstration.
//!
//! Invariants:
//! - A check is a function from a [`Tree`] to findings, so that a test can run it on the real tree and
//!   another test can show that it finds something. `tests/tidy.rs` runs every check.
//! - What is generated depends on the tree alone, except for the measurements, which say where and when.
//! - Nothing that is written into the tree holds a path of the machine it was written on.
//!
//! Deliberately absent: any crate of Casemate. The chores read sources and run commands.

#![expect(clippy::print_stdout, reason = "a command-line tool")]

pub mod bench;
pub mod canaries;
pub mod clients;
pub mod demo;
pub mod image;
mod page;
mod process;
pub mod reference;
pub mod requirements;
mod served;
pub mod soak;
mod source;
pub mod stages;
pub mod tidy;
mod tree;

pub use self::{page::Page, tree::Tree};
