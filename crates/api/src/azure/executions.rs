//! What came of a call, as an execution.

use casemate_azure::{Ended, Execution, Fault, State};
use casemate_gateway::{Output, Released, Told};
use casemate_model::{Cause, DecisionId, Exit, OutcomeStatus, Text};

use crate::problem::Problem;

/// With what a shell says that a command's time was over, and that it was killed by a signal.
const TIMED_OUT: i32 = 124;
const SIGNALLED: i32 = 128;

/// A call that has been answered.
pub(super) fn execution(id: DecisionId, told: &Told, output: Output) -> Execution {
    let (state, ended, fault) = match told {
        Told::Released(released) => {
            let output = released.replayed().cloned().unwrap_or(output);
            let fault = fault(released, id);
            (state(released), Some(ended(released, &output)), fault)
        }
        Told::Withdrawn(_) => (State::Canceled, None, Problem::of_call(told)),
        _ => (State::Failed, None, Problem::of_call(told)),
    };
    Execution {
        id: id.to_string(),
        runs: None,
        state,
        ended,
        fault: fault.map(Fault::from),
    }
}

fn state(released: &Released) -> State {
    let outcome = released.outcome();
    match (outcome.status, outcome.cause) {
        (OutcomeStatus::Succeeded, _) => State::Succeeded,
        (_, Cause::Cancelled) => State::Canceled,
        _ => State::Failed,
    }
}

fn ended(released: &Released, output: &Output) -> Ended {
    let outcome = released.outcome();
    let text = |text: &Text| String::from_utf8_lossy(text.as_bytes()).into_owned();
    let lines = output.results.as_bytes().split(|byte| *byte == b'\n');
    Ended {
        stdout: text(&output.stdout),
        stderr: text(&output.stderr),
        results: lines
            .filter_map(|line| serde_json::from_slice(line).ok())
            .collect(),
        exit_code: match (outcome.cause, outcome.exit) {
            (Cause::TimedOut, _) => TIMED_OUT,
            (_, Some(Exit::Code(code))) => i32::from(code),
            (_, Some(Exit::Signal(signal))) => SIGNALLED + i32::from(signal),
            (_, None) => 1,
        },
        took_ms: outcome.usage.wall_ms,
    }
}

/// Why a program was ended that did not end by itself.
fn fault(released: &Released, id: DecisionId) -> Option<Problem> {
    let cause = released.outcome().cause;
    let detail = match cause {
        Cause::Completed | Cause::NotExecutable => return None,
        Cause::TimedOut => "the execution was ended: its time was over",
        Cause::MemoryExceeded => "the execution was ended: it used more memory than it may",
        Cause::Cancelled => "the execution was ended: somebody stopped it",
        Cause::SandboxLost => "the execution was ended: its sandbox was lost",
        Cause::Violation => {
            "the execution was ended with its session: it did what no program may try"
        }
    };
    Some(Problem::of_end(cause, detail, id))
}
