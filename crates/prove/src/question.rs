//! A question to the solver, and what its answer means.

use cedar_policy::Schema;
use cedar_policy_symcc::WellFormedAsserts;
use tokio::time::Instant;

use crate::{
    Counterexample, ProveError, ReplayError, Solver, Verdict, counterexample::Case, solver::Answer,
};

/// What is asked, under which schema, until when: one question may be put for several kinds of requests.
pub(crate) struct Question<'a> {
    schema: &'a Schema,
    what: String,
    deadline: Instant,
}

impl<'a> Question<'a> {
    /// A question whose time begins to run now.
    pub(crate) fn new(schema: &'a Schema, what: String, solver: &Solver) -> Self {
        Self {
            schema,
            what,
            deadline: solver.deadline(),
        }
    }

    /// Proved when nothing satisfies `asserts`. What does is given to `replay`, and counts only as the engine confirms it.
    pub(crate) async fn put(
        &self,
        asserts: &WellFormedAsserts<'_>,
        solver: &mut Solver,
        replay: impl FnOnce(Case) -> Result<Counterexample, ReplayError>,
    ) -> Result<Verdict, ProveError> {
        let answer = solver.ask(asserts, self.deadline).await;
        match answer.map_err(|source| ProveError::Solver {
            what: self.what.clone(),
            source,
        })? {
            Answer::Impossible => Ok(Verdict::Proved),
            Answer::Unknown(why) => Ok(Verdict::Unknown(why)),
            Answer::Possible(found) => Case::read_back(self.schema, &found)
                .and_then(replay)
                .map(|example| Verdict::Violated(Box::new(example)))
                .map_err(|source| ProveError::Replay {
                    what: self.what.clone(),
                    source,
                }),
        }
    }
}
