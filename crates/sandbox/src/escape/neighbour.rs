//! Another call of the same keeper, while an attempt runs: it must not be seen, disturbed or ended.

use std::{io, time::Duration};

use casemate_model::{Limits, Text};
use casemate_ports::{CHANNEL_CAPACITY, CallIo, Command, Event, Sandbox as _};
use tokio::{sync::mpsc, time::Instant};

use super::{
    Arena, Attempt, EscapeError, Traps, Verdict, Way, attempt::python, error::During as _, family,
    traps::Neighbour,
};

/// It waits for its standard input to end; then it says that it is well.
const PROGRAM: &str = include_str!("../../tests/escape/neighbour.py");

/// Longer than any attempt, in milliseconds.
const WALL_MS: u64 = 120_000;

/// How long it may take until it is seen.
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(5);

const CUE: &[u8] = b"READY\n";
const WELL: &[u8] = b"READY\nUNHARMED\n";

/// Runs `attack` while the other call waits.
pub(super) async fn beside<A: Arena>(
    arena: &A,
    attempt: &Attempt,
    traps: &mut Traps,
    attack: impl AsyncFnOnce(&Traps) -> Result<Verdict, EscapeError>,
) -> Result<Verdict, EscapeError> {
    let limits = Limits {
        wall_ms: WALL_MS,
        ..attempt.limits
    };
    let made = super::make(arena, limits, Vec::new(), attempt.way_out()).await;
    let (mut sandbox, _) = made.map_err(EscapeError::Sandbox)?;
    let (stdin, stdin_end) = mpsc::channel(CHANNEL_CAPACITY);
    let (_control, control_end) = mpsc::channel(CHANNEL_CAPACITY);
    let (events_end, mut events) = mpsc::channel(CHANNEL_CAPACITY);
    let io = CallIo {
        stdin: stdin_end,
        control: control_end,
        events: events_end,
    };
    let program = sandbox.run(command(attempt, arena.way(), traps.neighbour()), io);
    let visit = async {
        let mut said = Vec::new();
        hear(&mut events, &mut said, CUE).await;
        let number = match arena.way() {
            // It is a process of gVisor's kernel alone; ours can be seen from there as little.
            Way::Gvisor => std::process::id(),
            _ => number_of(&traps.neighbour().nonce).await?,
        };
        traps.neighbour_is(number);
        let verdict = attack(traps).await;
        drop(stdin);
        hear(&mut events, &mut said, WELL).await;
        verdict.map(|verdict| (verdict, said))
    };
    let (ended, visited) = tokio::join!(program, visit);
    let (verdict, said) = visited?;
    if ended.is_ok() && said == WELL {
        return Ok(verdict);
    }
    let said = Text::from(said);
    let finding =
        format!("the other call was disturbed: it ended with {ended:?} and said {said:?}");
    Ok(verdict.with(vec![finding]))
}

/// The number of the other call's process, which may just be becoming its program.
async fn number_of(nonce: &str) -> Result<u32, EscapeError> {
    let start = Instant::now();
    loop {
        if let Some(pid) = family::find(nonce)? {
            return Ok(pid);
        }
        if start.elapsed() >= PATIENCE {
            let missing = io::Error::from(io::ErrorKind::NotFound);
            return Err(missing).during("find the other call");
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

fn command(attempt: &Attempt, way: Way, neighbour: &Neighbour) -> Command {
    let shares = attempt.shares_a_session() && way.is_in_session();
    let shares = if shares { "True" } else { "False" };
    let program = PROGRAM.replace("{shares_a_session}", shares);
    let mut command = python(&program, &neighbour.nonce, way);
    let secret = Text::from(neighbour.secret.as_str());
    command.env.insert("NEIGHBOUR_SECRET".into(), secret);
    command
}

/// Listens until `said` ends with `cue`, or there is nothing more to hear.
async fn hear(events: &mut mpsc::Receiver<Event>, said: &mut Vec<u8>, cue: &[u8]) {
    while !said.ends_with(cue) {
        match events.recv().await {
            Some(Event::Output(_, bytes)) => said.extend(bytes),
            None => return,
        }
    }
}
