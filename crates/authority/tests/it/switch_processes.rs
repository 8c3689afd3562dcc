//! Switches that other processes throw.

use std::{
    env,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use casemate_authority::{Epoch, Position, Stopped, Subject, SwitchKind, Switchboard};

use crate::switches::{Fixture, throw};

const DIR: &str = "CASEMATE_AUTHORITY_TEST_SWITCHES";
const WRITER: &str = "CASEMATE_AUTHORITY_TEST_WRITER";
const ROUNDS: u64 = 20;

fn start(dir: &Path, writer: u64) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["--exact", "switch_processes::writer", "--nocapture"])
        .env(DIR, dir)
        .env(WRITER, writer.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Not a test by itself: a process that throws switches and says which.
#[test]
fn writer() {
    let Ok(dir) = env::var(DIR) else { return };
    let writer = env::var(WRITER).unwrap();
    let switchboard = Switchboard::open(dir.as_ref()).unwrap();
    for round in 0..ROUNDS {
        let name = format!("{writer}.{round}");
        let thrown = switchboard
            .throw(throw(SwitchKind::User, &name, Position::Off))
            .unwrap();
        println!("\nthrown {name} {}", thrown.epoch);
    }
}

/// What a process has thrown is seen by the next check of every other one, and none is lost among several.
#[test]
fn a_switch_that_another_process_threw_is_seen_by_the_next_check() {
    let fixture = Fixture::new();
    let board = fixture.switchboard.board();
    let writers: Vec<_> = (0..4).map(|writer| start(&fixture.dir, writer)).collect();
    let mut thrown = 0;
    for mut writer in writers {
        for line in BufReader::new(writer.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            let Some(rest) = line.strip_prefix("thrown ") else {
                continue;
            };
            let (name, epoch) = rest.split_once(' ').unwrap();
            let subject = Subject {
                user: Some(name),
                ..Subject::default()
            };
            match board.check(&subject) {
                Err(Stopped::Off(switch)) => assert_eq!(switch.epoch.to_string(), epoch),
                other => panic!("{other:?}"),
            }
            thrown += 1;
        }
        assert!(writer.wait().unwrap().success());
    }
    assert_eq!(thrown, 4 * ROUNDS);
    assert_eq!(board.switches().unwrap().epoch(), Epoch::new(4 * ROUNDS));
    assert_eq!(board.switches().unwrap().all().len() as u64, 4 * ROUNDS);
}
