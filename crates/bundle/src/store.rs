//! The store: its directory, its keys, the bundles in it and the record of which one is in force.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use casemate_answers::SignedAnswer;
use casemate_files::{Dir, FileError, Held, Pinned, Privacy, Steps, UNFINISHED};
use casemate_model::Digest;

use crate::{
    Activation, Approver, ApproverError, ApproverList, Bundle, OpenError, PolicyKey,
    PolicyStoreError, PublicKey, Role, Trusted, TrustedError,
    approver::Opened,
    counters::Counters,
    limits::{
        LOCK_WAIT_MS, MAX_APPROVERS_BYTES, MAX_KEY_FILE_BYTES, MAX_NOTE_BYTES, MAX_TRUSTED_BYTES,
        MAX_TRUSTED_KEYS,
    },
    place::SIGNATURE,
    read, trusted,
};

const BUNDLES: &str = "bundles";
pub(crate) const CURRENT: &str = "current";
const HISTORY: &str = "history";
const KEY: &str = "key";
const TRUSTED: &str = "trusted";
const APPROVERS: &str = "approvers";
/// How often passkeys have signed.
const COUNTERS: &str = "counters";
/// What the store's key is called.
const KEY_NAME: &str = "casemate-policy-store";
const DIGEST_PREFIX: &str = "sha256:";

/// A directory of bundles, of which at most one is in force.
///
/// Any number of threads and processes may use one at once.
#[derive(Clone, Debug)]
pub struct PolicyStore {
    path: PathBuf,
    public: PublicKey,
    steps: Option<Arc<dyn Steps>>,
}

/// The record in force, and the file that it was read from.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) activation: Activation,
    pub(crate) note: Vec<u8>,
    pub(crate) file: Pinned,
}

impl PolicyStore {
    /// Opens the store in the directory `dir`, which is made, with a key of its own, if it is missing.
    ///
    /// # Errors
    /// When it, or something in it, cannot be made, belongs to another user, others can write to it, or its key is lost.
    pub fn open(dir: &Path) -> Result<Self, PolicyStoreError> {
        Self::open_with(dir, None)
    }

    pub(crate) fn open_with(
        dir: &Path,
        steps: Option<Arc<dyn Steps>>,
    ) -> Result<Self, PolicyStoreError> {
        casemate_files::make(dir)?;
        let root = Dir::find(dir, Privacy::Readable)?.with_steps(steps.clone());
        root.sub_or_make(BUNDLES)?;
        root.sub_or_make(HISTORY)?;
        let key = match read_key(&root)? {
            Some(key) => key,
            None => make_key(&root)?,
        };
        Ok(Self {
            path: root.as_path().to_owned(),
            public: key.public().clone(),
            steps,
        })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The key that signs its activations.
    #[must_use]
    pub const fn public_key(&self) -> &PublicKey {
        &self.public
    }

    /// Opened anew each time: the directory at the path counts, whatever became of an older one.
    pub(crate) fn root(&self) -> Result<Dir, FileError> {
        Ok(Dir::open(&self.path, Privacy::Readable)?.with_steps(self.steps.clone()))
    }

    pub(crate) fn bundles(&self) -> Result<Dir, FileError> {
        self.root()?.sub_or_make(BUNDLES)
    }

    /// The key, to sign with.
    pub(crate) fn key(&self, root: &Dir) -> Result<PolicyKey, PolicyStoreError> {
        let path = || root.path(KEY);
        let key = read_key(root)?.ok_or_else(|| PolicyStoreError::KeyLost { path: path() })?;
        match *key.public() == self.public {
            true => Ok(key),
            false => Err(PolicyStoreError::OtherKey { path: path() }),
        }
    }

    /// The keys that the store trusts.
    ///
    /// # Errors
    /// When the list cannot be read, or a line of it is not one.
    pub fn trusted(&self) -> Result<Trusted, PolicyStoreError> {
        let root = self.root()?;
        parse_trusted(&root, &read_trusted(&root)?)
    }

    /// Trusts a key in a role from now on.
    ///
    /// # Errors
    /// When the list cannot be read or written, or is full.
    pub fn trust(&self, role: Role, key: &PublicKey) -> Result<(), PolicyStoreError> {
        self.change_trusted(|mut text, keys| {
            if keys.keys().contains(&(role, key.clone())) {
                return Ok(text);
            }
            let keys = keys.keys().len();
            if keys >= MAX_TRUSTED_KEYS {
                return Err(PolicyStoreError::TooManyKeys { keys });
            }
            if !text.is_empty() && !text.ends_with('\n') {
                text.push('\n');
            }
            Ok(text + &trusted::line(role, key))
        })
    }

    /// Trusts a key in a role no longer. What was activated on its signature stays in force.
    ///
    /// # Errors
    /// When the list cannot be read or written.
    pub fn distrust(&self, role: Role, key: &PublicKey) -> Result<(), PolicyStoreError> {
        let line = trusted::line(role, key);
        self.change_trusted(|text, _| {
            let kept = text.lines().filter(|found| *found != line.trim_end());
            Ok(kept.flat_map(|line| [line, "\n"]).collect())
        })
    }

    fn change_trusted(
        &self,
        change: impl FnOnce(String, &Trusted) -> Result<String, PolicyStoreError>,
    ) -> Result<(), PolicyStoreError> {
        let root = self.root()?;
        let held = root.lock(LOCK_WAIT_MS)?;
        let text = read_trusted(&root)?;
        let trusted = parse_trusted(&root, &text)?;
        let changed = change(text.clone(), &trusted)?;
        if changed != text {
            root.replace(&held, TRUSTED, changed.as_bytes())?;
        }
        Ok(())
    }

    /// The people who may approve calls.
    ///
    /// # Errors
    /// When the list cannot be read, or a line of it is not one.
    pub fn approvers(&self) -> Result<ApproverList, PolicyStoreError> {
        read_approvers(&self.root()?)
    }

    /// What an answer says, and whose it is. The counter of a passkey is on disk then.
    ///
    /// # Errors
    /// When it is of nobody who may approve calls now, or the store cannot be read or written.
    pub fn open_answer(
        &self,
        answer: &SignedAnswer,
        now_ms: u64,
    ) -> Result<(String, Approver), PolicyStoreError> {
        let root = self.root()?;
        let list = read_approvers(&root)?;
        let Opened {
            text,
            approver,
            counter,
        } = list.open(answer, now_ms)?;
        if let (Some((credential, count)), SignedAnswer::Passkey { assertion, .. }) =
            (counter, answer)
        {
            let held = root.lock(LOCK_WAIT_MS)?;
            let mut counters = read_counters(&root)?;
            let signed = [
                assertion.response.authenticator_data.as_str(),
                ".",
                &assertion.response.client_data,
            ];
            let answer = Digest::of(signed.concat().as_bytes());
            let advanced = counters.advance(&credential, count, answer);
            if advanced.map_err(OpenError::from)? {
                counters.retain(|credential| list.has_credential(credential));
                root.replace(&held, COUNTERS, counters.to_string().as_bytes())?;
            }
        }
        Ok((text, approver))
    }

    /// Lets somebody approve calls from now on. Whoever has the same key, or the same name and a key of the same kind, is
    /// replaced.
    ///
    /// # Errors
    /// When the list cannot be read or written, or is full.
    pub fn enlist(&self, approver: Approver) -> Result<(), PolicyStoreError> {
        let root = self.root()?;
        let held = root.lock(LOCK_WAIT_MS)?;
        let list = read_approvers(&root)?.with(approver);
        let keys = list.all().len();
        if keys > MAX_TRUSTED_KEYS {
            return Err(PolicyStoreError::TooManyKeys { keys });
        }
        let text = list.to_string();
        if text.len() as u64 > MAX_APPROVERS_BYTES {
            let path = root.path(APPROVERS);
            let source = ApproverError::TooLarge;
            return Err(PolicyStoreError::Approvers { path, source });
        }
        Ok(root.replace(&held, APPROVERS, text.as_bytes())?)
    }

    /// Lets somebody approve calls no longer: what they consented to and has not run needs others. Says whether they might.
    ///
    /// # Errors
    /// When the list cannot be read or written.
    pub fn dismiss(&self, user: &str) -> Result<bool, PolicyStoreError> {
        let root = self.root()?;
        let held = root.lock(LOCK_WAIT_MS)?;
        let (list, found) = read_approvers(&root)?.without(user);
        if found {
            root.replace(&held, APPROVERS, list.to_string().as_bytes())?;
        }
        Ok(found)
    }

    /// Puts a bundle into the store, where it counts for nothing until it is activated. If it is there already, its
    /// signature is replaced by one that comes with it.
    ///
    /// # Errors
    /// When its signature is not of a trusted publisher, the stored one was changed, or it cannot be written. A bundle
    /// without a signature may be staged, but not activated.
    pub fn stage(&self, bundle: &Bundle) -> Result<(), PolicyStoreError> {
        if bundle.signature().is_some() {
            self.publisher(bundle)?;
        }
        let bundles = self.bundles()?;
        let held = bundles.lock(LOCK_WAIT_MS)?;
        let name = directory_of(&bundle.digest());
        let Some(place) = bundles.sub(&name)? else {
            write_bundle(&bundles, &held, bundle)?;
            bundles.publish(&held, &bundles, &name)?;
            return Ok(bundles.sync()?);
        };
        let stored = load_from(&place, bundle.digest())?;
        match bundle.signature() {
            Some(note) if stored.signature() != Some(note) => {
                bundles.prepare(&held, note.as_bytes())?;
                bundles.publish(&held, &place, SIGNATURE)?;
                Ok(place.sync()?)
            }
            // Whoever staged it may have died before it was durable.
            _ => Ok(bundles.sync()?),
        }
    }

    /// The bundle with this digest, checked to be that bundle.
    ///
    /// # Errors
    /// When there is none, or any byte of it was changed.
    pub fn load(&self, digest: Digest) -> Result<Bundle, PolicyStoreError> {
        let place = self.bundles()?.sub(&directory_of(&digest))?;
        load_from(&place.ok_or(PolicyStoreError::Unknown { digest })?, digest)
    }

    /// Whose signature a bundle carries.
    pub(crate) fn publisher(&self, bundle: &Bundle) -> Result<PublicKey, PolicyStoreError> {
        let digest = bundle.digest();
        let note = bundle.signature();
        let note = note.ok_or(PolicyStoreError::Unsigned { digest })?;
        let publishers = self.trusted()?.of(Role::Publisher);
        bundle
            .verify(note, &publishers)
            .map_err(|source| PolicyStoreError::Signature { digest, source })
    }

    /// What is in force, if anything was ever activated. See [`PolicyStore::watch`] for a way that costs less.
    ///
    /// # Errors
    /// When the record was changed, lost or put back to an older one.
    pub fn current(&self) -> Result<Option<Activation>, PolicyStoreError> {
        Ok(self.find_current()?.map(|found| found.activation))
    }

    pub(crate) fn find_current(&self) -> Result<Option<Found>, PolicyStoreError> {
        let root = self.root()?;
        let history = history(&root)?;
        let Some(found) = self.read_current(&root)? else {
            return match history.has("1")? {
                false => Ok(None),
                true => self.read_current(&root)?.map(Some).ok_or_else(|| {
                    PolicyStoreError::CurrentLost {
                        path: root.path(CURRENT),
                    }
                }),
            };
        };
        let sequence = found.activation.sequence;
        let newest = sequence.saturating_add(1);
        if !history.has(&newest.to_string())? {
            return Ok(Some(found));
        }
        // Somebody may have activated it after this read; history is written after it.
        match self.read_current(&root)? {
            Some(again) if again.activation.sequence > sequence => Ok(Some(again)),
            _ => Err(PolicyStoreError::WentBack {
                path: root.path(CURRENT),
                found: sequence,
                newest,
            }),
        }
    }

    fn read_current(&self, root: &Dir) -> Result<Option<Found>, PolicyStoreError> {
        let Some(read) = root.read(CURRENT, MAX_NOTE_BYTES, Privacy::Readable)? else {
            return Ok(None);
        };
        let (file, note) = read.pin();
        let activation = self.open_record(&note, root.path(CURRENT))?;
        Ok(Some(Found {
            activation,
            note,
            file,
        }))
    }

    fn open_record(&self, note: &[u8], path: PathBuf) -> Result<Activation, PolicyStoreError> {
        Activation::open(note, &self.public)
            .map_err(|source| PolicyStoreError::Record { path, source })
    }

    /// The record of one activation of the past.
    pub(crate) fn past(
        &self,
        history: &Dir,
        sequence: u64,
    ) -> Result<Activation, PolicyStoreError> {
        let name = sequence.to_string();
        let path = history.path(&name);
        let note = history.read(&name, MAX_NOTE_BYTES, Privacy::Readable)?;
        let note = note.ok_or_else(|| PolicyStoreError::HistoryLost { path: path.clone() })?;
        let activation = self.open_record(&note.content, path.clone())?;
        match activation.sequence {
            found if found == sequence => Ok(activation),
            found => Err(PolicyStoreError::Misplaced { path, found }),
        }
    }
}

/// The records of the past.
pub(crate) fn history(root: &Dir) -> Result<Dir, FileError> {
    root.sub_or_make(HISTORY)
}

fn read_key(root: &Dir) -> Result<Option<PolicyKey>, PolicyStoreError> {
    let text = root.read(KEY, MAX_KEY_FILE_BYTES, Privacy::Secret)?;
    let text = text.map(|text| zeroize::Zeroizing::new(text.content));
    let key = text.map(|text| PolicyKey::from_file(&text));
    Ok(key.transpose()?)
}

fn make_key(root: &Dir) -> Result<PolicyKey, PolicyStoreError> {
    let held = root.lock(LOCK_WAIT_MS)?;
    // Another process may have made it while this one waited.
    if let Some(key) = read_key(root)? {
        return Ok(key);
    }
    if root.has(CURRENT)? || history(root)?.has("1")? {
        return Err(PolicyStoreError::KeyLost {
            path: root.path(KEY),
        });
    }
    let key = PolicyKey::generate(KEY_NAME)?;
    root.replace(&held, KEY, key.to_file().as_bytes())?;
    Ok(key)
}

fn read_trusted(root: &Dir) -> Result<String, PolicyStoreError> {
    let text = root.read(TRUSTED, MAX_TRUSTED_BYTES, Privacy::Readable)?;
    let text = text.map(|text| text.content).unwrap_or_default();
    String::from_utf8(text).map_err(|_| PolicyStoreError::Trusted {
        path: root.path(TRUSTED),
        source: TrustedError::NotText,
    })
}

fn read_approvers(root: &Dir) -> Result<ApproverList, PolicyStoreError> {
    let wrong = |source| PolicyStoreError::Approvers {
        path: root.path(APPROVERS),
        source,
    };
    let text = root.read(APPROVERS, MAX_APPROVERS_BYTES, Privacy::Readable)?;
    let text = text.map(|text| text.content).unwrap_or_default();
    let text = String::from_utf8(text);
    let text = text.map_err(|_| wrong(ApproverError::NotText))?;
    text.parse().map_err(wrong)
}

fn read_counters(root: &Dir) -> Result<Counters, PolicyStoreError> {
    let wrong = |line| PolicyStoreError::Counters {
        path: root.path(COUNTERS),
        line,
    };
    let text = root.read(COUNTERS, MAX_APPROVERS_BYTES, Privacy::Readable)?;
    let text = text.map(|text| text.content).unwrap_or_default();
    let text = String::from_utf8(text).map_err(|_| wrong(1))?;
    text.parse().map_err(wrong)
}

fn parse_trusted(root: &Dir, text: &str) -> Result<Trusted, PolicyStoreError> {
    text.parse().map_err(|source| PolicyStoreError::Trusted {
        path: root.path(TRUSTED),
        source,
    })
}

/// Writes a bundle to [`UNFINISHED`], complete and durable but for its name.
fn write_bundle(bundles: &Dir, held: &Held, bundle: &Bundle) -> Result<(), FileError> {
    bundles.discard(held)?;
    let top = bundles.make_sub(UNFINISHED)?;
    let note = bundle.signature().map(|note| (SIGNATURE, note.as_bytes()));
    let files = bundle.files().iter();
    let files = files.map(|(path, bytes)| (path.as_str(), bytes.as_slice()));
    let files: Vec<_> = files
        .chain(note)
        .map(|(path, bytes)| (path.split_once('/').unwrap_or(("", path)), bytes))
        .collect();
    let mut dirs = BTreeMap::from([("", top)]);
    for ((section, name), bytes) in &files {
        if !dirs.contains_key(section)
            && let Some(top) = dirs.get("")
        {
            let dir = top.make_sub(section)?;
            dirs.insert(section, dir);
        }
        if let Some(dir) = dirs.get(section) {
            dir.write(name, bytes)?;
        }
    }
    // Only now: the first sync writes most of it, and the others wait for little.
    for ((section, name), _) in &files {
        if let Some(dir) = dirs.get(section) {
            dir.sync_file(name)?;
        }
    }
    // The top directory, which has the empty name, comes last.
    dirs.values().rev().try_for_each(Dir::sync)
}

fn load_from(place: &Dir, digest: Digest) -> Result<Bundle, PolicyStoreError> {
    let bundle = read::read_from(place.fd(), place.as_path())
        .map_err(|source| PolicyStoreError::Stored { digest, source })?;
    match bundle.digest() {
        found if found == digest => Ok(bundle),
        found => Err(PolicyStoreError::Tampered { digest, found }),
    }
}

/// The name of a bundle's directory.
fn directory_of(digest: &Digest) -> String {
    let text = digest.to_string();
    text.strip_prefix(DIGEST_PREFIX).unwrap_or(&text).to_owned()
}

/// The digest of a bundle, from the name of its directory.
pub(crate) fn digest_of(directory: &str) -> Option<Digest> {
    format!("{DIGEST_PREFIX}{directory}").parse().ok()
}

#[cfg(test)]
mod tests;
