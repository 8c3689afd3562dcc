//! The escape suite: attacks on a sandbox as data, and what runs them in any [`Arena`].
//!
//! An [`Attempt`] is a short program that tries to get out of its sandbox, or to take more than its share.
//! The catalogue is `tests/escape/*.toml`. [`attempt`] lets one loose and looks at the host afterwards: what
//! must hold for it alone stands beside it, what must hold for all is checked for each ([`Traps`]). The tests
//! run all of them against every tier and in every [`Way`], `casemate doctor` the ones that say so against this host.
//!
//! Invariants:
//! - An attempt that gets out does no harm: it touches nothing of the host but the traps.
//! - Nothing is skipped in silence: [`Verdict::Skipped`] says why.

use casemate_model::{Isolation, Limits, one_line};
use casemate_ports::{InputFile, Keeper, KeeperError, Ready, Sandbox, SandboxSpec, WayOut};

mod arena;
mod attempt;
mod catalogue;
mod drive;
mod error;
mod expect;
mod family;
mod footprint;
mod leftovers;
mod neighbour;
mod random;
mod sessions;
mod sink;
mod takers;
mod taking;
mod traps;
mod way;

pub use self::{
    arena::Arena, attempt::Attempt, catalogue::catalogue, error::EscapeError, traps::Traps,
    way::Way,
};
use self::{
    attempt::{Afterwards, Demand},
    drive::{Observed, Script},
    expect::Expect,
    family::Family,
    leftovers::Leftovers,
    sessions::Sessions,
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
    let (_, ready) = make(keeper, Limits::default(), Vec::new(), None).await?;
    Ok(ready.isolation)
}

/// Runs `attempt` in sandboxes of `arena`, among `traps` that were laid for it alone.
///
/// # Errors
/// When no sandbox can be made or the host cannot be looked at: then nothing is known.
pub async fn attempt<A: Arena>(
    arena: &A,
    attempt: &Attempt,
    mut traps: Traps,
) -> Result<Verdict, EscapeError> {
    let nothing = attempt
        .cannot_run_here()
        .or_else(|| attempt.shows_nothing(arena.way()));
    if let Some(why) = nothing {
        return Ok(Verdict::Skipped(why));
    }
    let before = Leftovers::of_this_host()?;
    let verdict = if attempt.neighbour {
        let attack = async |traps: &Traps| let_loose(arena, attempt, traps).await;
        neighbour::beside(arena, attempt, &mut traps, attack).await
    } else {
        let_loose(arena, attempt, &traps).await
    }?;
    let visits = if attempt.neighbour {
        arena.visits_to_neighbour()
    } else {
        Vec::new()
    };
    arena.clear().await.map_err(EscapeError::Sandbox)?;
    let left = before.settle(arena.way(), &traps).await?;
    Ok(verdict.with(visits).with(left))
}

/// Runs `attempt` in sessions in each of `ways`, each time among traps of its own; one session beside it must stay as it is.
/// The process must have one thread and run in a `LocalSet`. `own_secret` stands in its environment.
///
/// # Errors
/// When no sandbox can be made or the host cannot be looked at: then nothing is known.
pub async fn attempt_in_sessions(
    attempt: &Attempt,
    ways: &[Way],
    own_secret: Option<&str>,
) -> Result<Vec<(Way, Verdict)>, EscapeError> {
    let lay = || Traps::lay(own_secret.map(str::to_owned));
    let outer = lay()?;
    let before = Leftovers::of_this_host()?;
    let sessions = Sessions::open(attempt).await;
    let sessions = sessions.map_err(EscapeError::Sandbox)?;
    let mut verdicts = Vec::new();
    for way in ways {
        let arena = sessions.in_one_way(attempt, *way);
        verdicts.push((*way, self::attempt(&arena, attempt, lay()?).await?));
    }
    sessions.close().await.map_err(EscapeError::Sandbox)?;
    let left = before.settle(Way::Cold, &outer).await?;
    // Until then it clears away.
    drop(sessions);
    if let Some((_, verdict)) = verdicts.last_mut() {
        *verdict = verdict.clone().with(left);
    }
    Ok(verdicts)
}

impl Verdict {
    /// The same with more findings; whatever it was, it is none of these any more.
    fn with(self, more: Vec<String>) -> Self {
        if more.is_empty() {
            return self;
        }
        let mut findings = match self {
            Self::GotThrough(findings) => findings,
            Self::Held | Self::Skipped(_) => Vec::new(),
        };
        findings.extend(more);
        Self::GotThrough(findings)
    }
}

async fn let_loose<A: Arena>(
    arena: &A,
    attempt: &Attempt,
    traps: &Traps,
) -> Result<Verdict, EscapeError> {
    let way = arena.way();
    let inputs = traps.write_inputs(&attempt.inputs)?;
    let (isolation, seen) = match make(arena, attempt.limits, inputs, attempt.way_out()).await {
        Ok((sandbox, ready)) => {
            if let Demand::Nothing(why) = attempt.demand(way, Some(&ready.isolation)) {
                return Ok(Verdict::Skipped(why));
            }
            let script = Script {
                command: attempt.command(way, traps),
                limits: attempt.limits,
                stdin_bytes: attempt.stdin_bytes,
                caller: attempt.caller,
            };
            let seen = watch::<A>(sandbox, script, way, traps).await?;
            (Some(ready.isolation), seen)
        }
        // A demand that must be refused, such as a hostile name of an input.
        Err(KeeperError::Spec(why)) => (None, Seen::refused(&why)),
        Err(error) => return Err(EscapeError::Sandbox(error)),
    };
    let Demand::Expect(expect) = attempt.demand(way, isolation.as_ref()) else {
        return Ok(Verdict::Held);
    };
    let verdict = seen.judged(&expect.heard_in(way), &attempt.limits, traps)?;
    match &attempt.afterwards {
        None => Ok(verdict),
        Some(next) => Ok(verdict.with(look_back(arena, attempt, next, traps).await?)),
    }
}

/// Runs the call after an attempt; returns what it found.
async fn look_back<A: Arena>(
    arena: &A,
    attempt: &Attempt,
    next: &Afterwards,
    traps: &Traps,
) -> Result<Vec<String>, EscapeError> {
    let way = arena.way();
    let inputs = traps.write_inputs(&next.inputs)?;
    let seen = match make(arena, attempt.limits, inputs, attempt.way_out()).await {
        Ok((sandbox, _)) => {
            let script = Script {
                command: next.command(way, traps),
                limits: attempt.limits,
                stdin_bytes: 0,
                caller: None,
            };
            watch::<A>(sandbox, script, way, traps).await?
        }
        // What its own session has done to itself.
        Err(error) => Seen::refused(&one_line(&error)),
    };
    Ok(
        match seen.judged(&next.expect.heard_in(way), &attempt.limits, traps)? {
            Verdict::GotThrough(findings) => {
                let told = |finding: String| format!("in the call afterwards: {finding}");
                findings.into_iter().map(told).collect()
            }
            Verdict::Held | Verdict::Skipped(_) => Vec::new(),
        },
    )
}

/// What was seen of one program.
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

    fn judged(
        self,
        expect: &Expect,
        limits: &Limits,
        traps: &Traps,
    ) -> Result<Verdict, EscapeError> {
        let mut findings = self.findings;
        findings.extend(traps.sprung(&self.observed, &self.captured)?);
        findings.extend(expect.disappointments(limits, &self.observed, &self.captured));
        if findings.is_empty() {
            return Ok(Verdict::Held);
        }
        findings.push(self.observed.to_string());
        Ok(Verdict::GotThrough(findings))
    }
}

async fn watch<A: Arena>(
    mut sandbox: A::Sandbox,
    script: Script,
    way: Way,
    traps: &Traps,
) -> Result<Seen, EscapeError> {
    let place = A::processes(&sandbox);
    let relatives = Family::of_this_process()?;
    let observed = drive::drive(&mut sandbox, script).await;
    // Not later: when the call is over, everything in it is dead already.
    let mut findings = relatives.survivors(way, place.as_deref(), traps.nonce())?;
    let mut captured = Captured::default();
    match sandbox.collect(&mut captured).await {
        Ok(artefacts) => captured.list = artefacts,
        Err(error) => findings.push(format!("no artefacts were taken: {}", one_line(&error))),
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
    way_out: Option<WayOut>,
) -> Result<(K::Sandbox, Ready), KeeperError> {
    let spec = SandboxSpec {
        id: random::sandbox_id(),
        limits,
        inputs,
        way_out,
        // What an attempt that is refused leaves behind is to be seen.
        violations: None,
    };
    let mut sandbox = keeper.create(spec).await?;
    let ready = sandbox.ready().await?;
    Ok((sandbox, ready))
}
