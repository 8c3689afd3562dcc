//! `casemate policy prove`, and the proofs that an activation requires.

use std::path::Path;

use casemate_policy::Engine;

use super::bundle::load;
use crate::{
    exit::Exit,
    report::{self, Failure},
};

/// What came of the proofs of a bundle.
#[derive(Debug)]
pub(crate) struct Proofs {
    /// A line for each claim: proved, or why not.
    pub(crate) claims: Vec<ClaimResult>,
    /// How the new policies compare with the old ones.
    pub(crate) change: Change,
}

/// What came of a claim.
#[derive(Debug, serde::Serialize)]
pub(crate) struct ClaimResult {
    pub(crate) name: String,
    pub(crate) says: String,
    /// Nothing if it is proved.
    pub(crate) contradicted_by: Option<String>,
    pub(crate) took_ms: u64,
}

/// How the new policies compare with the old ones, as far as it is proved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// They allow no more.
    NoWider,
    /// They allow more; an example.
    Wider(String),
    /// It could not be proved.
    Unknown(String),
}

/// Proves every claim about a bundle.
pub(crate) fn run(name: &Path, solver: Option<&Path>) -> Result<Exit, Failure> {
    let loaded = load(name)?;
    let proofs = prove(None, &loaded.engine, solver)?;
    let mut exit = Exit::Success;
    for claim in &proofs.claims {
        match &claim.contradicted_by {
            None => report::print(format_args!(
                "proved   {} ({} ms): {}\n",
                claim.name, claim.took_ms, claim.says
            ))?,
            Some(example) => {
                exit = Exit::Invalid;
                report::print(format_args!(
                    "VIOLATED {}: {}\n  by this call, which the real engine allows:\n{example}\n",
                    claim.name, claim.says
                ))?;
            }
        }
    }
    Ok(exit)
}

/// Proves every claim about `new`, and how it compares with `old`.
#[cfg(feature = "prover")]
pub(crate) fn prove(
    old: Option<&Engine>,
    new: &Engine,
    solver: Option<&Path>,
) -> Result<Proofs, Failure> {
    use casemate_prove::{Change as Compared, Solver, Theorem, Verdict};

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(Failure::failed)?;
    runtime.block_on(async {
        let mut solver = Solver::find(solver).await.map_err(|error| {
            Failure::failed(error).hint("`pip install cvc5` installs a solver; --solver names one")
        })?;
        let theorems: Vec<_> = new
            .claims()
            .into_iter()
            .map(|claim| Theorem {
                name: claim.name.to_owned(),
                says: claim.says.to_owned(),
                guard: claim.guard,
            })
            .collect();
        let proofs = casemate_prove::prove(new.schema(), new.policies(), &theorems, &mut solver)
            .await
            .map_err(Failure::failed)?;
        let claims = proofs.into_iter().map(|proof| ClaimResult {
            name: proof.theorem.name,
            says: proof.theorem.says,
            contradicted_by: match proof.verdict {
                Verdict::Proved => None,
                Verdict::Violated(example) => Some(shown(&example)),
                Verdict::Unknown(why) => Some(format!("  unknown: {why}")),
            },
            took_ms: proof.took_ms,
        });
        let claims = claims.collect();
        let Some(old) = old else {
            return Ok(Proofs {
                claims,
                change: Change::Wider("everything in it is new".to_owned()),
            });
        };
        let compared =
            casemate_prove::compare(new.schema(), old.policies(), new.policies(), &mut solver)
                .await
                .map_err(Failure::failed)?;
        let change = match compared {
            Compared::Equal | Compared::Narrower => Change::NoWider,
            Compared::Wider(examples) => {
                Change::Wider(examples.iter().map(shown).collect::<Vec<_>>().join("\n"))
            }
            Compared::Unknown(why) => Change::Unknown(why.to_string()),
        };
        Ok(Proofs { claims, change })
    })
}

/// Without the feature there is no prover: nothing is proved (I1).
#[cfg(not(feature = "prover"))]
pub(crate) fn prove(
    _old: Option<&Engine>,
    _new: &Engine,
    _solver: Option<&Path>,
) -> Result<Proofs, Failure> {
    Err(Failure::failed(anyhow::anyhow!(
        "this build has no prover: it was built without the feature `prover`"
    )))
}

/// A counterexample as the call that it is.
#[cfg(feature = "prover")]
fn shown(example: &casemate_prove::Counterexample) -> String {
    let context = format!("{:#}", example.context).replace('\n', "\n    ");
    format!(
        "    principal {}\n    action    {}\n    resource  {}\n    context   {context}\n    allowed by {}",
        example.principal,
        example.action,
        example.resource,
        example.determined_by.join(", ")
    )
}
