//! The solver: a program, and its process while it behaves.

use std::{path::Path, time::Duration};

use cedar_policy_symcc::{
    CedarSymCompiler, Env, WellFormedAsserts,
    err::{EncodeError, Error as Symcc},
    solver::SolverError as Failure,
};
use tokio::time::{Instant, timeout_at};

use crate::{
    Places, SolverError, Unknown, process::Process, program::Program, theorem::milliseconds,
};

/// How long the solver may take for one theorem.
pub const THEOREM_LIMIT: Duration = Duration::from_secs(60);

/// cvc5, in a process that is started with the first question and kept for the next.
#[derive(Debug)]
pub struct Solver {
    program: Program,
    limit: Duration,
    session: Option<CedarSymCompiler<Process>>,
}

/// What the solver says to the question whether something is possible.
pub(crate) enum Answer {
    Impossible,
    Possible(Box<Env>),
    Unknown(Unknown),
}

impl Solver {
    /// The program at `explicit`, else the first of this process's [`Places`].
    ///
    /// # Errors
    /// [`SolverError::Missing`] when there is none; another variant when a named one cannot be used.
    pub async fn find(explicit: Option<&Path>) -> Result<Self, SolverError> {
        Self::find_in(&Places::of_this_process(), explicit).await
    }

    /// The program at `explicit`, else the first of `places`.
    ///
    /// # Errors
    /// As [`Solver::find`].
    pub async fn find_in(places: &Places, explicit: Option<&Path>) -> Result<Self, SolverError> {
        Ok(Self {
            program: places.find(explicit).await?,
            limit: THEOREM_LIMIT,
            session: None,
        })
    }

    /// The same with another limit for each theorem.
    #[must_use]
    pub fn with_limit(self, limit: Duration) -> Self {
        Self {
            limit,
            session: None,
            ..self
        }
    }

    /// Where the program is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.program.path()
    }

    /// Which cvc5 it is.
    #[must_use]
    pub fn version(&self) -> &str {
        self.program.version()
    }

    /// When a theorem that is begun now must be decided.
    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.limit
    }

    /// Looks for a request that satisfies `asserts`. The process is kept only after an answer.
    pub(crate) async fn ask(
        &mut self,
        asserts: &WellFormedAsserts<'_>,
        deadline: Instant,
    ) -> Result<Answer, SolverError> {
        let mut session = match self.session.take() {
            Some(session) => session,
            None => CedarSymCompiler::new(Process::start(&self.program, self.limit)?)
                .map_err(|error| SolverError::Answer(Box::new(error)))?,
        };
        let answer = match timeout_at(deadline, Box::pin(session.check_sat(asserts))).await {
            Ok(Ok(None)) => Answer::Impossible,
            Ok(Ok(Some(env))) => Answer::Possible(Box::new(env)),
            Ok(Err(Symcc::SolverUnknown)) => Answer::Unknown(Unknown::GaveUp),
            Ok(Err(error)) => return Err(failure(error)),
            Err(_) => {
                let limit_ms = milliseconds(self.limit);
                return Ok(Answer::Unknown(Unknown::TimedOut { limit_ms }));
            }
        };
        self.session = Some(session);
        Ok(answer)
    }
}

fn failure(error: Symcc) -> SolverError {
    match error {
        Symcc::SolverError(Failure::Io(source)) | Symcc::EncodeError(EncodeError::Io(source)) => {
            SolverError::Ended(source)
        }
        Symcc::SolverError(Failure::Solver(said)) => SolverError::Refused { said },
        Symcc::SolverError(Failure::UnrecognizedSolverOutput(said)) => {
            SolverError::Garbage { said }
        }
        other => SolverError::Answer(Box::new(other)),
    }
}
