//! Every way of damaging a board closes it.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
    sync::Arc,
};

use casemate_authority::{
    Board, Damage, Position, Stopped, Subject, SwitchError, SwitchKind, Switchboard, Unreadable,
};
use casemate_files::FileError;

use crate::switches::{Fixture, SUBJECT, throw};

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Both a board that was read before and one that was not are closed, and no switch can be thrown.
fn closed(fixture: &Fixture) -> Arc<Unreadable> {
    let board = fixture.switchboard.board();
    let mut whys = Vec::new();
    for board in [&**board, &Board::open(&fixture.dir)] {
        for _ in 0..2 {
            match board.check(&Subject::default()) {
                Err(Stopped::Unreadable(why)) => whys.push(why),
                other => panic!("{other:?}"),
            }
            assert!(
                board
                    .check_held(&Subject::default(), casemate_authority::Epoch::new(9))
                    .is_err()
            );
        }
    }
    let thrown = fixture
        .switchboard
        .throw(throw(SwitchKind::Tool, "x", Position::Off));
    assert!(
        matches!(
            thrown,
            Err(SwitchError::Unreadable(_) | SwitchError::File(_))
        ),
        "{thrown:?}"
    );
    assert!(Switchboard::open(&fixture.dir).is_err());
    whys.remove(0)
}

fn open_again(fixture: &Fixture) {
    assert!(matches!(
        fixture.switchboard.board().check(&SUBJECT),
        Err(Stopped::Off(_))
    ));
    assert!(
        fixture
            .switchboard
            .board()
            .check(&Subject::default())
            .is_ok()
    );
}

fn fixture() -> Fixture {
    let fixture = Fixture::new();
    fixture.off(SwitchKind::Tool, "python");
    fixture.on(SwitchKind::User, "bob");
    open_again(&fixture);
    fixture
}

/// I1: a board that lost a byte, or of which one is another, stops everything; and nothing once it is whole again.
#[test]
fn a_board_that_was_cut_or_changed_anywhere_is_closed() {
    let fixture = fixture();
    let path = fixture.dir.join("board");
    let good = fs::read(&path).unwrap();
    let fresh = || Board::open(&fixture.dir).check(&Subject::default());
    for at in 0..good.len() {
        fs::write(&path, &good[..at]).unwrap();
        assert!(
            matches!(fresh(), Err(Stopped::Unreadable(_))),
            "cut at {at}"
        );
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(&path, &bad).unwrap();
        assert!(
            matches!(fresh(), Err(Stopped::Unreadable(_))),
            "changed at {at}"
        );
    }
    closed(&fixture);
    for end in [&b"\n"[..], b"x", &good] {
        fs::write(&path, [&good, end].concat()).unwrap();
        closed(&fixture);
    }
    fs::write(&path, b"").unwrap();
    assert!(matches!(
        &*closed(&fixture),
        Unreadable::Damaged {
            source: Damage::Title,
            ..
        }
    ));
    fs::write(&path, &good).unwrap();
    open_again(&fixture);
}

/// I1: an older board, or another one of the same epoch, is not believed, whoever looks.
#[test]
fn an_old_board_that_is_put_back_is_closed() {
    let fixture = fixture();
    let path = fixture.dir.join("board");
    let old = fixture.dir.join("old");
    fs::copy(&path, &old).unwrap();
    fixture.off(SwitchKind::Model, "m-1");
    let new = fs::read(&path).unwrap();
    fs::rename(&old, &path).unwrap();
    assert!(matches!(&*closed(&fixture), Unreadable::WentBack { .. }));
    fs::write(&path, &new).unwrap();
    open_again(&fixture);
}

#[test]
fn another_history_is_closed_for_who_saw_the_first() {
    let fixture = fixture();
    let other = Fixture::new();
    other.off(SwitchKind::Tool, "another");
    other.off(SwitchKind::User, "bob");
    fs::copy(other.dir.join("board"), fixture.dir.join("board")).unwrap();
    match fixture.switchboard.board().check(&Subject::default()) {
        Err(Stopped::Unreadable(why)) => assert!(matches!(*why, Unreadable::Forked { .. })),
        other => panic!("{other:?}"),
    }
}

/// I1: a board that was deleted is not made anew.
#[test]
fn a_board_that_was_deleted_is_closed() {
    let fixture = fixture();
    let (path, away) = (fixture.dir.join("board"), fixture.dir.join("away"));
    fs::rename(&path, &away).unwrap();
    assert!(matches!(&*closed(&fixture), Unreadable::Missing { .. }));
    fs::rename(&away, &path).unwrap();
    open_again(&fixture);
}

#[test]
fn a_directory_that_was_deleted_is_closed_for_who_saw_it() {
    let fixture = fixture();
    let board = fixture.switchboard.board();
    fs::remove_dir_all(&fixture.dir).unwrap();
    assert!(matches!(
        board.check(&Subject::default()),
        Err(Stopped::Unreadable(_))
    ));
    // Somebody makes a new one: it is older than what was seen.
    Switchboard::open(&fixture.dir).unwrap();
    match board.check(&Subject::default()) {
        Err(Stopped::Unreadable(why)) => assert!(matches!(*why, Unreadable::WentBack { .. })),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_board_that_never_was_is_closed_until_it_is_made() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("a/b");
    let board = Board::open(&dir);
    assert!(matches!(board.check(&SUBJECT), Err(Stopped::Unreadable(_))));
    Switchboard::open(&dir).unwrap();
    assert!(board.check(&SUBJECT).is_ok());
    assert_eq!(
        fs::metadata(&dir).unwrap().permissions().mode() & 0o777,
        0o700
    );
    for name in ["board", "epoch"] {
        assert_eq!(
            fs::metadata(dir.join(name)).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }
}

#[test]
fn a_mark_that_is_lost_damaged_or_ahead_is_closed() {
    let fixture = fixture();
    let mark = fixture.dir.join("epoch");
    let good = fs::read(&mark).unwrap();
    // Somebody who has the board open does not read it again for that: only a new board is asked.
    let fresh = || match Board::open(&fixture.dir).check(&Subject::default()) {
        Err(Stopped::Unreadable(why)) => why,
        other => panic!("{other:?}"),
    };
    fs::remove_file(&mark).unwrap();
    assert!(matches!(
        &*fresh(),
        Unreadable::Damaged {
            source: Damage::Mark,
            ..
        }
    ));
    for bad in [
        "",
        "2",
        "x\n",
        "+2\n",
        " 2\n",
        "-1\n",
        "99999999999999999999\n",
    ] {
        fs::write(&mark, bad).unwrap();
        chmod(&mark, 0o600);
        assert!(
            matches!(
                &*fresh(),
                Unreadable::Damaged {
                    source: Damage::Mark,
                    ..
                }
            ),
            "{bad:?}"
        );
    }
    fs::write(&mark, "3\n").unwrap();
    assert!(matches!(&*fresh(), Unreadable::WentBack { .. }));
    fs::write(&mark, good).unwrap();
    assert!(Board::open(&fixture.dir).check(&Subject::default()).is_ok());
}

/// A writer that died between the board and its mark has thrown the switch, and the next one goes on.
#[test]
fn a_mark_that_is_behind_is_brought_up() {
    let fixture = fixture();
    let mark = fixture.dir.join("epoch");
    fs::write(&mark, "1\n").unwrap();
    open_again(&fixture);
    Switchboard::open(&fixture.dir).unwrap();
    assert_eq!(fs::read(&mark).unwrap(), b"2\n");
    fs::write(fixture.dir.join(".new"), b"half").unwrap();
    fixture.off(SwitchKind::Model, "m");
    assert_eq!(fs::read(&mark).unwrap(), b"3\n");
}

#[test]
fn what_others_have_access_to_is_closed() {
    let fixture = fixture();
    let path = fixture.dir.join("board");
    for mode in [0o604, 0o640, 0o602, 0o666] {
        chmod(&path, mode);
        assert!(matches!(
            &*closed(&fixture),
            Unreadable::File(FileError::OpenToOthers { .. })
        ));
    }
    chmod(&path, 0o600);
    open_again(&fixture);
    chmod(&fixture.dir, 0o755);
    assert!(matches!(
        Board::open(&fixture.dir).check(&Subject::default()),
        Err(Stopped::Unreadable(_))
    ));
    assert!(
        fixture
            .switchboard
            .throw(throw(SwitchKind::Tool, "x", Position::Off))
            .is_err()
    );
    chmod(&fixture.dir, 0o700);
    open_again(&fixture);
}

#[test]
fn what_somebody_else_owns_is_closed() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let fixture = fixture();
    let path = fixture.dir.join("board");
    std::os::unix::fs::chown(&path, Some(12_345), None).unwrap();
    assert!(matches!(
        &*closed(&fixture),
        Unreadable::File(FileError::ForeignOwner { owner: 12_345, .. })
    ));
    std::os::unix::fs::chown(&path, Some(0), None).unwrap();
    open_again(&fixture);
}

#[test]
fn what_is_no_file_is_closed() {
    let fixture = fixture();
    let (path, away) = (fixture.dir.join("board"), fixture.dir.join("away"));
    fs::rename(&path, &away).unwrap();
    symlink(&away, &path).unwrap();
    closed(&fixture);
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    chmod(&path, 0o700);
    closed(&fixture);
    fs::remove_dir(&path).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &path,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    closed(&fixture);
    fs::remove_file(&path).unwrap();
    fs::rename(&away, &path).unwrap();
    open_again(&fixture);
}

/// I15: more than a board can hold is not read.
#[test]
fn a_board_that_is_too_large_is_closed() {
    let fixture = fixture();
    let file = fs::File::options()
        .write(true)
        .open(fixture.dir.join("board"))
        .unwrap();
    file.set_len(casemate_authority::MAX_BOARD_BYTES + 1)
        .unwrap();
    assert!(matches!(
        &*closed(&fixture),
        Unreadable::File(FileError::TooLarge { .. })
    ));
}

/// Proper bytes with a proper digest, of a board that no throw could leave.
#[test]
fn a_board_that_makes_no_sense_is_closed() {
    let fixture = fixture();
    let switch = |kind: &str, name: &str, epoch: u64| {
        serde_json::json!({"kind": kind, "name": name, "tenant": null, "epoch": epoch,
            "off_since_ms": 1, "who": "ada", "reason": "", "at_ms": 1})
    };
    let mut extra = switch("tool", "a", 1);
    extra["x"] = 1.into();
    let mut nested = switch("tenant", "a", 1);
    nested["tenant"] = "b".into();
    let many: Vec<_> = (1..=10_001).map(|nth| switch("tool", "a", nth)).collect();
    for (epoch, forgotten, switches) in [
        (9, 0, vec![switch("tool", "a", 10)]),
        (9, 0, vec![switch("tool", "a", 0)]),
        (9, 0, vec![switch("tool", "a", 3), switch("tool", "b", 3)]),
        (9, 0, vec![switch("tool", "a", 3), switch("tool", "b", 2)]),
        (9, 0, vec![switch("tool", "", 3)]),
        (9, 0, vec![switch("tool", "a\nb", 3)]),
        (9, 0, vec![switch("everything", "a", 3)]),
        (9, 0, vec![switch("destination", "EVIL.example", 3)]),
        (9, 0, vec![extra]),
        (9, 0, vec![nested]),
        (9, 10, vec![]),
        (20_000, 0, many),
    ] {
        let json =
            serde_json::json!({"epoch": epoch, "forgotten": forgotten, "switches": switches});
        let digest = casemate_model::Digest::of(json.to_string().as_bytes());
        let board = format!("casemate switchboard 1 {digest}\n{json}\n");
        fs::write(fixture.dir.join("board"), board).unwrap();
        match &*closed(&fixture) {
            Unreadable::Damaged {
                source: Damage::Json(_) | Damage::Unsound(_),
                ..
            } => {}
            other => panic!("{other:?} of {json}"),
        }
    }
}

/// An operator gets out of a lost board with one step, and who saw the old one believes the new one.
#[test]
fn a_lost_board_is_begun_again_with_what_has_to_be_off() {
    let fixture = fixture();
    let board = fixture.switchboard.board();
    let allowed = board.check(&Subject::default()).unwrap();
    let off = throw(SwitchKind::Model, "m-1", Position::Off);
    let begin = || Switchboard::begin_again(&fixture.dir, vec![off.clone()]);
    assert!(matches!(begin(), Err(SwitchError::NotLost)));
    // The mark may be one behind.
    fs::write(fixture.dir.join("epoch"), "1\n").unwrap();
    fs::write(fixture.dir.join("board"), "x").unwrap();
    closed(&fixture);
    begin().unwrap();
    match board.check(&SUBJECT) {
        Err(Stopped::Off(switch)) => assert_eq!(&*switch.name, "m-1"),
        other => panic!("{other:?}"),
    }
    let free = Subject {
        tool: SUBJECT.tool,
        ..Subject::default()
    };
    let epoch = board.check(&free).unwrap();
    assert!(epoch > allowed);
    assert!(matches!(
        board.check_held(&free, allowed),
        Err(Stopped::TooOld { .. })
    ));
    assert!(board.check_held(&free, epoch).is_ok());
    fixture.off(SwitchKind::Tool, "python");
    assert!(board.check(&free).is_err());
    // Without a mark nobody could tell that it is newer.
    fs::remove_file(fixture.dir.join("board")).unwrap();
    fs::remove_file(fixture.dir.join("epoch")).unwrap();
    assert!(begin().is_err());
}
