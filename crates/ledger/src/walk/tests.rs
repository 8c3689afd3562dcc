//! Surgery: whole records and batches removed, inserted, moved, replaced, with and without the care
//! that an attacker without the key can take.

use crate::{
    Entry, LedgerError, VerifyError,
    batch::Draft,
    entry::{Body, Effect},
    state::State,
    testing::{Fixture, Parts, body, decision, entry, forged, key, parts},
};

fn concat(batches: &[Parts]) -> Vec<u8> {
    batches.iter().flat_map(Parts::bytes).collect()
}

/// The batches one after the other, each with its frame made to fit.
fn refitted(batches: &[Parts]) -> Vec<u8> {
    let mut log = Vec::new();
    for batch in batches {
        let start = log.len();
        log.extend(batch.clone().refitted(start));
    }
    log
}

/// The fault of a log whose batches `attack` changed: as they are, and with their frames made to
/// fit.
fn faults(fixture: &Fixture, attack: impl Fn(&mut Vec<Parts>)) -> [VerifyError; 2] {
    let mut batches = fixture.batches();
    attack(&mut batches);
    // A careful attacker also keeps the log as long as its head says.
    let mut careful = refitted(&batches);
    let len = careful.len().max(fixture.log().len());
    careful.resize(len, 0);
    [concat(&batches), careful].map(|log| {
        assert_ne!(log, fixture.log());
        fixture.verify_as(&log).unwrap_err()
    })
}

#[test]
fn taking_a_log_apart_and_putting_it_together_changes_nothing() {
    let fixture = Fixture::new(&[1, 3, 2]);
    assert_eq!(concat(&fixture.batches()), fixture.log());
    assert_eq!(refitted(&fixture.batches()), fixture.log());
}

/// I12: a record that is taken out of a batch is missed by its number.
#[test]
fn a_removed_record_is_named() {
    let fixture = Fixture::new(&[1, 4, 2]);
    for nth in 0..3 {
        for fault in faults(&fixture, |batches| drop(batches[1].records.remove(nth))) {
            let removed = 1 + nth as u64;
            assert!(
                matches!(fault, VerifyError::RecordMoved { index, found, .. }
                    if index == removed && found == removed + 1),
                "{nth}: {fault}"
            );
        }
    }
    // Nothing comes after the last of a batch to give the number away; the batch does.
    for fault in faults(&fixture, |batches| drop(batches[1].records.pop())) {
        let named = fault.record().unwrap();
        assert!((1..=4).contains(&named), "{fault}");
    }
    let last_of_all = faults(&fixture, |batches| drop(batches[2].records.pop()));
    for fault in last_of_all {
        let named = fault.record().unwrap();
        assert!((5..=6).contains(&named), "{fault}");
    }
}

/// I12: so are repeated, swapped and inserted records.
#[test]
fn repeated_swapped_and_inserted_records_are_named() {
    let fixture = Fixture::new(&[1, 4, 2]);
    let repeat = |batches: &mut Vec<Parts>| {
        let copy = batches[1].records[1].clone();
        batches[1].records.insert(2, copy);
    };
    let swap = |batches: &mut Vec<Parts>| batches[1].records.swap(2, 3);
    let swap_across = |batches: &mut Vec<Parts>| {
        let (one, other) = (batches[1].records[2].clone(), batches[2].records[0].clone());
        batches[1].records[2] = other;
        batches[2].records[0] = one;
    };
    let insert = |batches: &mut Vec<Parts>| {
        let json = batches[1].records[0][36..].to_vec();
        batches[1].records.insert(2, forged(&json));
    };
    for fault in faults(&fixture, repeat)
        .into_iter()
        .chain(faults(&fixture, insert))
    {
        assert!(
            matches!(fault, VerifyError::RecordMoved { index: 3, .. }),
            "{fault}"
        );
    }
    for fault in faults(&fixture, swap)
        .into_iter()
        .chain(faults(&fixture, swap_across))
    {
        assert!(
            matches!(fault, VerifyError::RecordMoved { index: 3, .. }),
            "{fault}"
        );
    }
}

/// I12: a record whose stored hash was made to fit is still not what was signed.
#[test]
fn a_forged_record_with_a_fitting_hash_is_found() {
    let fixture = Fixture::new(&[1, 4, 1]);
    let forge = |record: &[u8]| {
        let json = String::from_utf8(record[36..].to_vec()).unwrap();
        forged(json.replace("local", "other").as_bytes())
    };
    for fault in faults(&fixture, |batches| {
        batches[1].records[2] = forge(&batches[1].records[2])
    }) {
        assert!(
            matches!(
                fault,
                VerifyError::RecordsReplaced {
                    first: 1,
                    last: 4,
                    ..
                }
            ),
            "{fault}"
        );
    }
    // Alone in its batch it is named.
    for fault in faults(&fixture, |batches| {
        batches[2].records[0] = forge(&batches[2].records[0])
    }) {
        assert!(
            matches!(
                fault,
                VerifyError::RecordsReplaced {
                    first: 5,
                    last: 5,
                    ..
                }
            ),
            "{fault}"
        );
    }
    for fault in faults(&fixture, |batches| {
        batches[1].records[2] = forged(b"no JSON");
    }) {
        assert!(
            matches!(fault, VerifyError::RecordUnreadable { index: 3, .. }),
            "{fault}"
        );
    }
    // One forged with care, another without: the careless one must not take all the blame.
    for fault in faults(&fixture, |batches| {
        batches[1].records[1] = forge(&batches[1].records[1]);
        batches[1].records[3][40] ^= 1;
    }) {
        assert!(
            matches!(fault, VerifyError::RecordsReplaced { .. }),
            "{fault}"
        );
    }
}

/// I12: whole batches.
#[test]
fn removed_repeated_and_swapped_batches_are_named() {
    let fixture = Fixture::new(&[1, 3, 2, 1]);
    let log = concat(&{
        let mut batches = fixture.batches();
        batches.remove(1);
        batches
    });
    let fault = fixture.verify_as(&log).unwrap_err();
    assert!(
        matches!(
            fault,
            VerifyError::RecordsMissing {
                first: 1,
                last: 3,
                found: 4,
                ..
            }
        ),
        "{fault}"
    );
    let mut repeated = fixture.batches();
    repeated.insert(2, repeated[1].clone());
    let fault = fixture.verify_as(&concat(&repeated)).unwrap_err();
    assert!(
        matches!(
            fault,
            VerifyError::BatchMoved {
                first: 1,
                last: 3,
                ..
            }
        ),
        "{fault}"
    );
    let mut swapped = fixture.batches();
    swapped.swap(1, 2);
    let fault = fixture.verify_as(&concat(&swapped)).unwrap_err();
    assert!(
        matches!(
            fault,
            VerifyError::RecordsMissing {
                first: 1,
                last: 3,
                found: 4,
                ..
            }
        ),
        "{fault}"
    );
    for change in [
        |batches: &mut Vec<Parts>| drop(batches.remove(1)),
        |batches: &mut Vec<Parts>| batches.insert(2, batches[1].clone()),
        |batches: &mut Vec<Parts>| batches.swap(1, 2),
    ] {
        let [_, careful] = faults(&fixture, change);
        assert!(
            careful.record().is_some_and(|record| record >= 1),
            "{careful}"
        );
    }
}

/// I12: two batches cannot be made one by dropping the checkpoint between them, though every record
/// and the last root stay the same; nor can one be made two.
#[test]
fn a_dropped_checkpoint_is_found() {
    let fixture = Fixture::new(&[1, 3, 2]);
    let mut batches = fixture.batches();
    let second = batches.remove(1);
    let mut merged = batches.remove(1);
    merged.records.splice(0..0, second.records);
    merged.head.first = second.head.first;
    let start = batches[0].bytes().len();
    let mut log = batches[0].bytes();
    log.extend(merged.refitted(start));
    log.resize(fixture.log().len(), 0);
    let fault = fixture.verify_as(&log).unwrap_err();
    assert!(
        matches!(fault, VerifyError::FrameChanged { first: 1, .. }),
        "{fault}"
    );
}

/// The frame of a batch is signed or follows from what is: no part can be replaced, even by a
/// genuine other one.
#[test]
fn a_changed_trailer_is_found() {
    let fixture = Fixture::new(&[1, 2, 2]);
    let replace = |fixture: &Fixture, at: usize, by: Vec<u8>| {
        let mut batches = fixture.batches();
        let len = by.len();
        batches[1].trailer.splice(at..at + len, by);
        fixture.verify_as(&concat(&batches)).unwrap_err()
    };
    let batches = fixture.batches();
    let [first, second, _] = batches.as_slice() else {
        panic!("three batches");
    };
    // Size 3: two subtrees, then the one open decision.
    let zero_hash = replace(&fixture, 32, vec![0; 32]);
    assert!(
        matches!(zero_hash, VerifyError::FrameChanged { first: 1, .. }),
        "{zero_hash}"
    );
    let other_open = replace(&fixture, 64, 40_u64.to_le_bytes().to_vec());
    assert!(
        matches!(other_open, VerifyError::FrameChanged { first: 1, .. }),
        "{other_open}"
    );
    let notes = [first, second].map(|batch| {
        let trailer = batch.head.parse_trailer(&batch.trailer).unwrap();
        trailer.note.as_bytes().to_vec()
    });
    assert_eq!(notes[0].len(), notes[1].len());
    let older = replace(&fixture, 72, notes[0].clone());
    assert!(
        matches!(older, VerifyError::FrameChanged { first: 1, .. }),
        "{older}"
    );
}

/// A batch of a fork, signed by the same key for the same place, does not continue this log.
#[test]
fn a_genuine_batch_of_a_fork_is_found() {
    let fixture = Fixture::new(&[1]);
    let fork = Fixture::new(&[]);
    fork.set_log(&fixture.log());
    fork.set_head(&fixture.heads[1]);
    for (fixture, at_ms) in [(&fixture, 7), (&fork, 8)] {
        let other = Entry { at_ms, ..entry(1) };
        let mut writer = fixture.writer();
        writer
            .commit(&[&Body::new(other, None).unwrap()])
            .remove(0)
            .unwrap();
        writer.commit(&[&body(2)]).remove(0).unwrap();
        fixture.verify().unwrap();
    }
    let (ours, theirs) = (parts(&fixture.log()), parts(&fork.log()));
    let mixed = concat(&[ours[0].clone(), ours[1].clone(), theirs[2].clone()]);
    let fault = fixture.verify_as(&mixed).unwrap_err();
    assert!(
        matches!(fault, VerifyError::RecordsReplaced { first: 2, .. }),
        "{fault}"
    );
    // Nor is the head of the fork the head of this log, though both logs are equally long.
    fixture.set_head(&std::fs::read(fork.path("head")).unwrap());
    assert_eq!(fixture.log().len(), fork.log().len());
    let fault = fixture.verify().unwrap_err();
    assert!(
        matches!(fault, VerifyError::HeadDisagrees { .. }),
        "{fault}"
    );
    assert!(matches!(fixture.reopened(), Err(LedgerError::Damaged(_))));
}

/// Bytes after the last batch, where the head says that nothing is unfinished before them.
#[test]
fn garbage_after_the_log_is_reported_and_never_counts_as_a_record() {
    let fixture = Fixture::new(&[1, 2]);
    let mut log = fixture.log();
    let whole = log.len();
    log.extend([0x5a; 300]);
    let verified = fixture.verify_as(&log).unwrap();
    assert_eq!((verified.size, verified.unfinished_bytes), (3, 300));
    // More than one append could have left is no accident.
    log.resize(whole + 20_000_000, 0);
    assert!(fixture.verify_as(&log).is_err());
}

/// A checkpoint does not make a wrong list of open decisions right.
#[test]
fn a_signed_list_of_open_decisions_must_be_that_of_the_records() {
    let fixture = Fixture::new(&[1]);
    let mut state = State::default();
    for nth in 0..2 {
        let mut draft = Draft::new(state);
        draft.push(&body(2 * nth)).unwrap();
        let batch = draft.sign(&key()).unwrap();
        let log = [&fixture.log()[..], &batch.bytes].concat();
        fixture.set_log(if nth == 0 { &batch.bytes } else { &log });
        state = batch.state;
        // What the first batch opened is forgotten.
        state.open.apply(Effect::Closes(decision(0)), 0);
        let mut head = format!("{}\n", state.end).into_bytes();
        head.extend(state.note.as_bytes());
        fixture.set_head(&head);
    }
    let fault = fixture.verify().unwrap_err();
    assert!(
        matches!(fault, VerifyError::FrameChanged { first: 1, .. }),
        "{fault}"
    );
}
