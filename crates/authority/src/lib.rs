//! Authority that can be taken back: kill switches, budgets, loop detection.
//!
//! A [`Switchboard`] is a directory:
//!
//! ```text
//! board      all switches, with a digest; replaced whole by each throw
//! epoch      the newest epoch, written after the board
//! ```
//!
//! Invariants of switches:
//! - Each throw is a new epoch. When it returns it is durable, and every check that begins later, in whatever process,
//!   stops what it stops. A check costs one system call while nothing changes.
//! - A board that is missing, damaged, older than it was, or that others have access to, stops everything (I1). One that
//!   was lost is never made anew.
//! - What cannot be switched off, for its name, does not run.
//! - What was switched off and on again does not give back the authority from before ([`Board::check_held`]).
//!
//! [`Budgets`] are a directory that one process holds:
//!
//! ```text
//! budgets    records, each with a CRC over itself and the one before; written anew when it grows
//! made       is there once there are budgets
//! ```
//!
//! Invariants of budgets:
//! - What is reserved and used never exceeds a limit through a reservation, however many race for it. Only what was used
//!   beyond its reservation can.
//! - What a reservation or its end returned for is not forgotten by a crash of the process. A power failure may forget
//!   what was spent in the last second.
//! - What is not settled stays spent. A day that is over stays over.
//! - A file that is damaged or missing is an error, never a new budget (I1). Only the last line may be incomplete.
//!
//! [`Loops`] stop a kind of call that fails the same way again and again. They are in memory only.
//!
//! What it cannot find alone: a whole directory that was put back to an older state while nothing ran, and files that
//! this user forged. The directories must be on a local file system, and no process may be forked without `exec`.
//!
//! Everything is bounded (I15). Deliberately absent: clocks (time is a parameter), configuration, networks, and who may
//! throw or raise what.

mod amounts;
mod board;
mod board_file;
mod books;
mod budget_error;
mod budgets;
mod flush;
mod host;
mod journal;
mod limits;
mod loops;
mod name;
mod record;
mod rule;
mod shared;
mod subject;
mod switch;
mod switch_error;
mod switchboard;
mod switches;
mod watch;

pub use self::{
    amounts::{Amounts, Resource},
    board::{Board, Readable},
    books::Usage,
    budget_error::{BudgetDamage, BudgetError, BudgetFailure},
    budgets::{Budgets, OpenReservation, Reservation, ReservationId},
    limits::{
        BUDGET_LOCK_WAIT_MS, COMPACT_BYTES, LOCK_WAIT_MS, LOOP_LIMIT, MAX_ACCOUNTS, MAX_AMOUNT,
        MAX_BOARD_BYTES, MAX_BUDGET_BYTES, MAX_CAUSE_BYTES, MAX_LOOP_LIMIT, MAX_LOOPS,
        MAX_LOOPS_PER_THREAD, MAX_NAME_BYTES, MAX_OPEN_RESERVATIONS, MAX_REASON_BYTES, MAX_RULES,
        MAX_SWITCHES, MAX_TENANT_SWITCHES, MIN_LOOP_LIMIT, SYNC_MS, WATCH_CHECK_MS,
    },
    loops::{LoopKey, LoopLimit, LoopLimitError, Looping, Loops},
    rule::{BudgetRule, Exhausted, Period, Scope, Spender},
    subject::Subject,
    switch::{Epoch, Position, Switch, SwitchKind, Throw},
    switch_error::{Damage, Stopped, SwitchError, Unreadable, WatchError},
    switchboard::Switchboard,
    switches::Switches,
    watch::BoardWatch,
};
