use std::sync::{
    Mutex,
    atomic::{AtomicU64, Ordering},
};

use proptest::prelude::*;

use super::*;
use crate::{
    limits::MAX_RECORD_BYTES,
    resume::resume,
    state::State,
    testing::{Fixture, decision, entry, key, long_log},
    walk::{Step, Walk},
};

/// A log in memory that counts what is read.
#[derive(Debug, Default)]
struct Memory {
    bytes: Mutex<Vec<u8>>,
    read: AtomicU64,
}

impl LogFile for Memory {
    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes.lock().unwrap().len() as u64)
    }

    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<usize> {
        let bytes = self.bytes.lock().unwrap();
        let from = bytes
            .get(usize::try_from(at).unwrap()..)
            .unwrap_or_default();
        let read = from.len().min(into.len());
        into[..read].copy_from_slice(&from[..read]);
        self.read.fetch_add(read as u64, Ordering::SeqCst);
        Ok(read)
    }

    fn write_all_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync_data(&self) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
}

fn memory(bytes: &[u8]) -> Arc<Memory> {
    Arc::new(Memory {
        bytes: Mutex::new(bytes.to_vec()),
        read: AtomicU64::new(0),
    })
}

fn indexes(records: &[Record]) -> Vec<u64> {
    records.iter().map(|record| record.index).collect()
}

/// R267: an operator sees what was recorded, in order, and all of one decision.
#[test]
fn records_are_read_back_as_they_were_appended() {
    let fixture = Fixture::new(&[1, 3, 2, 4]);
    let dir = fixture.dir.path();
    let records: Vec<_> = read(dir).map(Result::unwrap).collect();
    assert_eq!(records.len(), 10);
    for (record, receipt) in records.iter().zip(&fixture.receipts) {
        let wrote = entry(record.index);
        assert_eq!((record.index, record.leaf), (receipt.index, receipt.leaf));
        assert_eq!(record.entry.summary, wrote.summary);
        assert_eq!(record.entry.decision, wrote.decision);
        assert_eq!(record.entry.kind, wrote.kind);
        assert_eq!(
            record.entry.owner.is_some(),
            wrote.kind == crate::Kind::Allowed
        );
    }
    assert_eq!(indexes(&find(dir, decision(2)).unwrap()), [4, 5]);
    assert_eq!(find(dir, decision(99)).unwrap(), []);
    for count in 0..12 {
        let expected: Vec<u64> = (10_u64.saturating_sub(count)..10).collect();
        let count = usize::try_from(count).unwrap();
        assert_eq!(indexes(&tail(dir, count).unwrap()), expected, "{count}");
    }
}

#[test]
fn no_log_is_said_and_an_empty_log_is_empty() {
    let dir = tempfile::tempdir().unwrap();
    let errors = [
        tail(dir.path(), 1).unwrap_err(),
        find(dir.path(), decision(1)).unwrap_err(),
        read(dir.path()).next().unwrap().unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(error, ReadError::NoLog { .. }), "{error}");
    }
    let empty = Fixture::new(&[]);
    assert_eq!(tail(empty.dir.path(), 5).unwrap(), []);
    assert_eq!(read(empty.dir.path()).count(), 0);
}

/// Who read further than a log goes is told so, and hears nothing: an older copy of it is not "nothing new".
#[test]
fn a_place_beyond_the_end_is_an_error_and_not_the_end() {
    let fixture = Fixture::new(&[1, 3, 2]);
    let dir = fixture.dir.path();
    let log = fixture.log();
    let end = end_of(dir).unwrap();
    assert!(read_from(dir, end).next().is_none());
    let places: Vec<_> = {
        let mut reader = read_from(dir, Place::default());
        std::iter::from_fn(|| {
            reader
                .next()
                .map(|record| (record.unwrap(), reader.place()))
        })
        .collect()
    };
    // Restored as it was after the second batch, or the first, or made anew.
    for batches in 0..3 {
        let len = fixture.batches().get(batches).unwrap().head.start;
        let kept = [0, 1, 4][batches];
        fixture.set_log(&log[..usize::try_from(len).unwrap()]);
        fixture.set_head(&fixture.heads[batches]);
        for (record, place) in &places {
            let next = read_from(dir, *place).next();
            match (record.index + 1).cmp(&kept) {
                std::cmp::Ordering::Less => {
                    assert_eq!(next.unwrap().unwrap().index, record.index + 1)
                }
                std::cmp::Ordering::Equal => assert!(next.is_none()),
                std::cmp::Ordering::Greater => {
                    let error = next.unwrap().unwrap_err();
                    assert!(
                        matches!(error, ReadError::Beyond { next, .. } if next == record.index + 1)
                    );
                    assert!(error.to_string().contains("remove the cursor"), "{error}");
                }
            }
        }
        fixture.set_log(&log);
    }
}

/// Without a head nobody knows what is durable: there is no end from which to begin, least of all the beginning.
#[test]
fn an_unreadable_head_is_no_end() {
    let fixture = Fixture::new(&[1, 3]);
    let dir = fixture.dir.path();
    for head in [&b""[..], b"x\n", b"-1\n", b"007\n"] {
        fixture.set_head(head);
        let errors = [
            end_of(dir).unwrap_err(),
            read_from(dir, Place::default())
                .next()
                .unwrap()
                .unwrap_err(),
        ];
        for error in errors {
            assert!(matches!(error, ReadError::NoHead { .. }), "{error}");
        }
    }
    std::fs::remove_file(fixture.path("head")).unwrap();
    assert!(matches!(end_of(dir), Err(ReadError::NoHead { .. })));
    // Whoever looks at all of it sees it, durable or not.
    assert_eq!(read(dir).count(), 4);
}

/// An append that is not finished is not shown; what was acknowledged and cannot be read is an
/// error.
#[test]
fn an_unfinished_append_is_not_shown_and_a_missing_record_is_not_hidden() {
    let fixture = Fixture::new(&[1, 2, 2]);
    let dir = fixture.dir.path();
    let log = fixture.log();
    let start = usize::try_from(fixture.batches()[2].head.start).unwrap();
    for len in start..log.len() {
        fixture.set_log(&log[..len]);
        fixture.set_head(&fixture.heads[2]);
        assert_eq!(indexes(&tail(dir, 2).unwrap()), [1, 2], "cut at {len}");
        assert_eq!(read(dir).map(Result::unwrap).count(), 3);
        if len > start {
            fixture.set_head(&fixture.heads[3]);
            let last = read(dir).last().unwrap();
            assert!(matches!(last, Err(ReadError::Damaged(_))), "cut at {len}");
        }
    }
}

#[test]
fn a_changed_record_is_not_shown_and_ends_the_reading() {
    let fixture = Fixture::new(&[1, 2, 2]);
    let mut log = fixture.log();
    let at = fixture.batches()[1].record(1).end - 10;
    log[at] ^= 1;
    fixture.set_log(&log);
    let read: Vec<_> = read(fixture.dir.path()).collect();
    assert_eq!(read.len(), 3);
    match &read[2] {
        Err(ReadError::Damaged(fault)) => assert_eq!(fault.record(), Some(2)),
        other => panic!("{other:?}"),
    }
    assert!(tail(fixture.dir.path(), 3).is_err());
    assert_eq!(tail(fixture.dir.path(), 2).unwrap().len(), 2);
}

#[test]
fn the_tail_of_a_long_log_is_read_from_its_end() {
    let dir = tempfile::tempdir().unwrap();
    long_log(dir.path(), 5_000, 10);
    let bytes = std::fs::read(dir.path().join("log")).unwrap();
    let log = memory(&bytes);
    let mut opened = Opened::over(log.clone(), bytes.len() as u64, 0).unwrap();
    opened.go_back(25).unwrap();
    let first = opened.next().unwrap().unwrap();
    assert_eq!(first.index, 4_970);
    let read = log.read.load(Ordering::SeqCst);
    assert!(
        read < 100_000 && read < bytes.len() as u64 / 10,
        "{read} bytes"
    );
}

/// Reads `bytes` in every way there is, and checks that nothing grows beyond its limit.
fn read_every_way(bytes: &[u8], settled: u64) {
    let len = bytes.len() as u64;
    let public = key().public();
    let log: Arc<dyn LogFile> = memory(bytes);
    for count in [0, 3, usize::MAX] {
        let mut opened = Opened::over(Arc::clone(&log), len, settled).unwrap();
        if count == 0 || opened.go_back(count).is_ok() {
            while let Ok(Some(_)) = opened.next() {}
        }
        assert!(opened.buffer.capacity() <= 2 * MAX_RECORD_BYTES);
    }
    let mut walk = Walk::new(&log, len, &public, State::default()).unwrap();
    while let Ok(Step::Batch) = walk.step(settled) {}
    assert!(walk.state().end <= len);
    for end in 0..=len.min(600) {
        let _ = resume(&log, end, &public, crate::open_set::OpenSet::default());
    }
    let _ = resume(&log, len, &public, crate::open_set::OpenSet::default());
}

fn heads() -> impl Strategy<Value = Vec<u8>> {
    let small = prop_oneof![0_u32..4, 0_u32..2_000, any::<u32>()];
    let place = prop_oneof![Just(0_u64), 0_u64..500, any::<u64>()];
    let fields = (
        place.clone(),
        place,
        small.clone(),
        small.clone(),
        small.clone(),
        small,
    );
    (fields, prop::collection::vec(any::<u8>(), 0..400)).prop_map(|(head, rest)| {
        let (start, first, count, records_len, open_count, note_len) = head;
        let head = BatchHead {
            start,
            first,
            count,
            records_len,
            open_count,
            note_len,
        };
        [&head.to_bytes()[..], &rest].concat()
    })
}

fn whole_log() -> Vec<u8> {
    static LOG: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    LOG.get_or_init(|| Fixture::new(&[1, 3, 2]).log()).clone()
}

proptest! {
    /// I15: arbitrary bytes neither crash a reader nor make it allocate what they ask for.
    #[test]
    fn arbitrary_bytes_are_read_within_limits(
        bytes in prop::collection::vec(any::<u8>(), 0..500),
        settled in 0_u64..600,
    ) {
        read_every_way(&bytes, settled);
    }

    #[test]
    fn arbitrary_heads_are_read_within_limits(bytes in heads(), settled in 0_u64..600) {
        read_every_way(&bytes, settled);
    }

    /// I12: a log with some bytes overwritten, cut out or put in is never taken for the whole one.
    #[test]
    fn a_mangled_log_never_passes_for_the_whole_one(
        edits in prop::collection::vec(
            (any::<prop::sample::Index>(), 0_u8..3, any::<u8>(), 1_usize..40),
            1..6,
        ),
    ) {
        let whole = whole_log();
        let mut log = whole.clone();
        for (at, what, byte, len) in edits {
            let at = at.index(log.len().max(1)).min(log.len());
            let end = (at + len).min(log.len());
            match what {
                0 => log[at..end].fill(byte),
                1 => drop(log.drain(at..end)),
                _ => drop(log.splice(at..at, vec![byte; len])),
            }
        }
        read_every_way(&log, u64::MAX);
        let memory: Arc<dyn LogFile> = memory(&log);
        let public = key().public();
        let mut walk = Walk::new(&memory, log.len() as u64, &public, State::default()).unwrap();
        let last = loop {
            match walk.step(u64::MAX) {
                Ok(Step::Batch) => {}
                last => break last,
            }
        };
        let passed = last.is_ok() && walk.state().size() == 6;
        prop_assert_eq!(passed, log == whole);
    }
}

/// I15: a length that asks for too much is refused before anything is allocated for it.
#[test]
fn what_a_length_asks_for_is_checked_before_it_is_allocated() {
    let most = u32::try_from(MAX_RECORD_BYTES).unwrap();
    for len in [most + 1, u32::MAX] {
        let mut bytes = vec![0; 2 * MAX_RECORD_BYTES];
        bytes[..4].copy_from_slice(&len.to_le_bytes());
        let end = bytes.len() as u64;
        let mut source = Source::new(Section::new(memory(&bytes), end), 0, end).unwrap();
        let mut buffer = Vec::new();
        let raw = source.record(&mut buffer, end).unwrap();
        assert!(matches!(raw, RawRecord::DoesNotFit { .. }), "{len}");
        assert_eq!(buffer.capacity(), 0);
    }
}

/// A place whose record is none of its batch is none of the log, and leads no further into it.
#[test]
fn a_place_outside_of_its_batch_is_refused() {
    let fixture = Fixture::new(&[1, 3, 2]);
    let dir = fixture.dir.path();
    let starts: Vec<_> = fixture.batches().iter().map(|one| one.head.start).collect();
    for (batch, first, next, is_one) in [
        (0, 0, 0, true),
        (1, 1, 3, true),
        (0, 0, 1, false),
        (0, 0, 5, false),
        (1, 1, 4, false),
        (1, 1, 0, false),
        (1, 1, u64::MAX, false),
    ] {
        let place = Place::in_batch(starts[batch], first, next);
        let read = read_from(dir, place).next().unwrap();
        assert_eq!(
            read.as_ref().map(|record| record.index).ok(),
            is_one.then_some(next),
            "{place:?}"
        );
    }
}
