//! Theorems about a policy set.

use std::{
    str::FromStr,
    time::{Duration, Instant},
};

use cedar_policy::{PolicySet, Schema};

use crate::{
    Counterexample, ProveError, Solver, inclusion::Side, question::Question, requests::Requests,
};

/// A claim: every request which the deployed policies allow is allowed by the guard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Theorem {
    /// A short name.
    pub name: String,
    /// The claim in plain English.
    pub says: String,
    /// The policies, in Cedar, that allow everything which may be allowed.
    pub guard: String,
}

/// What became of a theorem.
#[derive(Debug, Clone, PartialEq)]
pub struct Proof {
    /// The theorem.
    pub theorem: Theorem,
    /// Whether it holds.
    pub verdict: Verdict,
    /// How long that took.
    pub took_ms: u64,
}

/// Whether a claim holds for every request.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// It does.
    Proved,
    /// It does not, and this is a request that shows it.
    Violated(Box<Counterexample>),
    /// The solver cannot say: treat it as not proved.
    Unknown(Unknown),
}

/// Why the solver cannot say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unknown {
    /// It did not answer in time, and was killed.
    #[error("the solver did not answer within {limit_ms} ms")]
    TimedOut {
        /// The limit.
        limit_ms: u64,
    },
    /// It answered "unknown".
    #[error("the solver gave up")]
    GaveUp,
}

/// Decides each of `theorems` about the `deployed` policies, in their order.
///
/// # Errors
/// When policies do not fit the schema, the solver fails, or its counterexample does not replay.
pub async fn prove(
    schema: &Schema,
    deployed: &PolicySet,
    theorems: &[Theorem],
    solver: &mut Solver,
) -> Result<Vec<Proof>, ProveError> {
    let requests = Requests::of(schema)?;
    let deployed = Side::new(&requests, "the deployed policies", deployed)?;
    let mut proofs = Vec::with_capacity(theorems.len());
    for theorem in theorems {
        let start = Instant::now();
        let guard = PolicySet::from_str(&theorem.guard).map_err(|source| ProveError::Guard {
            theorem: theorem.name.clone(),
            source: Box::new(source),
        })?;
        let guard = Side::new(
            &requests,
            &format!("the guard of {:?}", theorem.name),
            &guard,
        )?;
        let question = Question::new(schema, format!("{:?}", theorem.name), solver);
        let mut verdict = Verdict::Proved;
        for kind in deployed.within(&guard) {
            verdict = kind.check(&question, solver).await?;
            if verdict != Verdict::Proved {
                break;
            }
        }
        proofs.push(Proof {
            theorem: theorem.clone(),
            verdict,
            took_ms: milliseconds(start.elapsed()),
        });
    }
    Ok(proofs)
}

pub(crate) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
