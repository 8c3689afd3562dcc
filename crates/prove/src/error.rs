//! What can go wrong, by step.

use std::{io, path::PathBuf};

use cedar_policy::ParseErrors;

use crate::ReplayError;

/// Why there is no solver, or no answer from it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SolverError {
    /// No solver anywhere.
    #[error(
        "no cvc5 solver: run `pip install cvc5`, or put cvc5 1.2 or newer into PATH, or name one in CASEMATE_CVC5{}",
        list(tried)
    )]
    Missing {
        /// What was looked at, and why it is none.
        tried: Vec<String>,
    },
    /// A program could not be started, or not be limited.
    #[error("cannot start the solver {program:?}")]
    Start {
        /// The program.
        program: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// A program did not say in time what it is.
    #[error("{program:?} did not say within {waited_ms} ms what it is")]
    Silent {
        /// The program.
        program: PathBuf,
        /// How long it had.
        waited_ms: u64,
    },
    /// A program that is neither cvc5 nor a Python that has it.
    #[error("{program:?} is not cvc5, nor a Python with the package cvc5: it says {said:?}")]
    NotCvc5 {
        /// The program.
        program: PathBuf,
        /// The first line of what it printed.
        said: String,
    },
    /// A solver that is too old.
    #[error("{program:?} is cvc5 {version}: 1.2 or newer is needed")]
    TooOld {
        /// The program.
        program: PathBuf,
        /// Its version.
        version: String,
    },
    /// The process ended, or closed its streams, before it had answered.
    #[error("the solver ended before it had answered")]
    Ended(#[source] io::Error),
    /// The solver refused a question.
    #[error("the solver refused the question: {said:?}")]
    Refused {
        /// Its words.
        said: String,
    },
    /// Something that is no answer, or the answer to another question.
    #[error("the solver gave no answer but {said:?}")]
    Garbage {
        /// The beginning of what it printed.
        said: String,
    },
    /// The question could not be put, or no request be made of the answer.
    #[error("the solver's answer cannot be read")]
    Answer(#[source] Box<cedar_policy_symcc::err::Error>),
}

fn list(tried: &[String]) -> String {
    tried.iter().map(|one| format!("\n  {one}")).collect()
}

/// Why nothing could be proved or disproved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProveError {
    /// A schema that accepts no request: everything would be proved.
    #[error("the schema has no action that applies to anything, so there is nothing to prove")]
    NoRequests,
    /// The text of a guard is not Cedar.
    #[error("the guard of {theorem:?} is not Cedar")]
    Guard {
        /// The theorem.
        theorem: String,
        /// Where and why.
        #[source]
        source: Box<ParseErrors>,
    },
    /// Policies that do not fit the schema.
    #[error("{what} do not fit the schema: {}", findings.join("; "))]
    Schema {
        /// Which policies.
        what: String,
        /// The validator's findings.
        findings: Vec<String>,
    },
    /// Policies that cannot be put as a question.
    #[error("{what} cannot be compiled for the solver")]
    Compile {
        /// Which policies.
        what: String,
        /// Why.
        #[source]
        source: Box<cedar_policy_symcc::err::Error>,
    },
    /// The solver failed.
    #[error("no answer about {what}")]
    Solver {
        /// What was asked.
        what: String,
        /// Why there is none.
        #[source]
        source: SolverError,
    },
    /// The solver's counterexample is none.
    #[error("the solver's counterexample to {what} is none")]
    Replay {
        /// What was asked.
        what: String,
        /// Why.
        #[source]
        source: ReplayError,
    },
}
