//! The credentials of one state directory: one file each, changed by compare and swap.

use std::{fmt, path::Path};

use casemate_files::{Dir, FileError, Privacy, make};
use casemate_store::KeyProvider;

use crate::{
    Credential, Form, Handle, Header, Kind, KindError, Secrets, State, jws,
    limits::{LOCK_WAIT_MS, MAX_CREDENTIALS, MAX_RECORD_BYTES},
    record::{Record, RecordError},
};

const SUFFIX: &str = ".json";

/// Keeps credentials. Any number of processes may use one directory at once.
pub struct Store {
    dir: Dir,
    provider: Box<dyn KeyProvider>,
}

/// Who gives a credential new secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// A person: whatever was wrong with the old ones is over.
    Person,
    /// The issuer, in place of the last ones.
    Issuer,
}

/// Why a credential cannot be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The directory or a file in it cannot be used.
    #[error("the credentials cannot be used")]
    File(#[from] FileError),
    /// A file is not what it was, or its key is not there.
    #[error("the credential `{handle}` cannot be used")]
    Record {
        /// Which.
        handle: Handle,
        /// Why.
        #[source]
        source: RecordError,
    },
    /// The settings cannot be used.
    #[error("the credential cannot be kept")]
    Kind(#[from] KindError),
    /// There is one with this handle.
    #[error(
        "there is a credential `{0}` already: `casemate credential rotate` gives it a new secret"
    )]
    Exists(Handle),
    /// There are as many as there can be.
    #[error("there are {MAX_CREDENTIALS} credentials, and there can be no more")]
    Full,
    /// There is none with this handle.
    #[error("there is no credential `{0}`: `casemate credential list` shows them")]
    Absent(Handle),
    /// Somebody else changed it meanwhile: nothing was written.
    #[error(
        "the credential `{handle}` was changed meanwhile (version {found}): nothing was written"
    )]
    Stale {
        /// Which.
        handle: Handle,
        /// The version that it has now.
        found: u64,
    },
    /// It was taken back.
    #[error("the credential `{0}` was revoked, and its secret is destroyed: add it anew")]
    Revoked(Handle),
}

impl Store {
    /// The credentials in the directory `path`, which is made if it is missing, under keys that `provider` wraps.
    ///
    /// # Errors
    /// When the directory is open to others or somebody else's.
    pub fn open(path: &Path, provider: Box<dyn KeyProvider>) -> Result<Self, StoreError> {
        make(path)?;
        Ok(Self {
            dir: Dir::open(path, Privacy::Secret)?,
            provider,
        })
    }

    /// What is said of each credential, in the order of their names.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn list(&self) -> Result<Vec<Header>, StoreError> {
        let mut handles = self.handles()?;
        handles.sort();
        let headers = handles.into_iter().map(|handle| self.record(&handle));
        headers
            .filter_map(|found| {
                found
                    .map(|found| found.map(|record| record.header))
                    .transpose()
            })
            .collect()
    }

    /// What is said of one, if there is one.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn header(&self, handle: &Handle) -> Result<Option<Header>, StoreError> {
        Ok(self.record(handle)?.map(|record| record.header))
    }

    /// One with its secrets. Nothing is kept in memory: what another process changed counts at once.
    ///
    /// # Errors
    /// When there is none, it was revoked, or it cannot be read.
    pub fn read(&self, handle: &Handle) -> Result<Credential, StoreError> {
        let record = self
            .record(handle)?
            .ok_or_else(|| StoreError::Absent(handle.clone()))?;
        let secrets = record.open(self.provider.as_ref()).map_err(wrong(handle))?;
        match secrets {
            Some(secrets) if record.header.state != State::Revoked => Ok(Credential {
                header: record.header,
                secrets,
            }),
            _ => Err(StoreError::Revoked(handle.clone())),
        }
    }

    /// Keeps a new credential, or one anew that was revoked. When this has returned, it is durable.
    ///
    /// # Errors
    /// When there is one, its settings are wrong, or it cannot be written.
    pub fn add(
        &self,
        handle: Handle,
        kind: Kind,
        secrets: &Secrets,
        now_ms: u64,
    ) -> Result<Header, StoreError> {
        check(&kind, secrets)?;
        let held = self.dir.lock(LOCK_WAIT_MS)?;
        let mut header = Header::new(handle, kind, now_ms);
        match self.record(&header.handle)? {
            Some(found) if found.header.state == State::Revoked => {
                header.version = found.header.version.saturating_add(1)
            }
            Some(_) => return Err(StoreError::Exists(header.handle)),
            None if self.handles()?.len() >= MAX_CREDENTIALS => return Err(StoreError::Full),
            None => {}
        }
        self.write(&held, header, Some(secrets))
    }

    /// Gives a credential new secrets, if it is still at the version of `seen`. It is then active, whatever it was.
    ///
    /// # Errors
    /// [`StoreError::Stale`] when somebody was faster: nothing is written.
    pub fn renew(
        &self,
        seen: &Header,
        secrets: &Secrets,
        by: By,
        now_ms: u64,
    ) -> Result<Header, StoreError> {
        check(&seen.kind, secrets)?;
        let held = self.dir.lock(LOCK_WAIT_MS)?;
        let found = self.current(seen)?;
        let reflected = found.header.reflected && by == By::Issuer;
        let header = Header {
            state: State::Active,
            reflected,
            renewed_at_ms: now_ms,
            ..found.header
        };
        self.write(&held, next(header), Some(secrets))
    }

    /// Notes that its issuer does not take it any more, if it is still at the version of `seen`.
    ///
    /// # Errors
    /// As [`Store::renew`].
    pub fn quarantine(&self, seen: &Header) -> Result<Header, StoreError> {
        let held = self.dir.lock(LOCK_WAIT_MS)?;
        let found = self.current(seen)?;
        let header = Header {
            state: State::Quarantined,
            ..found.header.clone()
        };
        self.note(&held, &found, next(header))
    }

    /// Notes that its secret was seen in an answer. Once is enough. It stays at its version: a refresh that is under way is of the same
    /// secret, and what it brings must be kept.
    ///
    /// # Errors
    /// When there is none, or it cannot be written.
    pub fn reflect(&self, handle: &Handle) -> Result<Header, StoreError> {
        let held = self.dir.lock(LOCK_WAIT_MS)?;
        let found = self
            .record(handle)?
            .ok_or_else(|| StoreError::Absent(handle.clone()))?;
        if found.header.reflected || found.header.state == State::Revoked {
            return Ok(found.header);
        }
        let header = Header {
            reflected: true,
            ..found.header.clone()
        };
        self.note(&held, &found, header)
    }

    /// Takes a credential back and destroys its secrets.
    ///
    /// # Errors
    /// When there is none, or it cannot be written.
    pub fn revoke(&self, handle: &Handle) -> Result<Header, StoreError> {
        let held = self.dir.lock(LOCK_WAIT_MS)?;
        let found = self
            .record(handle)?
            .ok_or_else(|| StoreError::Absent(handle.clone()))?;
        let header = Header {
            state: State::Revoked,
            ..found.header
        };
        self.write(&held, next(header), None)
    }

    /// The record that `seen` was read from, if nobody changed it.
    fn current(&self, seen: &Header) -> Result<Record, StoreError> {
        let handle = &seen.handle;
        let found = self
            .record(handle)?
            .ok_or_else(|| StoreError::Absent(handle.clone()))?;
        match found.header.version {
            _ if found.header.state == State::Revoked => Err(StoreError::Revoked(handle.clone())),
            version if version == seen.version => Ok(found),
            found => Err(StoreError::Stale {
                handle: handle.clone(),
                found,
            }),
        }
    }

    fn note(
        &self,
        held: &casemate_files::Held,
        found: &Record,
        header: Header,
    ) -> Result<Header, StoreError> {
        let handle = &found.header.handle;
        let secrets = found.open(self.provider.as_ref()).map_err(wrong(handle))?;
        self.write(held, header, secrets.as_ref())
    }

    fn write(
        &self,
        held: &casemate_files::Held,
        header: Header,
        secrets: Option<&Secrets>,
    ) -> Result<Header, StoreError> {
        let handle = header.handle.clone();
        let record =
            Record::seal(header, secrets, self.provider.as_ref()).map_err(wrong(&handle))?;
        let bytes = record.bytes().map_err(wrong(&handle))?;
        self.dir.replace(held, &file(&handle), &bytes)?;
        Ok(record.header)
    }

    fn record(&self, handle: &Handle) -> Result<Option<Record>, StoreError> {
        let found = self
            .dir
            .read(&file(handle), MAX_RECORD_BYTES, Privacy::Secret)?;
        let Some(found) = found else { return Ok(None) };
        let record = Record::parse(&found.content).map_err(wrong(handle))?;
        // The file of another one has another name.
        if record.header.handle != *handle {
            return Err(wrong(handle)(RecordError::Form));
        }
        Ok(Some(record))
    }

    fn handles(&self) -> Result<Vec<Handle>, StoreError> {
        let names = self.dir.names()?;
        let names = names.iter().filter_map(|name| name.strip_suffix(SUFFIX));
        Ok(names.filter_map(|name| name.parse().ok()).collect())
    }
}

fn file(handle: &Handle) -> String {
    format!("{}{SUFFIX}", handle.name())
}

fn next(header: Header) -> Header {
    Header {
        version: header.version.saturating_add(1),
        ..header
    }
}

fn wrong(handle: &Handle) -> impl FnOnce(RecordError) -> StoreError {
    let handle = handle.clone();
    move |source| StoreError::Record { handle, source }
}

/// Whether a secret can be put into one segment of a path, as it is.
fn is_segment(secret: &str) -> bool {
    !secret.contains(['/', '%']) && casemate_model::check_path(&format!("/{secret}")).is_ok()
}

fn check(kind: &Kind, secrets: &Secrets) -> Result<(), KindError> {
    kind.check()?;
    if kind.form() == Form::Pem && jws::check(&secrets.main).is_err() {
        return Err(KindError::Key);
    }
    if kind.is_presented() && crate::handshake::check(&secrets.main).is_err() {
        return Err(KindError::Certificate);
    }
    if matches!(kind, Kind::Path { .. }) && !is_segment(secrets.main.expose()) {
        return Err(KindError::Segment);
    }
    if secrets.second.is_some() && !kind.has_second() {
        return Err(KindError::Second(kind.as_str()));
    }
    Ok(())
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Store").field(&self.dir.as_path()).finish()
    }
}
