//! From the return of a throw until the running call is dead.

use std::{
    os::fd::OwnedFd,
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

use casemate_authority::{Position, SwitchKind, Switchboard, Throw};
use rustix::{
    event::{PollFd, PollFlags, poll},
    process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open},
};
use serde_json::{Value, json};

use crate::{
    Failure,
    server::{Server, find},
    summary,
};

const ROUNDS: u64 = 200;
/// Others that are off meanwhile.
const OTHERS: [u64; 2] = [0, 1_000];
const POLL: Duration = Duration::from_millis(1);
const MOST_POLLS: usize = 60_000;

pub(crate) fn measure(server: &Server) -> Result<Value, Failure> {
    let board = Switchboard::open(&server.path("state/switches"))?;
    let mut rows = serde_json::Map::new();
    for others in OTHERS {
        for number in 0..others {
            throw(
                &board,
                SwitchKind::User,
                &format!("user-{number}"),
                Position::Off,
            )?;
        }
        rows.insert(
            format!("{others} other switches"),
            running(server, &board, others)?,
        );
    }
    rows.insert("SIGKILL of a bare process".to_owned(), bare()?);
    Ok(rows.into())
}

fn throw(board: &Switchboard, kind: SwitchKind, name: &str, to: Position) -> Result<(), Failure> {
    board.throw(Throw {
        kind,
        name: name.to_owned(),
        tenant: None,
        to,
        who: "ada".to_owned(),
        reason: "an incident".to_owned(),
        at_ms: 1,
    })?;
    Ok(())
}

fn running(server: &Server, board: &Switchboard, others: u64) -> Result<Value, Failure> {
    let (mut from_return, mut from_beginning) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let seconds = format!("3{others:05}{round:05}.{}", std::process::id());
        let call = json!({ "tool": "shell", "route": "free", "thread": "switched", "argv": ["sleep", seconds], "wait": false });
        server.ask("POST", "/v1/calls", &call)?;
        let program = open(running_as(&format!("sleep\0{seconds}\0"))?)?;
        let begun = Instant::now();
        throw(board, SwitchKind::Tool, "shell", Position::Off)?;
        let returned = Instant::now();
        wait_for_end(&program)?;
        from_return.push(returned.elapsed());
        from_beginning.push(begun.elapsed());
        throw(board, SwitchKind::Tool, "shell", Position::On)?;
    }
    Ok(json!({
        "from the throw's return": summary(from_return),
        "from its beginning": summary(from_beginning),
    }))
}

/// The peer: nothing but the signal.
fn bare() -> Result<Value, Failure> {
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let mut child = Command::new("sleep").arg("300").spawn()?;
        let pid = Pid::from_raw(child.id().cast_signed()).ok_or("no process")?;
        let program = open(pid)?;
        let begun = Instant::now();
        kill_process(pid, Signal::KILL)?;
        wait_for_end(&program)?;
        times.push(begun.elapsed());
        child.wait()?;
    }
    Ok(summary(times))
}

fn running_as(line: &str) -> Result<Pid, Failure> {
    for _ in 0..MOST_POLLS {
        if let Some(pid) = find(|found| found == line.as_bytes()).first() {
            return Ok(*pid);
        }
        sleep(POLL);
    }
    Err("the call does not run".into())
}

fn open(pid: Pid) -> Result<OwnedFd, Failure> {
    Ok(pidfd_open(pid, PidfdFlags::empty())?)
}

fn wait_for_end(program: &OwnedFd) -> Result<(), Failure> {
    let mut waited = [PollFd::new(program, PollFlags::IN)];
    poll(&mut waited, None)?;
    Ok(())
}
