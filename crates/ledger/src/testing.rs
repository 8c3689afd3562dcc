//! A log to attack.

use std::{
    fs::{self, File},
    io,
    ops::Range,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use casemate_model::DecisionId;
use serde_json::json;
use tempfile::TempDir;

use crate::{
    Entry, Kind, Ledger, LedgerError, LogKey, Owner, Receipt, Verified, VerifyError,
    disk::LogFile,
    entry::Body,
    layout::{BatchHead, HEAD_BYTES, RECORD_HEAD_BYTES},
    verify,
    writer::Writer,
};

pub(crate) const LOCK_WAIT: Duration = Duration::from_secs(10);

pub(crate) fn key() -> LogKey {
    LogKey::from_seed(&[42; 32], "casemate.test/log").unwrap()
}

pub(crate) fn decision(number: u64) -> DecisionId {
    DecisionId::new(number, [0; 10])
}

/// Entries alternate: an even number opens a decision, the next closes it.
pub(crate) fn entry(number: u64) -> Entry {
    Entry {
        at_ms: number,
        decision: decision(number / 2),
        kind: if number.is_multiple_of(2) {
            Kind::Allowed
        } else {
            Kind::Outcome
        },
        agent: "local".into(),
        tenant: "t".into(),
        summary: json!({ "n": number }),
        payload: None,
    }
}

pub(crate) fn body(number: u64) -> Body {
    let entry = entry(number);
    let owner = (entry.kind == Kind::Allowed).then(|| Owner::current().unwrap());
    Body::new(entry, owner).unwrap()
}

/// A ledger in a temporary directory.
#[derive(Debug)]
pub(crate) struct Fixture {
    pub(crate) dir: TempDir,
    /// The head file after each batch; first that of the empty log.
    pub(crate) heads: Vec<Vec<u8>>,
    pub(crate) receipts: Vec<Receipt>,
}

impl Fixture {
    /// A log with batches of these many records.
    pub(crate) fn new(batches: &[u64]) -> Self {
        let mut fixture = Self {
            dir: tempfile::tempdir().unwrap(),
            heads: Vec::new(),
            receipts: Vec::new(),
        };
        let mut writer = fixture.writer();
        fixture.heads.push(fs::read(fixture.path("head")).unwrap());
        for count in batches {
            let first = fixture.receipts.len() as u64;
            let bodies: Vec<_> = (first..first + count).map(body).collect();
            let bodies: Vec<_> = bodies.iter().collect();
            let receipts = writer.commit(&bodies);
            fixture
                .receipts
                .extend(receipts.into_iter().map(Result::unwrap));
            fixture.heads.push(fs::read(fixture.path("head")).unwrap());
        }
        fixture
    }

    pub(crate) fn writer(&self) -> Writer {
        self.reopened().unwrap()
    }

    pub(crate) fn reopened(&self) -> Result<Writer, LedgerError> {
        Writer::open(self.dir.path(), key(), LOCK_WAIT, |file| Arc::new(file))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn log(&self) -> Vec<u8> {
        fs::read(self.path("log")).unwrap()
    }

    pub(crate) fn set_log(&self, bytes: &[u8]) {
        fs::write(self.path("log"), bytes).unwrap();
    }

    pub(crate) fn set_head(&self, bytes: &[u8]) {
        fs::write(self.path("head"), bytes).unwrap();
    }

    pub(crate) fn verify(&self) -> Result<Verified, VerifyError> {
        verify(self.dir.path(), &key().public(), None)
    }

    /// Verifies a changed log, and puts the old one back.
    pub(crate) fn verify_as(&self, log: &[u8]) -> Result<Verified, VerifyError> {
        let old = self.log();
        self.set_log(log);
        let verified = self.verify();
        self.set_log(&old);
        verified
    }

    pub(crate) fn batches(&self) -> Vec<Parts> {
        parts(&self.log())
    }
}

/// A batch taken apart, for surgery.
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    pub(crate) head: BatchHead,
    /// Everything of each record: length, hash, JSON.
    pub(crate) records: Vec<Vec<u8>>,
    /// Frontier, open list, note and tail.
    pub(crate) trailer: Vec<u8>,
}

/// Takes a log apart that is whole.
pub(crate) fn parts(log: &[u8]) -> Vec<Parts> {
    let mut at = 0;
    let mut batches = Vec::new();
    while at < log.len() {
        let head = BatchHead::parse(log[at..at + HEAD_BYTES].try_into().unwrap()).unwrap();
        let trailer_at = at + usize::try_from(head.frontier_at()).unwrap();
        let end = at + usize::try_from(head.batch_len()).unwrap();
        let mut record_at = at + HEAD_BYTES;
        let mut records = Vec::new();
        while record_at < trailer_at {
            let len = u32::from_le_bytes(log[record_at..record_at + 4].try_into().unwrap());
            let end = record_at + RECORD_HEAD_BYTES + len as usize;
            records.push(log[record_at..end].to_vec());
            record_at = end;
        }
        let trailer = log[trailer_at..end].to_vec();
        batches.push(Parts {
            head,
            records,
            trailer,
        });
        at = end;
    }
    batches
}

impl Parts {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.head.to_bytes().to_vec();
        bytes.extend(self.records.concat());
        bytes.extend(&self.trailer);
        bytes
    }

    /// The bytes with the head made to fit the records and everything moved to `start`: what a
    /// careful attacker without the key would write.
    pub(crate) fn refitted(mut self, start: usize) -> Vec<u8> {
        let notes = self.head.parse_trailer(&self.trailer).unwrap();
        let (frontier, open, note) = (notes.frontier, notes.open, notes.note.to_owned());
        self.head.start = start as u64;
        self.head.count = u32::try_from(self.records.len()).unwrap();
        self.head.records_len = u32::try_from(self.records.concat().len()).unwrap();
        self.head.open_count = u32::try_from(open.len()).unwrap();
        let wanted = self.head.size().count_ones() as usize;
        let mut frontier = frontier;
        frontier.resize(wanted, tlog_tiles::EMPTY_HASH);
        self.trailer = self.head.trailer_bytes(&frontier, &open, &note);
        self.bytes()
    }

    /// Where record `nth` of the batch stands in the log.
    pub(crate) fn record(&self, nth: usize) -> Range<usize> {
        let before: usize = self.records[..nth].iter().map(Vec::len).sum();
        let start = usize::try_from(self.head.start).unwrap() + HEAD_BYTES + before;
        start..start + self.records[nth].len()
    }
}

/// A record with other JSON and the hash that fits it.
pub(crate) fn forged(json: &[u8]) -> Vec<u8> {
    let mut record = u32::try_from(json.len()).unwrap().to_le_bytes().to_vec();
    record.extend(tlog_tiles::record_hash(json).0);
    record.extend(json);
    record
}

/// A log file that counts, and fails when told to.
#[derive(Debug)]
pub(crate) struct Disk {
    file: File,
    pub(crate) syncs: AtomicU64,
    pub(crate) bytes_read: AtomicU64,
    /// Bytes that may still be written before the disk is full.
    pub(crate) room: AtomicU64,
    pub(crate) sync_fails: AtomicBool,
    pub(crate) cut_fails: AtomicBool,
    /// Does not wait for the real disk, for tests that need a long log.
    pub(crate) lazy: AtomicBool,
    /// Held by a test to keep a commit in its fdatasync.
    pub(crate) gate: Mutex<()>,
}

impl Disk {
    pub(crate) fn new(file: File) -> Arc<Self> {
        Arc::new(Self {
            file,
            syncs: AtomicU64::new(0),
            bytes_read: AtomicU64::new(0),
            room: AtomicU64::new(u64::MAX),
            sync_fails: AtomicBool::new(false),
            cut_fails: AtomicBool::new(false),
            lazy: AtomicBool::new(false),
            gate: Mutex::new(()),
        })
    }

    pub(crate) fn count(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::SeqCst)
    }
}

impl LogFile for Disk {
    fn len(&self) -> io::Result<u64> {
        LogFile::len(&self.file)
    }

    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<usize> {
        let read = LogFile::read_at(&self.file, bytes, at)?;
        self.bytes_read.fetch_add(read as u64, Ordering::SeqCst);
        Ok(read)
    }

    fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        let room = self.room.load(Ordering::SeqCst);
        let fits = bytes.len().min(usize::try_from(room).unwrap());
        LogFile::write_all_at(&self.file, &bytes[..fits], at)?;
        if room != u64::MAX {
            self.room.fetch_sub(fits as u64, Ordering::SeqCst);
        }
        if fits < bytes.len() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.syncs.fetch_add(1, Ordering::SeqCst);
        drop(self.gate.lock().unwrap());
        if self.sync_fails.load(Ordering::SeqCst) {
            return Err(io::Error::other("the disk is gone"));
        }
        if self.lazy.load(Ordering::SeqCst) {
            return Ok(());
        }
        LogFile::sync_data(&self.file)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        if self.cut_fails.load(Ordering::SeqCst) {
            return Err(io::Error::other("read-only file system"));
        }
        LogFile::set_len(&self.file, len)
    }
}

/// A ledger in `dir`, and the disk that it writes to.
pub(crate) fn ledger_on_disk(dir: &Path) -> (Ledger, Arc<Disk>) {
    let mut disk = None;
    let ledger = Ledger::open_with(dir, key(), LOCK_WAIT, |file| {
        let opened = Disk::new(file);
        disk = Some(Arc::clone(&opened));
        opened
    });
    (ledger.unwrap(), disk.unwrap())
}

/// Makes a log of `count` records, `per_batch` at a time, without waiting for the disk.
pub(crate) fn long_log(dir: &Path, count: u64, per_batch: u64) {
    let lazy = |file| {
        let disk = Disk::new(file);
        disk.lazy.store(true, Ordering::SeqCst);
        disk as Arc<dyn LogFile>
    };
    let mut writer = Writer::open(dir, key(), LOCK_WAIT, lazy).unwrap();
    let mut next = 0;
    while next < count {
        let last = count.min(next + per_batch);
        let bodies: Vec<_> = (next..last).map(body).collect();
        let results = writer.commit(&bodies.iter().collect::<Vec<_>>());
        assert!(results.iter().all(Result::is_ok));
        next = last;
    }
}
