//! Proofs about Cedar policies, with counterexamples that were replayed.
//!
//! A [`Theorem`] says that every request which the deployed policies allow is allowed by a guard. [`prove`] compiles both
//! to SMT (cedar-policy-symcc) and asks the solver cvc5 for a request that shows the contrary. [`compare`] asks the same
//! of two policy sets, [`matches_nothing`] and [`never_errors`] ask about one policy.
//!
//! Invariants:
//! - Proved means that the solver answered this very question with "unsat". A solver that is missing, ends, hangs, prints
//!   something else or answers another question gives an error or [`Verdict::Unknown`] (I1).
//! - A [`Counterexample`] is what its JSON says: that text was read back under the schema and decided by the real
//!   `Authorizer`. One that does not replay is an error, not a finding.
//! - After any failure the solver process is killed, and the next question gets a new one.
//! - Time, memory and the length of every answer are bounded (I15).
//!
//! What a proof covers: every request that the schema accepts, over every store in which the entities that the request and
//! the policies name *exist* and fit the schema. In an incomplete store Cedar skips a `forbid` that cannot be evaluated; so
//! whoever decides must hand over complete entities and take an evaluation error for a denial.
//!
//! Deliberately absent: theorems (they belong to the schema), templates with links (symcc has none), trust in the solver's
//! "unsat" beyond its word (nothing here checks a proof certificate).

mod compare;
mod counterexample;
mod error;
mod find;
mod inclusion;
mod policy;
mod process;
mod program;
mod question;
mod requests;
mod solver;
mod theorem;

pub use self::{
    compare::{Change, compare},
    counterexample::{Counterexample, ReplayError},
    error::{ProveError, SolverError},
    find::Places,
    policy::{matches_nothing, never_errors},
    solver::{Solver, THEOREM_LIMIT},
    theorem::{Proof, Theorem, Unknown, Verdict, prove},
};
