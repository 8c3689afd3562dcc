//! The escape suite: attacks on a sandbox as data, and what runs them against any [`Keeper`].
//!
//! An [`Attempt`] is a short program that tries to get out of its sandbox, or to take more than its share.
//! The catalogue is `tests/escape/*.toml`. [`attempt`] lets one loose and looks at the host afterwards: what
//! must hold for it alone stands beside it, what must hold for all is checked for each ([`Traps`]). The tests
//! run all of them against every tier, `casemate doctor` the ones that say so against this host.
//!
//! Invariants:
//! - An attempt that gets out does no harm: it touches nothing of the host but the traps.
//! - Nothing is skipped in silence: [`Verdict::Skipped`] says why.

use casemate_model::{Isolation, Limits};
use casemate_ports::{InputFile, Keeper, KeeperError, Ready, Sandbox, SandboxSpec};

mod attempt;
mod catalogue;
mod drive;
mod error;
mod expect;
mod family;
mod footprint;
mod neighbour;
mod random;
mod sink;
mod traps;

pub use self::{attempt::Attempt, catalogue::catalogue, error::EscapeError, traps::Traps};
use self::{
    attempt::Demand, drive::Observed, error::chain, family::Family, footprint::Footprint,
    sink::Captured,
};

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing got through.
    Held,
    /// Something did, or the attempt did not end as it must: each finding in one line.
    GotThrough(Vec<String>),
    /// It cannot be tried here, and why.
    Skipped(String),
}

/// What a sandbox of `keeper` with the usual limits enforces.
///
/// # Errors
/// When no sandbox can be made.
pub async fn measure<K: Keeper>(keeper: &K) -> Result<Isolation, KeeperError> {
    let (_, ready) = make(keeper, Limits::default(), Vec::new()).await?;
    Ok(ready.isolation)
}

/// Runs `attempt` in a sandbox that `keeper` makes, among `traps` that were laid for it alone.
///
/// # Errors
/// When no sandbox can be made or the host cannot be looked at: then nothing is known.
pub async fn attempt<K: Keeper>(
    keeper: &K,
    attempt: &Attempt,
    mut traps: Traps,
) -> Result<Verdict, EscapeError> {
    if let Some(why) = attempt.cannot_run_here() {
        return Ok(Verdict::Skipped(why));
    }
    if attempt.neighbour {
        let attack = async |traps: &Traps| let_loose(keeper, attempt, traps).await;
        neighbour::beside(keeper, &mut traps, attack).await
    } else {
        let_loose(keeper, attempt, &traps).await
    }
}

async fn let_loose<K: Keeper>(
    keeper: &K,
    attempt: &Attempt,
    traps: &Traps,
) -> Result<Verdict, EscapeError> {
    let before = Footprint::of_this_host()?;
    let relatives = Family::of_this_process()?;
    let inputs = traps.write_inputs(&attempt.inputs)?;
    let (isolation, seen) = match make(keeper, attempt.limits, inputs).await {
        Ok((sandbox, ready)) => {
            if let Demand::Nothing(why) = attempt.demand(Some(&ready.isolation)) {
                return Ok(Verdict::Skipped(why));
            }
            let seen = watch(sandbox, attempt, traps, &relatives).await?;
            (Some(ready.isolation), seen)
        }
        // A demand that must be refused, such as a hostile name of an input.
        Err(KeeperError::Spec(why)) => (None, Seen::refused(&why)),
        Err(error) => return Err(EscapeError::Sandbox(error)),
    };
    let mut findings = seen.findings;
    findings.extend(before.changes(traps)?);
    findings.extend(traps.sprung(&seen.observed, &seen.captured)?);
    if let Demand::Expect(expect) = attempt.demand(isolation.as_ref()) {
        findings.extend(expect.disappointments(&attempt.limits, &seen.observed, &seen.captured));
    }
    if findings.is_empty() {
        return Ok(Verdict::Held);
    }
    findings.push(seen.observed.to_string());
    Ok(Verdict::GotThrough(findings))
}

/// What was seen of one attempt.
struct Seen {
    observed: Observed,
    captured: Captured,
    findings: Vec<String>,
}

impl Seen {
    fn refused(why: &str) -> Self {
        Self {
            observed: Observed::refused(why),
            captured: Captured::default(),
            findings: Vec::new(),
        }
    }
}

async fn watch<S: Sandbox>(
    mut sandbox: S,
    attempt: &Attempt,
    traps: &Traps,
    relatives: &Family,
) -> Result<Seen, EscapeError> {
    let observed = drive::drive(&mut sandbox, attempt, traps).await;
    // Not later: when the call is over, everything in it is dead already.
    let mut findings = relatives.survivors(traps.nonce())?;
    let mut captured = Captured::default();
    match sandbox.collect(&mut captured).await {
        Ok(artefacts) => captured.list = artefacts,
        Err(error) => findings.push(format!("no artefacts were taken: {}", chain(&error))),
    }
    Ok(Seen {
        observed,
        captured,
        findings,
    })
}

async fn make<K: Keeper>(
    keeper: &K,
    limits: Limits,
    inputs: Vec<InputFile>,
) -> Result<(K::Sandbox, Ready), KeeperError> {
    let spec = SandboxSpec {
        id: random::sandbox_id(),
        limits,
        inputs,
    };
    let mut sandbox = keeper.create(spec).await?;
    let ready = sandbox.ready().await?;
    Ok((sandbox, ready))
}
