//! Tells the caller what became of a call: in lines for people, or in one JSON object.

use std::{
    io::{self, IsTerminal as _},
    path::Path,
};

use casemate_gateway::{Answer, Facts, Output, Refusal, Refused, Released};
use casemate_model::{Artefact, Cause, DecisionId, Stream, one_line};
use casemate_policy::ProfileError;

use crate::{
    exit::Exit,
    profile::explain,
    report::{self, Failure},
    run::{
        program::shown,
        streams::{Destination, Written, write_stream},
    },
    values::{show_bytes, show_millis},
};

/// The most artefacts that are named one by one when they could not be given back.
const MAX_SKIPPED_SHOWN: usize = 10;

/// How the caller is told. What is wrong is said on standard error in each case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Voice {
    /// In lines on standard error.
    Lines,
    /// Only when something is wrong.
    Quiet,
    /// In one JSON object on standard output.
    Json,
}

impl Voice {
    /// As the options say.
    pub(crate) const fn new(json: bool, quiet: bool) -> Self {
        match (json, quiet) {
            (true, _) => Self::Json,
            (false, true) => Self::Quiet,
            (false, false) => Self::Lines,
        }
    }

    /// Whether a person watches who wants to know what takes so long.
    pub(crate) fn shows_progress(self) -> bool {
        self == Self::Lines && io::stderr().is_terminal()
    }

    /// Where the program's output goes.
    pub(crate) fn destination(self) -> Destination {
        match self {
            Self::Json => Destination::Memory,
            Self::Lines | Self::Quiet => Destination::Ours,
        }
    }

    /// Explains what is wrong with a profile; the refusal follows.
    pub(crate) fn bad_profile(self, error: &ProfileError) {
        if self != Self::Json {
            explain(error);
        }
    }

    /// A call that was refused.
    pub(crate) fn refused(self, refused: &Refused) -> Result<Exit, Failure> {
        let facts = refused.facts();
        let reason = facts.reason();
        let detail = facts.ruling.as_ref().map_or("", |ruling| &ruling.detail);
        report::line(&format!("refused: {reason}: {detail} ({})", facts.decision));
        report::hint(reason.hint());
        self.answer(&Answer::refused(refused))?;
        Ok(match refused.cause() {
            Refusal::Policy => Exit::Refused,
            Refusal::Sandbox => Exit::NoSandbox,
            Refusal::Record => Exit::Failed,
        })
    }

    /// A call that ran, and whose end cannot be told in full.
    pub(crate) fn unrecorded(
        self,
        facts: Option<&Facts>,
        error: &(dyn std::error::Error + 'static),
    ) -> Result<Exit, Failure> {
        let error = one_line(error);
        report::line(&error);
        report::hint("look at the state directory's disk: the log must take every outcome");
        if let Some(facts) = facts {
            self.answer(&Answer::unrecorded(facts, error))?;
        }
        Ok(Exit::Failed)
    }

    /// A call that ended.
    pub(crate) fn released(
        self,
        released: &Released,
        written: Written,
        out: Option<&Path>,
    ) -> Result<Exit, Failure> {
        let mut exit = Exit::of(released.outcome());
        explain_end(exit, released, written.error.as_ref());
        if matches!(exit, Exit::Program(_))
            && (released.trouble().is_some() || lost_output(&written))
        {
            exit = Exit::Failed;
        }
        self.answer(&Answer::released(
            released,
            Output {
                stdout: written.stdout.into(),
                stderr: written.stderr.into(),
                ..Output::default()
            },
        ))?;
        if self == Self::Lines {
            list(&released.outcome().artefacts, out);
        }
        self.sign(released.facts().decision);
        Ok(exit)
    }

    /// A call that ran before, under the same idempotency key.
    ///
    /// # Errors
    /// When its stored output cannot be written.
    pub(crate) fn replayed(self, released: &Released) -> Result<Exit, Failure> {
        let output = released.replayed().cloned().unwrap_or_default();
        if self == Self::Json {
            self.answer(&Answer::released(released, output))?;
        } else {
            let streams = [
                (Stream::Stdout, &output.stdout),
                (Stream::Stderr, &output.stderr),
            ];
            for (stream, bytes) in streams {
                write_stream(stream, bytes.as_bytes()).map_err(|error| {
                    Failure::failed(error).context("cannot write the stored output")
                })?;
            }
        }
        if let (Self::Lines, Some(of)) = (self, released.facts().replay_of) {
            report::line(&format!("nothing ran: this is the stored result of {of}"));
            if !released.outcome().artefacts.is_empty() {
                report::line("its artefacts were given back when it ran");
            }
        }
        self.sign(released.facts().decision);
        Ok(Exit::of(released.outcome()))
    }

    /// The last line.
    fn sign(self, decision: DecisionId) {
        if self == Self::Lines {
            report::line(&format!("decision {decision}"));
        }
    }

    fn answer(self, answer: &Answer<'_>) -> Result<(), Failure> {
        if self != Self::Json {
            return Ok(());
        }
        let json = serde_json::to_string(answer).map_err(Failure::failed)?;
        report::print(format_args!("{json}\n"))
    }
}

/// A call that its caller cancelled before anything was decided.
pub(crate) fn withdrawn(decision: DecisionId) -> Exit {
    report::line(&format!("cancelled before it was decided ({decision})"));
    Exit::Cancelled
}

/// A call that ended, but whose output nobody reads and whose caller will not wait.
pub(crate) fn given_up(decision: DecisionId) -> Exit {
    report::line(&format!(
        "cancelled: its output was not read to the end ({decision})"
    ));
    Exit::Cancelled
}

/// Says which artefacts came back, and which did not.
fn list(artefacts: &[Artefact], out: Option<&Path>) {
    let count = artefacts.len();
    let Some(out) = out else {
        if count > 0 {
            let lost = counted(count);
            report::line(&format!("{lost} in /workspace/out went with the sandbox"));
            report::hint("keep them with --out DIR");
        }
        return;
    };
    let skipped: Vec<_> = artefacts
        .iter()
        .filter_map(|artefact| Some((&artefact.path, artefact.skipped.as_ref()?)))
        .collect();
    for (path, why) in skipped.iter().take(MAX_SKIPPED_SHOWN) {
        report::line(&format!("not given back: `{path}`: {why}"));
    }
    let more = skipped.len().saturating_sub(MAX_SKIPPED_SHOWN);
    if more > 0 {
        report::line(&format!("and {more} more: --json lists them all"));
    }
    let kept = count - skipped.len();
    if kept > 0 {
        report::line(&format!("{} in `{}`", counted(kept), shown(out)));
    }
}

fn counted(artefacts: usize) -> String {
    match artefacts {
        1 => "1 artefact".to_owned(),
        _ => format!("{artefacts} artefacts"),
    }
}

/// Whether output was lost that somebody wanted. A reader that has gone wanted no more.
fn lost_output(written: &Written) -> bool {
    written
        .error
        .as_ref()
        .is_some_and(|error| error.kind() != io::ErrorKind::BrokenPipe)
}

/// Says what is to be said of an end that was not the program's own.
fn explain_end(exit: Exit, released: &Released, unwritten: Option<&io::Error>) {
    let (facts, outcome) = (released.facts(), released.outcome());
    let limits = &facts.ask.limits;
    let tell = |what: &str| report::line(&format!("{what} ({})", facts.decision));
    match exit {
        Exit::TimedOut => {
            tell(&format!("timed out after {}", show_millis(limits.wall_ms)));
            report::hint("give it more time with --timeout");
        }
        Exit::Killed if outcome.cause == Cause::MemoryExceeded => {
            tell(&format!(
                "killed: it needs more than {} of memory",
                show_bytes(limits.memory_bytes)
            ));
            report::hint("give it more with --memory");
        }
        Exit::Killed if outcome.cause == Cause::Violation => {
            let what: Vec<_> = outcome
                .violations
                .iter()
                .map(|seen| seen.what.as_str())
                .collect();
            tell(&format!(
                "killed: it violated its sandbox: {}",
                what.join(", ")
            ));
            report::hint("an alert was raised; the evidence is in the record of the call");
        }
        Exit::Killed => {
            tell("killed: its sandbox broke");
            report::hint("it may have run in part: look at what it did before you run it again");
        }
        Exit::Cancelled => match unwritten {
            None => tell("cancelled"),
            Some(error) => tell(&format!("cancelled: its output cannot be written: {error}")),
        },
        Exit::Program(code) if outcome.cause == Cause::NotExecutable => {
            let command = facts.ask.command.argv.first().cloned().unwrap_or_default();
            match code {
                127 => tell(&format!("`{command}` is not in the sandbox")),
                _ => tell(&format!("`{command}` cannot be executed in the sandbox")),
            }
            report::hint("it has the host's programs in /usr, and nothing of home directories");
        }
        _ => {}
    }
    if let Some(error) = unwritten.filter(|_| exit != Exit::Cancelled)
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        tell(&format!("its output cannot be written: {error}"));
    }
    if let Some(trouble) = released.trouble() {
        tell(trouble);
    }
    if outcome.output_truncated {
        tell(&format!(
            "its output was cut after {}",
            show_bytes(limits.output_bytes)
        ));
        report::hint("take more with --max-output");
    }
}
