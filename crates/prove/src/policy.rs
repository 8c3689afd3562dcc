//! Claims about one policy.

use cedar_policy::{Policy, PolicySet, Response, Schema};
use cedar_policy_symcc::{
    CompiledPolicy, WellFormedAsserts, never_errors_asserts, never_matches_asserts,
};

use crate::{ProveError, Solver, Verdict, question::Question, requests::Requests};

/// A claim about one policy, and how the engine shows the contrary.
struct Claim {
    says: &'static str,
    contrary: &'static str,
    asserts: for<'a> fn(&'a CompiledPolicy) -> WellFormedAsserts<'a>,
    shows_contrary: fn(&Response) -> bool,
}

/// Whether `policy` applies to no request at all: proved for a policy that is dead. A counterexample is a request to which
/// it applies.
///
/// # Errors
/// When the policy does not fit the schema, the solver fails, or its counterexample does not replay.
pub async fn matches_nothing(
    schema: &Schema,
    policy: &Policy,
    solver: &mut Solver,
) -> Result<Verdict, ProveError> {
    let claim = Claim {
        says: "matches nothing",
        contrary: "the policy applies",
        asserts: never_matches_asserts,
        shows_contrary: |response| response.diagnostics().reason().next().is_some(),
    };
    claim.decide(schema, policy, solver).await
}

/// Whether `policy` can be evaluated for every request. One that cannot is skipped by the engine, which makes a `forbid`
/// allow.
///
/// # Errors
/// When the policy does not fit the schema, the solver fails, or its counterexample does not replay.
pub async fn never_errors(
    schema: &Schema,
    policy: &Policy,
    solver: &mut Solver,
) -> Result<Verdict, ProveError> {
    let claim = Claim {
        says: "never errors",
        contrary: "the policy cannot be evaluated",
        asserts: never_errors_asserts,
        shows_contrary: |response| response.diagnostics().errors().next().is_some(),
    };
    claim.decide(schema, policy, solver).await
}

impl Claim {
    async fn decide(
        &self,
        schema: &Schema,
        policy: &Policy,
        solver: &mut Solver,
    ) -> Result<Verdict, ProveError> {
        let what = format!("policy {:?}", policy.id().to_string());
        let requests = Requests::of(schema)?;
        let alone = PolicySet::from_policies([policy.clone()]).map_err(|error| {
            let findings = vec![error.to_string()];
            ProveError::Schema {
                what: what.clone(),
                findings,
            }
        })?;
        let compiled = requests.compile_one(&what, policy, &alone)?;
        let question = Question::new(schema, format!("{what}: {}", self.says), solver);
        for compiled in &compiled {
            let verdict = question
                .put(&(self.asserts)(compiled), solver, |case| {
                    let response = case.decide(&alone);
                    case.confirm(&response, self.contrary, self.shows_contrary)
                })
                .await?;
            if verdict != Verdict::Proved {
                return Ok(verdict);
            }
        }
        Ok(Verdict::Proved)
    }
}
