//! Being told of a throw while something runs.

use std::{
    fs,
    sync::mpsc::{Receiver, channel},
    time::Duration,
};

use casemate_authority::{BoardWatch, Epoch, Stopped, SwitchKind, Switchboard};

use crate::switches::{Fixture, SUBJECT};

/// What a callback was told: an epoch and whether the subject may go on, or why not.
type Told = Result<(u64, bool), String>;

/// Much longer than any of this takes.
const LONG: Duration = Duration::from_secs(10);

fn watch(fixture: &Fixture) -> (BoardWatch, Receiver<Told>) {
    let (told, tell) = channel();
    let watch = fixture.switchboard.board().watch(move |now| {
        // The test may have ended.
        let _ = told.send(match now {
            Ok(switches) => {
                let held = switches.check_held(&SUBJECT, Epoch::default());
                Ok((switches.epoch().get(), held.is_ok()))
            }
            Err(why) => Err(format!("{why:?}")),
        });
    });
    (watch.unwrap(), tell)
}

/// R258, R261: what runs is told of a throw, also of one that was taken back at once.
#[test]
fn who_watches_is_told_of_each_state_until_the_newest() {
    let fixture = Fixture::new();
    let (watch, tell) = watch(&fixture);
    assert_eq!(tell.recv_timeout(LONG).unwrap(), Ok((0, true)));
    fixture.off(SwitchKind::Tool, "another");
    assert_eq!(tell.recv_timeout(LONG).unwrap(), Ok((1, true)));
    fixture.off(SwitchKind::Tool, "python");
    assert_eq!(tell.recv_timeout(LONG).unwrap(), Ok((2, false)));
    for _ in 0..10 {
        fixture.on(SwitchKind::Tool, "python");
        fixture.off(SwitchKind::Tool, "python");
    }
    fixture.on(SwitchKind::Tool, "python");
    let mut last = 2;
    while last < 23 {
        // Some may be passed over, but what was allowed before is never allowed again.
        let (epoch, held) = tell.recv_timeout(LONG).unwrap().unwrap();
        assert!(epoch > last && !held);
        last = epoch;
    }
    assert!(watch.is_alive());
    drop(watch);
    fixture.off(SwitchKind::Tool, "late");
    assert!(
        tell.recv_timeout(LONG).is_err(),
        "the callback is gone with its watch"
    );
}

/// I1: whoever runs something is told when the board cannot be read any more, and when it can again.
#[test]
fn who_watches_is_told_that_the_board_is_closed() {
    let fixture = Fixture::new();
    fixture.off(SwitchKind::Tool, "another");
    let (_watch, tell) = watch(&fixture);
    assert_eq!(tell.recv_timeout(LONG).unwrap(), Ok((1, true)));
    let path = fixture.dir.join("board");
    let good = fs::read(&path).unwrap();
    fs::write(&path, b"x").unwrap();
    assert!(
        tell.recv_timeout(LONG)
            .unwrap()
            .unwrap_err()
            .contains("Damaged")
    );
    fs::write(&path, &good).unwrap();
    // Half of it may have been seen.
    while tell.recv_timeout(LONG).unwrap() != Ok((1, true)) {}
    fs::remove_file(&path).unwrap();
    assert!(
        tell.recv_timeout(LONG)
            .unwrap()
            .unwrap_err()
            .contains("Missing")
    );
}

/// I1: a directory that is not watched any more is as good as one that cannot be read.
#[test]
fn who_watches_a_directory_that_goes_away_is_told() {
    let fixture = Fixture::new();
    let (_watch, tell) = watch(&fixture);
    assert_eq!(tell.recv_timeout(LONG).unwrap(), Ok((0, true)));
    let away = fixture.dir.with_extension("away");
    fs::rename(&fixture.dir, &away).unwrap();
    assert!(
        tell.recv_timeout(LONG)
            .unwrap()
            .unwrap_err()
            .contains("Lost")
    );
    fs::rename(&away, &fixture.dir).unwrap();
    while tell.recv_timeout(LONG).unwrap() != Ok((0, true)) {}
    // And it is watched again, in its old place.
    fixture.off(SwitchKind::Tool, "python");
    assert_eq!(tell.recv_timeout(LONG).unwrap(), Ok((1, false)));
    fs::remove_dir_all(&fixture.dir).unwrap();
    assert!(tell.recv_timeout(LONG).unwrap().is_err());
    // What was made anew is not believed.
    Switchboard::open(&fixture.dir).unwrap();
    let mut last = String::new();
    while !last.contains("WentBack") {
        last = tell.recv_timeout(LONG).unwrap().unwrap_err();
    }
    assert!(matches!(
        fixture.switchboard.board().check(&SUBJECT),
        Err(Stopped::Unreadable(_))
    ));
}

#[test]
fn what_is_not_there_cannot_be_watched() {
    let temp = tempfile::tempdir().unwrap();
    let board = std::sync::Arc::new(casemate_authority::Board::open(&temp.path().join("none")));
    assert!(board.watch(|_| {}).is_err());
}
