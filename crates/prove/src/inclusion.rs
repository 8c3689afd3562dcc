//! Whether one policy set allows nothing that another does not.

use cedar_policy::{Decision, PolicySet};
use cedar_policy_symcc::{CompiledPolicySet, implies_asserts};

use crate::{ProveError, Solver, Verdict, question::Question, requests::Requests};

/// A policy set, as the engine and as the solver reads it.
pub(crate) struct Side<'a> {
    set: &'a PolicySet,
    compiled: Vec<CompiledPolicySet>,
}

/// Two policy sets, for one kind of request.
#[derive(Clone, Copy)]
pub(crate) struct Kind<'a> {
    inner: (&'a PolicySet, &'a CompiledPolicySet),
    outer: (&'a PolicySet, &'a CompiledPolicySet),
}

impl<'a> Side<'a> {
    pub(crate) fn new(
        requests: &Requests<'_>,
        what: &str,
        set: &'a PolicySet,
    ) -> Result<Self, ProveError> {
        let compiled = requests.compile(what, set)?;
        Ok(Self { set, compiled })
    }

    /// This one within `outer`, for each kind of request. Both were compiled for the same kinds.
    pub(crate) fn within(&'a self, outer: &'a Self) -> impl Iterator<Item = Kind<'a>> {
        let pairs = self.compiled.iter().zip(&outer.compiled);
        pairs.map(|(inner, beyond)| Kind {
            inner: (self.set, inner),
            outer: (outer.set, beyond),
        })
    }
}

impl Kind<'_> {
    /// Proved when everything that the inner set allows is allowed by the outer one; else a request that the inner one
    /// allows, and by which policies.
    pub(crate) async fn check(
        self,
        question: &Question<'_>,
        solver: &mut Solver,
    ) -> Result<Verdict, ProveError> {
        let asserts = implies_asserts(self.inner.1, self.outer.1);
        question
            .put(&asserts, solver, |case| {
                let allowed = case.decide(self.inner.0);
                let bound = case.decide(self.outer.0);
                case.confirm(
                    &allowed,
                    "this is allowed, and beyond the bound",
                    |allowed| {
                        (allowed.decision(), bound.decision()) == (Decision::Allow, Decision::Deny)
                    },
                )
            })
            .await
    }
}
