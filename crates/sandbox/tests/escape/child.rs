//! The process that attacks its own sandbox: one thread, one attempt.

use std::{env, process::ExitCode};

use casemate_sandbox::{
    GvisorKeeper, NamespaceKeeper, Runsc,
    escape::{Attempt, EscapeError, Traps, Verdict, Way, attempt, attempt_in_sessions, catalogue},
};
use tokio::task::LocalSet;

use crate::{failure, weak::WeakKeeper, weak_interpreter::WeakInterpreter};

/// Which attempt to run; the parent sets it.
pub(crate) const ATTEMPT: &str = "CASEMATE_ESCAPE_ATTEMPT";
/// Set when the attempt shall run in sessions.
pub(crate) const IN_SESSIONS: &str = "CASEMATE_ESCAPE_IN_SESSIONS";
/// Set when the attempt shall run with gVisor in its sandbox.
pub(crate) const IN_GVISOR: &str = "CASEMATE_ESCAPE_IN_GVISOR";
/// Not an attempt, but a sandbox that cannot be made.
pub(crate) const FAILED_STEP: &str = "failed_step_is_named";
/// Set when the attempt shall run without any sandbox.
pub(crate) const WEAK: &str = "CASEMATE_ESCAPE_WEAK";
/// Set when the attempt shall run as a cell in one interpreter for all.
pub(crate) const WEAK_INTERPRETER: &str = "CASEMATE_ESCAPE_WEAK_INTERPRETER";
/// A secret in the keeper's environment.
pub(crate) const SECRET: &str = "CASEMATE_ESCAPE_SECRET";

pub(crate) const HELD: u8 = 0;
pub(crate) const GOT_THROUGH: u8 = 10;
pub(crate) const SKIPPED: u8 = 11;
const FAILED: u8 = 12;

/// More is not printed: the parent reads it at the end.
const MAX_PRINTED: usize = 16 * 1024;

pub(crate) fn wanted() -> Option<String> {
    env::var(ATTEMPT).ok()
}

pub(crate) fn main(name: &str) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let set = LocalSet::new();
    let (code, text) = match set.block_on(&runtime, run(name)) {
        Ok(Verdict::Held) => (HELD, String::new()),
        Ok(Verdict::GotThrough(findings)) => (GOT_THROUGH, findings.join("\n")),
        Ok(Verdict::Skipped(why)) => (SKIPPED, why),
        Err(error) => (FAILED, format!("{error:?}")),
    };
    println!("{}", text.chars().take(MAX_PRINTED).collect::<String>());
    code.into()
}

async fn run(name: &str) -> Result<Verdict, EscapeError> {
    if name == FAILED_STEP {
        let finding = failure::finding().await.map_err(EscapeError::Sandbox)?;
        return Ok(finding.map_or(Verdict::Held, |finding| Verdict::GotThrough(vec![finding])));
    }
    let attempts = catalogue()?;
    let wanted = |attempt: &&Attempt| attempt.name() == name;
    let found = attempts.iter().find(wanted).expect("the catalogue has it");
    if env::var_os(IN_SESSIONS).is_some() {
        return run_in_sessions(found).await;
    }
    let traps = Traps::lay(env::var(SECRET).ok())?;
    if env::var_os(WEAK).is_some() {
        return attempt(&WeakKeeper, found, traps).await;
    }
    if env::var_os(WEAK_INTERPRETER).is_some() {
        return attempt(&WeakInterpreter::start(), found, traps).await;
    }
    let keeper = NamespaceKeeper::new().map_err(EscapeError::Sandbox)?;
    if env::var_os(IN_GVISOR).is_some() {
        let runsc = Runsc::find(env::var_os("PATH")).expect("the parent looked");
        return attempt(&GvisorKeeper::new(keeper, runsc), found, traps).await;
    }
    attempt(&keeper, found, traps).await
}

/// The verdicts of all ways in which a session runs the attempt, as one.
async fn run_in_sessions(found: &Attempt) -> Result<Verdict, EscapeError> {
    let ways: Vec<Way> = found.ways().filter(|way| way.is_in_session()).collect();
    let secret = env::var(SECRET).ok();
    let verdicts = attempt_in_sessions(found, &ways, secret.as_deref()).await?;
    let (mut findings, mut skipped) = (Vec::new(), Vec::new());
    for (way, verdict) in verdicts {
        match verdict {
            Verdict::Held => {}
            Verdict::GotThrough(found) => {
                findings.extend(found.into_iter().map(|finding| format!("{way}: {finding}")));
            }
            Verdict::Skipped(why) => skipped.push(format!("{way}: {why}")),
        }
    }
    Ok(match (findings.as_slice(), skipped.as_slice()) {
        ([], []) => Verdict::Held,
        ([], _) => Verdict::Skipped(skipped.join("; ")),
        _ => Verdict::GotThrough(findings),
    })
}
