//! A file of budgets that was cut, changed or lost.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

use casemate_authority::{
    Amounts, BudgetDamage, BudgetError, Budgets, OpenReservation, Period, Scope, Usage,
};
use casemate_files::FileError;

use crate::budgets::{ADA, Fixture, NOON, calls, rule};

type State = (Usage, Usage, Vec<OpenReservation>);

fn state(budgets: &Budgets) -> State {
    let usage = |scope, per| budgets.usage(&ADA, scope, per, NOON).unwrap();
    (
        usage(Scope::Tenant, Period::Total),
        usage(Scope::Thread, Period::Day),
        budgets.open_reservations().unwrap(),
    )
}

/// A file with each kind of record, with the state after each line.
fn file() -> (Fixture, Vec<u8>, Vec<(usize, State)>) {
    let mut fixture = Fixture::new();
    let path = fixture.dir.join("budgets");
    let mut states = Vec::new();
    let note = |states: &mut Vec<(usize, State)>, budgets: &Budgets| {
        states.push((fs::read(&path).unwrap().len(), state(budgets)));
    };
    let budgets = fixture.budgets();
    let rules = [rule(Scope::Thread, Period::Day, 100)];
    let reserve = || budgets.reserve(&ADA, &rules, &calls(5), NOON).unwrap();
    note(&mut states, budgets);
    let first = reserve();
    note(&mut states, budgets);
    budgets.settle(first, &calls(3)).unwrap();
    note(&mut states, budgets);
    budgets.forget_thread(&ADA).unwrap();
    note(&mut states, budgets);
    let second = reserve();
    note(&mut states, budgets);
    drop(reserve());
    note(&mut states, budgets);
    budgets.forget_before(second.id()).unwrap();
    budgets.settle(second, &Amounts::default()).unwrap();
    note(&mut states, budgets);
    fixture.budgets = None;
    let bytes = fs::read(&path).unwrap();
    assert_eq!(states.last().unwrap().0, bytes.len());
    (fixture, bytes, states)
}

fn damaged(dir: &Path) -> (u64, BudgetDamage) {
    match Budgets::open(dir) {
        Err(BudgetError::Damaged { at, source, .. }) => (at, source),
        other => panic!("{other:?}"),
    }
}

/// What a process that was killed while it wrote leaves is cut off, and everything before it counts; wherever it was.
#[test]
fn a_torn_tail_is_cut_at_every_byte() {
    let (fixture, bytes, states) = file();
    let path = fixture.dir.join("budgets");
    for cut in 0..=bytes.len() {
        fs::write(&path, &bytes[..cut]).unwrap();
        let Some((len, expected)) = states.iter().rev().find(|(len, _)| *len <= cut) else {
            // The first line was whole before the file got its name.
            assert!(matches!(damaged(&fixture.dir), (0, BudgetDamage::Cut)));
            continue;
        };
        let budgets = Budgets::open(&fixture.dir).unwrap();
        assert_eq!(state(&budgets), *expected, "cut at {cut}");
        assert_eq!(fs::metadata(&path).unwrap().len(), *len as u64);
        // What is appended then is read again.
        drop(budgets.reserve(&ADA, &[], &calls(1), NOON).unwrap());
        let after = state(&budgets);
        drop(budgets);
        assert_eq!(state(&Budgets::open(&fixture.dir).unwrap()), after);
    }
    // A file system may leave zeros where it did not write.
    fs::write(&path, [&bytes[..], &[0; 5_000]].concat()).unwrap();
    let budgets = Budgets::open(&fixture.dir).unwrap();
    assert_eq!(state(&budgets), states.last().unwrap().1);
}

/// I1: a changed byte anywhere but in an unfinished line closes everything, and nothing is written then.
#[test]
fn a_changed_byte_closes() {
    let (fixture, bytes, _) = file();
    let path = fixture.dir.join("budgets");
    for at in 0..bytes.len() - 1 {
        let mut bad = bytes.clone();
        bad[at] ^= 1;
        fs::write(&path, &bad).unwrap();
        let (offset, _) = damaged(&fixture.dir);
        assert!(offset <= at as u64, "changed at {at}");
        assert_eq!(fs::read(&path).unwrap(), bad);
    }
}

/// I1: a line that was removed, moved or repeated closes everything.
#[test]
fn a_line_that_is_not_where_it_was_closes() {
    let (fixture, bytes, _) = file();
    let path = fixture.dir.join("budgets");
    let lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
    for at in 0..lines.len() - 1 {
        let mut removed = lines.clone();
        removed.remove(at);
        let mut moved = lines.clone();
        moved.swap(at, at + 1);
        let mut twice = lines.clone();
        twice.insert(at, lines[at]);
        for bad in [removed, moved, twice] {
            fs::write(&path, bad.concat()).unwrap();
            damaged(&fixture.dir);
        }
    }
    fs::write(&path, [&bytes[..], b"\n"].concat()).unwrap();
    damaged(&fixture.dir);
}

/// I1: budgets that were lost are not made anew.
#[test]
fn a_file_that_is_gone_closes() {
    let (fixture, bytes, _) = file();
    let path = fixture.dir.join("budgets");
    fs::remove_file(&path).unwrap();
    for _ in 0..2 {
        assert!(matches!(
            Budgets::open(&fixture.dir),
            Err(BudgetError::Lost { .. })
        ));
    }
    fs::write(&path, &bytes).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(
        Budgets::open(&fixture.dir),
        Err(BudgetError::File(FileError::OpenToOthers { .. }))
    ));
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    Budgets::open(&fixture.dir).unwrap();
    // Somebody died before it was marked.
    fs::remove_file(fixture.dir.join("made")).unwrap();
    Budgets::open(&fixture.dir).unwrap();
    assert!(fixture.dir.join("made").exists());
}
