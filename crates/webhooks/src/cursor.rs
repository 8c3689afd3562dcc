//! How far an endpoint has come: a place in the ledger, on disk.

use std::path::Path;

use casemate_files::{Dir, FileError, Privacy};
use casemate_ledger::{Place, ReadError, end_of};

use crate::limits::{MAX_CURSOR_BYTES, PASSED_OVER};

/// How long to wait for another process, in milliseconds.
const LOCK_WAIT_MS: u64 = 10_000;

/// The cursor of an endpoint.
#[derive(Debug)]
pub(crate) struct Cursor {
    dir: Dir,
    name: String,
    pub(crate) place: Place,
    /// Records before `place` of which the disk does not know that they are done with.
    passed: u64,
}

/// Why nobody knows how far an endpoint has come.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CursorError {
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The ledger cannot be read.
    #[error(transparent)]
    Ledger(#[from] ReadError),
    /// What is there is no place in a ledger.
    #[error(
        "the cursor `{name}` is no place in the ledger: remove it, and messages begin with what happens next"
    )]
    Malformed {
        /// Which.
        name: String,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// It cannot be written.
    #[error("the cursor `{name}` cannot be written")]
    Encode {
        /// Which.
        name: String,
        /// Why not.
        #[source]
        source: serde_json::Error,
    },
}

impl Cursor {
    /// The cursor of this name in a directory, made if there is none. Whoever is new hears what happens from now on.
    pub(crate) fn open(dir: &Path, name: &str, ledger: &Path) -> Result<Self, CursorError> {
        casemate_files::make(dir)?;
        let dir = Dir::open(dir, Privacy::Readable)?;
        let found = dir.read(name, MAX_CURSOR_BYTES, Privacy::Readable)?;
        let place = match &found {
            None => end_of(ledger)?,
            Some(found) => {
                let place = serde_json::from_slice(&found.content);
                place.map_err(|source| CursorError::Malformed {
                    name: name.to_owned(),
                    source,
                })?
            }
        };
        let mut cursor = Self {
            dir,
            name: name.to_owned(),
            place,
            passed: 0,
        };
        if found.is_none() {
            cursor.go_on(place)?;
        }
        Ok(cursor)
    }

    /// Notes that the record before `place` is nothing to tell of. Durably only now and then: it can be passed over again.
    pub(crate) fn pass_over(&mut self, place: Place) -> Result<(), CursorError> {
        if self.passed + 1 >= PASSED_OVER {
            return self.go_on(place);
        }
        self.passed += 1;
        self.place = place;
        Ok(())
    }

    /// Notes durably that everything before `place` is done with.
    pub(crate) fn go_on(&mut self, place: Place) -> Result<(), CursorError> {
        let json = serde_json::to_vec(&place).map_err(|source| CursorError::Encode {
            name: self.name.clone(),
            source,
        })?;
        let held = self.dir.lock(LOCK_WAIT_MS)?;
        self.dir.replace(&held, &self.name, &json)?;
        self.place = place;
        self.passed = 0;
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    /// What nobody has to be told of costs a write once in a while, and is not looked at again meanwhile.
    #[test]
    fn what_is_passed_over_is_seldom_written() {
        let dir = tempfile::tempdir().unwrap();
        let place = |next: u64| -> Place {
            serde_json::from_value(serde_json::json!({ "offset": 0, "first": 0, "next": next }))
                .unwrap()
        };
        let mut cursor = Cursor {
            dir: Dir::open(dir.path(), Privacy::Readable).unwrap(),
            name: "chat".into(),
            place: place(0),
            passed: 0,
        };
        let file = dir.path().join("chat");
        for round in 1..=2 {
            for next in (round - 1) * PASSED_OVER + 1..round * PASSED_OVER {
                cursor.pass_over(place(next)).unwrap();
                assert_eq!(cursor.place, place(next));
                assert!(!file.exists(), "{next}");
            }
            cursor.pass_over(place(round * PASSED_OVER)).unwrap();
            let written = std::fs::read(&file).unwrap();
            let written: Place = serde_json::from_slice(&written).unwrap();
            assert_eq!(written, place(round * PASSED_OVER));
            std::fs::remove_file(&file).unwrap();
        }
        // A delivery is written at once.
        cursor.go_on(place(9_000)).unwrap();
        assert!(file.exists());
    }
}
