//! Switches and budgets, by way of the public interface.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    reason = "tests"
)]

mod budget_damage;
mod budgets;
mod kill;
mod switch_damage;
mod switch_processes;
mod switch_watch;
mod switches;
