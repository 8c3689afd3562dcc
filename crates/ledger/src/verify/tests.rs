use std::fs;

use super::*;
use crate::{
    LedgerError, LogKey, Receipt, Verified,
    layout::RECORD_HEAD_BYTES,
    testing::{Fixture, LOCK_WAIT, Parts, body, key},
    writer::Writer,
};

#[test]
fn a_whole_log_verifies_and_says_what_it_holds() {
    let fixture = Fixture::new(&[1, 3, 2]);
    let verified = fixture.verify().unwrap();
    let last = fixture.receipts.last().unwrap();
    assert_eq!(
        verified,
        Verified {
            size: 6,
            root: last.root,
            records: 6,
            batches: 3,
            bytes: fixture.log().len() as u64,
            open_decisions: 0,
            checkpoint: last.checkpoint.clone(),
            unfinished_bytes: 0,
        }
    );
    let empty = Fixture::new(&[]).verify().unwrap();
    assert_eq!((empty.size, empty.batches), (0, 0));
    assert_eq!(empty.root.as_bytes(), &tlog_tiles::EMPTY_HASH.0);
}

/// I12, R231: no bit of the log is free. Every byte of a small log is changed, one at a time; each
/// change is found, and a change in a record is found as that record's.
#[test]
fn every_changed_byte_is_found_and_the_record_is_named() {
    let fixture = Fixture::new(&[1, 3, 2]);
    let log = fixture.log();
    let batches = fixture.batches();
    for at in 0..log.len() {
        for mask in [0x01, 0x80] {
            let mut changed = log.clone();
            changed[at] ^= mask;
            let fault = fixture.verify_as(&changed).unwrap_err();
            check_place(&batches, at, &fault);
        }
    }
    fixture.verify().unwrap();
}

fn check_place(batches: &[Parts], at: usize, fault: &VerifyError) {
    let begins_before = |batch: &&Parts| usize::try_from(batch.head.start).unwrap() <= at;
    let batch = batches.iter().rfind(begins_before).unwrap();
    let nth = (0..batch.records.len()).find(|nth| batch.record(*nth).contains(&at));
    let Some(nth) = nth else {
        let named = fault.record().unwrap();
        let within = batch.head.first..batch.head.size();
        assert!(within.contains(&named), "byte {at}: {fault}");
        return;
    };
    let index = batch.head.first + nth as u64;
    assert_eq!(fault.record(), Some(index), "byte {at}: {fault}");
    let record = batch.record(nth);
    assert_eq!(fault.offset(), Some(record.start as u64), "byte {at}");
    if at >= record.start + RECORD_HEAD_BYTES {
        let changed = matches!(fault, VerifyError::RecordChanged { .. });
        assert!(changed, "byte {at}: {fault}");
    } else if at >= record.start + 4 {
        let leaf = matches!(fault, VerifyError::LeafChanged { .. });
        assert!(leaf, "byte {at}: {fault}");
    }
}

/// I12: without the bytes that were acknowledged the log is truncated, wherever it is cut.
#[test]
fn every_truncation_is_found_and_the_first_missing_record_is_named() {
    let fixture = Fixture::new(&[1, 3, 2]);
    let log = fixture.log();
    let batches = fixture.batches();
    for len in 0..log.len() {
        let whole = |batch: &&Parts| batch.head.start + batch.head.batch_len() <= len as u64;
        let last_whole = batches.iter().rfind(whole);
        let (size, end) = last_whole.map_or((0, 0), |batch| {
            (batch.head.size(), batch.head.start + batch.head.batch_len())
        });
        match fixture.verify_as(&log[..len]).unwrap_err() {
            VerifyError::Truncated {
                first,
                last,
                offset,
            } => assert_eq!((first, last, offset), (size, 5, end), "cut at {len}"),
            other => panic!("cut at {len}: {other}"),
        }
    }
}

/// I12: an append that was cut short by a crash was never acknowledged. It is not tampering, and
/// the log goes on.
#[test]
fn an_unfinished_append_is_a_note_and_the_next_writer_removes_it() {
    let fixture = Fixture::new(&[2, 3, 2]);
    let log = fixture.log();
    let start = usize::try_from(fixture.batches()[2].head.start).unwrap();
    for len in start..log.len() {
        fixture.set_log(&log[..len]);
        fixture.set_head(&fixture.heads[2]);
        let verified = fixture.verify().unwrap();
        assert_eq!((verified.size, verified.batches), (5, 2), "cut at {len}");
        assert_eq!(verified.unfinished_bytes, (len - start) as u64);
        if len % 16 != 0 {
            continue;
        }
        let mut writer = fixture.writer();
        assert_eq!(fixture.log().len(), start, "the rest is cut off at {len}");
        let receipt = writer.commit(&[&body(5)]).remove(0).unwrap();
        assert_eq!((receipt.index, receipt.size), (5, 6));
        let verified = fixture.verify().unwrap();
        assert_eq!((verified.size, verified.unfinished_bytes), (6, 0));
    }
}

/// A disk may persist the pages of an append in any order: the batch has its full length, with
/// holes.
#[test]
fn an_append_with_holes_is_unfinished_only_if_nobody_was_told_of_it() {
    let fixture = Fixture::new(&[2, 1]);
    let log = fixture.log();
    let start = usize::try_from(fixture.batches()[1].head.start).unwrap();
    for hole in [
        start..log.len(),
        start..start + 8,
        start + 50..start + 90,
        log.len() - 12..log.len(),
    ] {
        let mut holed = log.clone();
        holed[hole.clone()].fill(0);
        fixture.set_log(&holed);
        fixture.set_head(&fixture.heads[2]);
        assert!(fixture.verify().is_err(), "acknowledged: {hole:?}");
        let refused = fixture.reopened();
        assert!(matches!(refused, Err(LedgerError::Damaged(_))), "{hole:?}");
        assert_eq!(fixture.log(), holed, "nothing is touched");
        fixture.set_head(&fixture.heads[1]);
        assert_eq!(
            fixture.verify().unwrap().unfinished_bytes,
            (log.len() - start) as u64
        );
        fixture.writer();
        assert_eq!(fixture.verify().unwrap().size, 2);
    }
}

/// The head is a promise; without it, or with one that cannot be believed, the log may have been
/// truncated.
#[test]
fn no_byte_of_the_head_is_free_and_it_must_be_there() {
    let fixture = Fixture::new(&[2, 1]);
    let head = fixture.heads[2].clone();
    for at in 0..head.len() {
        let mut changed = head.clone();
        changed[at] ^= 1;
        fixture.set_head(&changed);
        assert!(fixture.verify().is_err(), "byte {at}");
    }
    for len in 0..head.len() {
        fixture.set_head(&head[..len]);
        assert!(fixture.verify().is_err(), "cut at {len}");
    }
    // Two halves of genuine heads.
    let empty = String::from_utf8(fixture.heads[0].clone()).unwrap();
    let newest = String::from_utf8(head).unwrap();
    let (end, note) = newest.split_once('\n').unwrap();
    let (zero, empty_note) = empty.split_once('\n').unwrap();
    for mixed in [format!("{zero}\n{note}"), format!("{end}\n{empty_note}")] {
        fixture.set_head(mixed.as_bytes());
        assert!(fixture.verify().is_err(), "{mixed}");
    }
    fs::remove_file(fixture.path("head")).unwrap();
    let fault = fixture.verify().unwrap_err();
    assert!(matches!(fault, VerifyError::HeadMissing { .. }), "{fault}");
    // The next writer checks the whole log, and only then writes a new head.
    let mut writer = fixture.writer();
    fixture.verify().unwrap();
    assert_eq!(writer.current().unwrap().size(), 3);
}

/// A head may be older than the log after a power cut: everything behind it still counts.
#[test]
fn an_older_head_is_true_and_nothing_is_lost() {
    let fixture = Fixture::new(&[1, 1, 1]);
    for head in &fixture.heads {
        fixture.set_head(head);
        let verified = fixture.verify().unwrap();
        assert_eq!((verified.size, verified.unfinished_bytes), (3, 0));
        assert_eq!(fixture.writer().current().unwrap().size(), 3);
        assert_eq!(fs::read(fixture.path("head")).unwrap(), fixture.heads[3]);
    }
    let other = Fixture::new(&[2, 1]);
    fixture.set_head(&other.heads[1]);
    let fault = fixture.verify().unwrap_err();
    assert!(
        matches!(fault, VerifyError::HeadDisagrees { .. }),
        "{fault}"
    );
}

/// I12: a log that somebody else signed is not this log.
#[test]
fn a_log_signed_by_another_key_is_refused() {
    let fixture = Fixture::new(&[1, 2]);
    let other = LogKey::from_seed(&[43; 32], "casemate.test/log").unwrap();
    let fault = verify(fixture.dir.path(), &other.public(), None).unwrap_err();
    assert!(
        matches!(fault, VerifyError::Checkpoint { offset: 0, .. }),
        "{fault}"
    );
    let before = fixture.log();
    let refused = Writer::open(fixture.dir.path(), other, LOCK_WAIT, |file| Arc::new(file));
    assert!(matches!(refused, Err(LedgerError::OtherKey { .. })));
    // Even when the public key beside it is replaced.
    let other = LogKey::from_seed(&[43; 32], "casemate.test/log").unwrap();
    fs::write(fixture.path("key.pub"), format!("{}\n", other.public())).unwrap();
    let refused = Writer::open(fixture.dir.path(), other, LOCK_WAIT, |file| Arc::new(file));
    assert!(matches!(refused, Err(LedgerError::Damaged(_))));
    assert_eq!(fixture.log(), before);
}

/// I12: putting log *and* head back is invisible to the directory alone, and found with a receipt
/// kept elsewhere.
#[test]
fn a_consistent_rollback_is_found_with_a_receipt_that_was_kept_elsewhere() {
    let fixture = Fixture::new(&[1, 3, 2]);
    let trusted = |receipt: &Receipt| {
        verify(
            fixture.dir.path(),
            &key().public(),
            Some(&receipt.checkpoint),
        )
    };
    for receipt in &fixture.receipts {
        trusted(receipt).unwrap();
    }
    let rolled_back = usize::try_from(fixture.batches()[2].head.start).unwrap();
    let log = fixture.log();
    fixture.set_log(&log[..rolled_back]);
    fixture.set_head(&fixture.heads[2]);
    assert_eq!(fixture.verify().unwrap().size, 4, "what nobody could know");
    let fault = trusted(&fixture.receipts[5]).unwrap_err();
    assert!(
        matches!(
            fault,
            VerifyError::RolledBack {
                size: 4,
                trusted: 6
            }
        ),
        "{fault}"
    );
    trusted(&fixture.receipts[3]).unwrap();
    // Going on from there, even further than the receipt, makes a fork.
    let mut writer = fixture.writer();
    for number in 14..18 {
        writer.commit(&[&body(number)]).remove(0).unwrap();
    }
    assert_eq!(fixture.verify().unwrap().size, 8);
    let fault = trusted(&fixture.receipts[5]).unwrap_err();
    assert!(
        matches!(fault, VerifyError::Forked { trusted: 6 }),
        "{fault}"
    );
}

#[test]
fn a_trusted_checkpoint_must_be_one_of_this_key() {
    let fixture = Fixture::new(&[1]);
    let other = LogKey::from_seed(&[43; 32], "casemate.test/log").unwrap();
    let of_other = other.sign(1, tlog_tiles::EMPTY_HASH, "");
    let long = "x".repeat(MAX_TRUSTED_NOTE_BYTES + 1);
    for note in ["", "nonsense", &of_other, &long] {
        let fault = verify(fixture.dir.path(), &key().public(), Some(note)).unwrap_err();
        assert!(matches!(fault, VerifyError::Trusted(_)), "{fault}");
    }
}

#[test]
fn no_log_is_not_an_empty_log() {
    let dir = tempfile::tempdir().unwrap();
    let fault = verify(dir.path(), &key().public(), None).unwrap_err();
    assert!(matches!(fault, VerifyError::Open { .. }), "{fault}");
    let fixture = Fixture::new(&[1]);
    fs::remove_file(fixture.path("log")).unwrap();
    assert!(fixture.verify().is_err());
    let refused = fixture.reopened();
    assert!(matches!(
        refused,
        Err(LedgerError::Truncated { len: 0, .. })
    ));
    assert!(
        !fixture.path("log").exists(),
        "no new log hides that one is gone"
    );
}

/// What stands before a genuine batch is no unfinished append, even where the head tells nothing.
#[test]
fn a_damaged_batch_with_a_genuine_one_behind_it_is_not_cut_off() {
    let fixture = Fixture::new(&[1, 1, 1]);
    let mut log = fixture.log();
    let start = usize::try_from(fixture.batches()[1].head.start).unwrap();
    log[start] ^= 1;
    fixture.set_log(&log);
    fixture.set_head(&fixture.heads[1]);
    let fault = fixture.verify().unwrap_err();
    assert_eq!(fault.record(), Some(1), "{fault}");
    let refused = fixture.reopened();
    assert!(matches!(refused, Err(LedgerError::Damaged(_))));
    assert_eq!(fixture.log(), log, "nothing is touched");
}

/// I12: a writer reads only the end of the log, and refuses when a byte of what it reads was changed.
#[test]
fn a_writer_does_not_go_on_from_a_changed_frame() {
    let fixture = Fixture::new(&[3]);
    fixture.writer().commit(&[&body(21)]).remove(0).unwrap();
    let log = fixture.log();
    let batches = fixture.batches();
    let last = &batches[1];
    let frame = |at: &usize| !last.record(0).contains(at);
    let start = usize::try_from(last.head.start).unwrap();
    // The record that opened the decision which is still open.
    let open = batches[0].record(2);
    for at in open.chain((start..log.len()).filter(frame)) {
        let mut changed = log.clone();
        changed[at] ^= 1;
        fixture.set_log(&changed);
        let refused = fixture.reopened();
        assert!(matches!(refused, Err(LedgerError::Damaged(_))), "byte {at}");
        assert_eq!(fixture.log(), changed, "nothing is touched");
    }
}
