//! What is proved, what is disproved, and what is said when neither can be.
//!
//! The solver is needed: `pip install cvc5`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests"
)]

mod change;
mod fixture;
mod one_policy;
mod solvers;
mod theorems;
