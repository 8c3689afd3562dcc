//! Another call of the same keeper, while an attempt runs: it must not be seen, disturbed or ended.

use std::collections::BTreeMap;

use casemate_model::{Limits, Text};
use casemate_ports::{CHANNEL_CAPACITY, CallIo, Command, Event, Keeper, Sandbox as _};
use tokio::sync::mpsc;

use super::{EscapeError, Traps, Verdict, family, traps::Neighbour};

/// It waits for its standard input to end; then it says that it is well.
const PROGRAM: &str = "echo READY; read -r line; echo UNHARMED";

const CUE: &[u8] = b"READY\n";
const WELL: &[u8] = b"READY\nUNHARMED\n";

/// Runs `attack` while the other call waits.
pub(super) async fn beside<K: Keeper>(
    keeper: &K,
    traps: &mut Traps,
    attack: impl AsyncFnOnce(&Traps) -> Result<Verdict, EscapeError>,
) -> Result<Verdict, EscapeError> {
    let made = super::make(keeper, Limits::default(), Vec::new()).await;
    let (mut sandbox, _) = made.map_err(EscapeError::Sandbox)?;
    let (stdin, stdin_end) = mpsc::channel(CHANNEL_CAPACITY);
    let (_control, control_end) = mpsc::channel(CHANNEL_CAPACITY);
    let (events_end, mut events) = mpsc::channel(CHANNEL_CAPACITY);
    let io = CallIo {
        stdin: stdin_end,
        control: control_end,
        events: events_end,
    };
    let program = sandbox.run(command(traps.neighbour()), io);
    let visit = async {
        let mut said = Vec::new();
        hear(&mut events, &mut said, CUE).await;
        if let Some(pid) = family::find(&traps.neighbour().nonce)? {
            traps.neighbour_is(pid);
        }
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
    let mut findings = match verdict {
        Verdict::GotThrough(findings) => findings,
        Verdict::Held | Verdict::Skipped(_) => Vec::new(),
    };
    let said = Text::from(said);
    findings.push(format!(
        "the other call was disturbed: it ended with {ended:?} and said {said:?}"
    ));
    Ok(Verdict::GotThrough(findings))
}

fn command(neighbour: &Neighbour) -> Command {
    let argv = ["/bin/sh", "-c", PROGRAM, &neighbour.nonce].map(Text::from);
    let secret = Text::from(neighbour.secret.as_str());
    Command {
        argv: argv.into(),
        env: BTreeMap::from([("NEIGHBOUR_SECRET".to_owned(), secret)]),
        ..Command::default()
    }
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
