mod requests;
mod tasks;

use std::{
    collections::BTreeSet,
    fs, io,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use super::*;
use crate::{
    VerifyError,
    limits::{MAX_BATCH_RECORDS, MAX_OPEN_DECISIONS},
    read, tail,
    testing::{Disk, body, decision, entry, key, ledger_on_disk, long_log},
    verify,
};

fn check(dir: &Path) -> crate::Verified {
    verify(dir, &key().public(), None).unwrap()
}

/// I12, R231: what was acknowledged is in the log, once, in a dense order, and far fewer fdatasyncs
/// than records.
#[test]
fn sixty_four_threads_append_densely_with_few_syncs() {
    const THREADS: u64 = 64;
    const EACH: u64 = 40;
    let dir = tempfile::tempdir().unwrap();
    let (ledger, disk) = ledger_on_disk(dir.path());
    let receipts: Vec<Receipt> = thread::scope(|scope| {
        let append = |thread| {
            let ledger = &ledger;
            let numbers = (0..EACH).map(move |nth| thread * EACH + nth);
            scope.spawn(move || {
                let appended = numbers.map(|number| ledger.append(entry(number)).unwrap());
                appended.collect::<Vec<_>>()
            })
        };
        let threads: Vec<_> = (0..THREADS).map(append).collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect()
    });
    let indexes: BTreeSet<u64> = receipts.iter().map(|receipt| receipt.index).collect();
    assert_eq!(indexes, (0..THREADS * EACH).collect());
    let verified = check(dir.path());
    let syncs = Disk::count(&disk.syncs);
    assert_eq!(
        (verified.records, verified.batches),
        (THREADS * EACH, syncs)
    );
    println!("{} records, {syncs} fdatasyncs", verified.records);
    assert!(syncs <= THREADS * EACH / 2, "{syncs} fdatasyncs");
    let records: Vec<_> = read(dir.path()).map(Result::unwrap).collect();
    for receipt in &receipts {
        let record = &records[usize::try_from(receipt.index).unwrap()];
        assert_eq!((record.index, record.leaf), (receipt.index, receipt.leaf));
    }
    let last = receipts.iter().max_by_key(|receipt| receipt.size).unwrap();
    verify(dir.path(), &key().public(), Some(&last.checkpoint)).unwrap();
}

/// Waits until `count` threads are queued behind the one that commits.
fn wait_for_queue(ledger: &Ledger, count: usize) {
    while lock(&ledger.queue).waiting.len() < count {
        thread::yield_now();
    }
}

/// Never more than one fdatasync behind: all who came during one share the next.
#[test]
fn those_who_come_during_a_sync_share_the_next_one() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, disk) = ledger_on_disk(dir.path());
    thread::scope(|scope| {
        let gate = disk.gate.lock().unwrap();
        scope.spawn(|| ledger.append(entry(0)).unwrap());
        while Disk::count(&disk.syncs) == 0 {
            thread::yield_now();
        }
        for number in 1..64 {
            let ledger = &ledger;
            scope.spawn(move || ledger.append(entry(number)).unwrap());
        }
        wait_for_queue(&ledger, 63);
        assert_eq!(check(dir.path()).size, 1, "none of the 63 is written yet");
        drop(gate);
    });
    assert_eq!(Disk::count(&disk.syncs), 2);
    assert_eq!(check(dir.path()).batches, 2);
}

/// I15: a batch has limits, and what does not fit comes with the next.
#[test]
fn a_batch_is_bounded_in_records_and_bytes() {
    let waiting = |number| {
        let (thread, _) = sync_channel(1);
        Waiting {
            body: body(number),
            urgency: Urgency::Now,
            who: Who::Thread(thread),
        }
    };
    let mut queue = Queue::default();
    queue.waiting.extend((0..1_500).map(waiting));
    assert_eq!(queue.take_batch().len(), MAX_BATCH_RECORDS as usize);
    assert_eq!(queue.take_batch().len(), 476);
    assert_eq!(queue.take_batch().len(), 0);
    for _ in 0..20 {
        let mut large = entry(0);
        large.summary = serde_json::json!({ "x": "y".repeat(1_000_000) });
        let (thread, _) = sync_channel(1);
        queue.waiting.push_back(Waiting {
            body: Body::new(large, None).unwrap(),
            urgency: Urgency::Now,
            who: Who::Thread(thread),
        });
    }
    assert_eq!(queue.take_batch().len(), 16);
    assert_eq!(queue.take_batch().len(), 4);
}

/// I1: a full disk fails everyone in the batch, leaves the log as it was, and passes when there is
/// room again.
#[test]
fn a_full_disk_fails_the_whole_batch_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, disk) = ledger_on_disk(dir.path());
    ledger.append(entry(0)).unwrap();
    let before = fs::read(dir.path().join("log")).unwrap();
    for room in [0, 1, 500, 1_000] {
        thread::scope(|scope| {
            let gate = disk.gate.lock().unwrap();
            let syncs = Disk::count(&disk.syncs);
            let first = scope.spawn(|| ledger.append(entry(0)));
            while Disk::count(&disk.syncs) == syncs {
                thread::yield_now();
            }
            let ledger = &ledger;
            let threads: Vec<_> = (1..9)
                .map(|number| scope.spawn(move || ledger.append(entry(number))))
                .collect();
            wait_for_queue(ledger, 8);
            disk.room.store(room, Ordering::SeqCst);
            drop(gate);
            first.join().unwrap().unwrap();
            for thread in threads {
                match thread.join().unwrap() {
                    Err(LedgerError::Write { source, .. }) => {
                        assert_eq!(source.kind(), io::ErrorKind::StorageFull);
                    }
                    other => panic!("{other:?}"),
                }
            }
        });
        disk.room.store(u64::MAX, Ordering::SeqCst);
        let verified = check(dir.path());
        assert_eq!(
            verified.unfinished_bytes, 0,
            "the torn batch was taken back"
        );
    }
    let log = fs::read(dir.path().join("log")).unwrap();
    assert!(log.starts_with(&before));
    let receipt = ledger.append(entry(1)).unwrap();
    assert_eq!(receipt.index, 5, "no index is lost");
    assert_eq!(check(dir.path()).size, 6);
}

/// After a failed fdatasync the page cache is not believed, even if the next fdatasync would
/// succeed.
#[test]
fn a_failed_sync_poisons_the_ledger_until_it_is_reopened() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, disk) = ledger_on_disk(dir.path());
    ledger.append(entry(0)).unwrap();
    let before = fs::read(dir.path().join("log")).unwrap();
    disk.sync_fails.store(true, Ordering::SeqCst);
    assert!(matches!(
        ledger.append(entry(1)),
        Err(LedgerError::Sync { .. })
    ));
    disk.sync_fails.store(false, Ordering::SeqCst);
    for _ in 0..2 {
        assert!(matches!(
            ledger.append(entry(1)),
            Err(LedgerError::Poisoned(_))
        ));
    }
    assert!(matches!(
        ledger.open_decisions(),
        Err(LedgerError::Poisoned(_))
    ));
    assert_eq!(
        fs::read(dir.path().join("log")).unwrap(),
        before,
        "cut back for others"
    );
    let reopened = Ledger::open(dir.path(), key()).unwrap();
    assert_eq!(reopened.append(entry(1)).unwrap().index, 1);
    check(dir.path());
}

#[test]
fn a_torn_batch_that_cannot_be_taken_back_poisons_the_ledger() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, disk) = ledger_on_disk(dir.path());
    ledger.append(entry(0)).unwrap();
    disk.room.store(100, Ordering::SeqCst);
    disk.cut_fails.store(true, Ordering::SeqCst);
    assert!(matches!(
        ledger.append(entry(1)),
        Err(LedgerError::Write { .. })
    ));
    disk.room.store(u64::MAX, Ordering::SeqCst);
    disk.cut_fails.store(false, Ordering::SeqCst);
    assert!(matches!(
        ledger.append(entry(1)),
        Err(LedgerError::Poisoned(_))
    ));
    assert_eq!(check(dir.path()).unfinished_bytes, 100);
    let reopened = Ledger::open(dir.path(), key()).unwrap();
    assert_eq!(reopened.append(entry(1)).unwrap().index, 1);
    assert_eq!(check(dir.path()).unfinished_bytes, 0);
}

/// Written by a process that died before it could say so: adopted, and made durable first.
#[test]
fn a_batch_that_nobody_was_told_of_is_made_durable_before_it_is_built_on() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = ledger_on_disk(dir.path());
    ledger.append(entry(0)).unwrap();
    let head = fs::read(dir.path().join("head")).unwrap();
    ledger.append(entry(2)).unwrap();
    drop(ledger);
    fs::write(dir.path().join("head"), head).unwrap();
    let (ledger, disk) = ledger_on_disk(dir.path());
    assert_eq!(Disk::count(&disk.syncs), 1);
    assert_eq!(ledger.open_decisions().unwrap().len(), 2);
    let (_, disk) = ledger_on_disk(dir.path());
    assert_eq!(Disk::count(&disk.syncs), 0, "the head knows it now");
}

/// R241: the open decisions are those that were allowed and have no outcome, whoever wrote them.
#[test]
fn open_decisions_survive_reopening_and_include_those_of_others() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, _) = ledger_on_disk(dir.path());
    let (theirs, _) = ledger_on_disk(dir.path());
    for number in 0..7 {
        let ledger = if number % 3 == 0 { &theirs } else { &ours };
        assert_eq!(ledger.append(entry(number)).unwrap().index, number);
    }
    theirs.append(entry(10)).unwrap();
    let fresh = Ledger::open(dir.path(), key()).unwrap();
    for ledger in [&ours, &theirs, &fresh] {
        let open = ledger.open_decisions().unwrap();
        let found: Vec<_> = open
            .iter()
            .map(|open| (open.decision, open.index))
            .collect();
        assert_eq!(found, [(decision(3), 6), (decision(5), 7)]);
        assert!(
            open.iter()
                .all(|open| open.owner == Owner::current().unwrap())
        );
        assert!(open.iter().all(|open| open.owner.is_alive()));
        assert_eq!(ledger.head().unwrap().unwrap().size, 8);
    }
    // An outcome that comes twice, or for nothing, is recorded and closes nothing else.
    ours.append(entry(1)).unwrap();
    ours.append(entry(7)).unwrap();
    // Allowed a second time, it stays open since the first.
    ours.append(entry(10)).unwrap();
    for ledger in [ours, theirs, Ledger::open(dir.path(), key()).unwrap()] {
        let open = ledger.open_decisions().unwrap();
        let found: Vec<_> = open
            .iter()
            .map(|open| (open.decision, open.index))
            .collect();
        assert_eq!(found, [(decision(5), 7)]);
    }
    check(dir.path());
}

/// I15: the decision that is one too many is refused, alone, and room is made by closing one.
#[test]
fn the_open_decisions_are_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = ledger_on_disk(dir.path());
    let most = MAX_OPEN_DECISIONS as u64;
    {
        let mut writer = lock(&ledger.writer);
        for first in (0..most).step_by(1_024) {
            let bodies: Vec<_> = (first..first + 1_024).map(|n| body(2 * n)).collect();
            let results = writer.commit(&bodies.iter().collect::<Vec<_>>());
            assert!(results.iter().all(Result::is_ok));
        }
        let bodies = [body(2 * most), body(1), body(2 * most)];
        let results = writer.commit(&bodies.each_ref());
        assert!(matches!(results[0], Err(LedgerError::TooManyOpen)));
        assert_eq!(results[1].as_ref().unwrap().index, most);
        assert_eq!(results[2].as_ref().unwrap().index, most + 1);
    }
    assert!(matches!(
        ledger.append(entry(2 * most + 2)),
        Err(LedgerError::TooManyOpen)
    ));
    assert_eq!(check(dir.path()).size, most + 2);
    let (reopened, disk) = ledger_on_disk(dir.path());
    assert_eq!(reopened.open_decisions().unwrap().len(), MAX_OPEN_DECISIONS);
    let log = fs::metadata(dir.path().join("log")).unwrap().len();
    assert!(Disk::count(&disk.bytes_read) <= log);
}

/// Opening reads the end of the log, however long it is.
#[test]
fn opening_a_log_of_a_hundred_thousand_records_reads_a_few_kilobytes() {
    let read_to_open = |count| {
        let dir = tempfile::tempdir().unwrap();
        // One decision is opened early and never closed.
        let (ledger, _) = ledger_on_disk(dir.path());
        ledger.append(entry(u64::MAX - 1)).unwrap();
        drop(ledger);
        long_log(dir.path(), count, 500);
        let (ledger, disk) = ledger_on_disk(dir.path());
        assert_eq!(ledger.open_decisions().unwrap().len(), 1);
        assert_eq!(ledger.head().unwrap().unwrap().size, count + 1);
        Disk::count(&disk.bytes_read)
    };
    let (short, long) = (read_to_open(1_000), read_to_open(100_000));
    println!("{short} bytes for 1 000 records, {long} bytes for 100 000");
    assert!(long < 2_048, "{long} bytes");
    assert!(long <= short + 17 * 32, "{short}, then {long} bytes");
}

/// I1: never a hang. A stopped process that holds the lock makes the append fail, and nothing is
/// written.
#[test]
fn a_lock_that_is_never_released_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    drop(Ledger::open(dir.path(), key()).unwrap());
    let wait = Duration::from_millis(30);
    let ledger = Ledger::open_with(dir.path(), key(), wait, |file| Arc::new(file)).unwrap();
    let holder = fs::File::open(dir.path().join("lock")).unwrap();
    holder.lock().unwrap();
    assert!(matches!(
        ledger.append(entry(0)),
        Err(LedgerError::Locked { .. })
    ));
    assert_eq!(check(dir.path()).size, 0);
    let refused = Ledger::open_with(dir.path(), key(), wait, |file| Arc::new(file));
    assert!(matches!(refused, Err(LedgerError::Locked { .. })));
    holder.unlock().unwrap();
    assert_eq!(ledger.append(entry(0)).unwrap().index, 0);
}

/// I1, I12: nothing is appended to a log that was replaced, removed or cut while it was open.
#[test]
fn a_log_that_is_tampered_with_while_it_is_open_takes_nothing_more() {
    let tamper: [fn(&Path); 3] = [
        |log| fs::rename(log, log.with_extension("old")).unwrap(),
        |log| {
            let bytes = fs::read(log).unwrap();
            fs::remove_file(log).unwrap();
            fs::write(log, bytes).unwrap();
        },
        |log| {
            fs::OpenOptions::new()
                .write(true)
                .open(log)
                .unwrap()
                .set_len(10)
                .unwrap()
        },
    ];
    for tamper in tamper {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let ledger = Ledger::open(dir.path(), key()).unwrap();
        ledger.append(entry(0)).unwrap();
        tamper(&log);
        let before = fs::read(&log).ok();
        for _ in 0..2 {
            let refused = ledger.append(entry(1)).unwrap_err();
            assert!(
                matches!(
                    refused,
                    LedgerError::Replaced { .. } | LedgerError::Truncated { .. }
                ),
                "{refused}"
            );
        }
        assert_eq!(fs::read(&log).ok(), before);
    }
}

/// I12: what another process appends is checked before it is built on.
#[test]
fn a_foreign_batch_is_not_built_on() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(dir.path(), key()).unwrap();
    ledger.append(entry(0)).unwrap();
    let path = dir.path().join("log");
    let log = fs::read(&path).unwrap();
    // The same batch again, and another behind it: more than a crash could have left.
    fs::write(&path, [&log[..], &log, &log].concat()).unwrap();
    let refused = ledger.append(entry(1)).unwrap_err();
    match refused {
        LedgerError::Damaged(fault) => {
            assert!(matches!(*fault, VerifyError::BatchMoved { .. }), "{fault}");
        }
        other => panic!("{other}"),
    }
    assert_eq!(fs::read(&path).unwrap().len(), 3 * log.len());
}

#[test]
fn an_entry_beyond_the_limits_is_refused_and_not_written() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(dir.path(), key()).unwrap();
    let mut large = entry(0);
    large.summary = serde_json::json!({ "x": "y".repeat(crate::MAX_RECORD_BYTES) });
    assert!(matches!(
        ledger.append(large),
        Err(LedgerError::EntryTooLarge { .. })
    ));
    let mut odd = entry(0);
    odd.summary = serde_json::json!("text");
    assert!(matches!(
        ledger.append(odd),
        Err(LedgerError::SummaryNotObject)
    ));
    let mut named = entry(0);
    named.tenant = "t".repeat(crate::MAX_NAME_BYTES + 1);
    assert!(matches!(
        ledger.append(named),
        Err(LedgerError::NameTooLong { .. })
    ));
    assert_eq!(check(dir.path()).size, 0);
    let mut largest = entry(0);
    largest.summary = serde_json::json!({ "x": "y".repeat(crate::MAX_RECORD_BYTES - 500) });
    largest.agent = "a".repeat(crate::MAX_NAME_BYTES / 8);
    ledger.append(largest).unwrap();
    assert_eq!(check(dir.path()).size, 1);
}

/// The directory and what is in it belong to nobody else.
#[test]
fn a_new_ledger_is_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let new = dir.path().join("a/b");
    drop(Ledger::open(&new, key()).unwrap());
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&new), 0o700);
    for name in ["log", "head", "lock"] {
        assert_eq!(mode(&new.join(name)) & 0o077, 0, "{name}");
    }
    let public = fs::read_to_string(new.join("key.pub")).unwrap();
    assert_eq!(public.trim_end(), key().public().to_string());
}

/// I12: what is sealed is hashed sealed. Destroying its key changes no byte of the log.
#[test]
fn a_log_verifies_without_the_keys_of_its_payloads() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(dir.path(), key()).unwrap();
    let sealed = casemate_model::Sealed {
        key: "dk_1".into(),
        nonce: vec![1; 12],
        ciphertext: vec![0xc5; 64],
    };
    let payload = Some(sealed.clone());
    ledger
        .append(Entry {
            payload,
            ..entry(0)
        })
        .unwrap();
    let kind = Kind::Erased;
    ledger.append(Entry { kind, ..entry(2) }).unwrap();
    assert_eq!(check(dir.path()).size, 2);
    let records: Vec<_> = read(dir.path()).map(Result::unwrap).collect();
    assert_eq!(records[0].entry.payload.as_ref(), Some(&sealed));
    assert_eq!(records[1].entry.kind, Kind::Erased);
}

/// R267: an operator verifies and looks while the log grows, and never sees a fault that is none.
#[test]
fn a_log_can_be_verified_and_read_while_it_grows() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(dir.path(), key()).unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let ledger = &ledger;
                let numbers = writer * 200..(writer + 1) * 200;
                scope.spawn(move || {
                    for number in numbers {
                        ledger.append(entry(number)).unwrap();
                    }
                })
            })
            .collect();
        let done = &done;
        let looker = scope.spawn(|| {
            let mut before = 0;
            while !done.load(Ordering::SeqCst) {
                let size = check(dir.path()).size;
                assert!(size >= before);
                before = size;
                let last = tail(dir.path(), 1).unwrap();
                assert!(last.iter().all(|record| record.index + 1 >= size));
            }
        });
        for writer in writers {
            writer.join().unwrap();
        }
        done.store(true, Ordering::SeqCst);
        looker.join().unwrap();
    });
    assert_eq!(check(dir.path()).size, 800);
}

/// I12: whoever looks after a dead process's decision closes it once, and not at all when the process had
/// closed it before it died.
#[test]
fn a_decision_is_closed_once_however_many_look_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let ours = Ledger::open(dir.path(), key()).unwrap();
    let theirs = Ledger::open(dir.path(), key()).unwrap();
    let of = |kind, number| crate::Entry {
        kind,
        decision: decision(number),
        ..entry(0)
    };
    for number in [1, 2] {
        ours.append(of(Kind::Allowed, number)).unwrap();
    }
    // They know both as open; meanwhile one ends.
    assert_eq!(theirs.open_decisions().unwrap().len(), 2);
    ours.append(of(Kind::Outcome, 1)).unwrap();
    assert_eq!(theirs.close(of(Kind::Outcome, 1)).unwrap(), None);
    assert!(theirs.close(of(Kind::Outcome, 2)).unwrap().is_some());
    assert_eq!(ours.close(of(Kind::Outcome, 2)).unwrap(), None);
    assert_eq!(
        ours.close(of(Kind::Outcome, 3)).unwrap(),
        None,
        "never allowed"
    );
    assert_eq!(check(dir.path()).records, 4);
}

/// Reading goes on between any two records, also of one batch, and sees what was added meanwhile.
#[test]
fn reading_goes_on_from_any_place() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = ledger_on_disk(dir.path());
    thread::scope(|scope| {
        for number in 0..40 {
            let ledger = &ledger;
            scope.spawn(move || ledger.append(entry(number)).unwrap());
        }
    });
    let indexes = |reader: crate::Reader| -> Vec<u64> {
        reader.map(|record| record.unwrap().index).collect()
    };
    let mut places = Vec::new();
    for taken in 0..=40 {
        let mut reader = crate::read_from(dir.path(), crate::Place::default());
        assert_eq!(reader.by_ref().take(taken).count(), taken);
        places.push(reader.place());
    }
    assert_eq!(crate::end_of(dir.path()).unwrap(), places[40]);
    ledger.append(entry(40)).unwrap();
    for (taken, place) in places.iter().enumerate() {
        let json = serde_json::to_string(place).unwrap();
        let place = serde_json::from_str(&json).unwrap();
        let rest = indexes(crate::read_from(dir.path(), place));
        assert_eq!(rest, (taken as u64..41).collect::<Vec<_>>());
    }
}

/// What a power cut could undo is not read from a place on: only what the head says is durable.
#[test]
fn what_is_not_known_to_be_durable_is_not_told() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = ledger_on_disk(dir.path());
    ledger.append(entry(0)).unwrap();
    let head = fs::read(dir.path().join("head")).unwrap();
    ledger.append(entry(1)).unwrap();
    fs::write(dir.path().join("head"), &head).unwrap();
    let told = crate::read_from(dir.path(), crate::Place::default());
    let told: Vec<_> = told.map(|record| record.unwrap().index).collect();
    assert_eq!(told, [0]);
    assert_eq!(read(dir.path()).count(), 2, "it is there all the same");
    let from_end = crate::read_from(dir.path(), crate::end_of(dir.path()).unwrap());
    assert_eq!(from_end.count(), 0);
}
