//! The keys of an issuer, kept for a while.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use casemate_files::Stamp;

use crate::{
    KeySource, KeySourceError, Refusal,
    jwks::{Key, KeySet},
    limits::{KEYS_KEPT_MS, REFRESH_AFTER_MS, REFRESH_INTERVAL_MS},
};

/// The keys of one issuer.
///
/// At most one thread fetches at a time. Who names a known key waits for nobody, unless no keys are there at all.
#[derive(Debug)]
pub(crate) struct KeyCache {
    source: Arc<dyn KeySource>,
    state: Mutex<State>,
    fetching: Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    kept: Option<Kept>,
    /// When it was last tried to fetch, and what came of it if it failed.
    tried_ms: Option<u64>,
    failure: Option<Arc<KeySourceError>>,
}

#[derive(Clone, Debug)]
struct Kept {
    keys: Arc<KeySet>,
    fetched_ms: u64,
    stamp: Option<Stamp>,
}

impl Kept {
    /// A clock that jumps, either way, makes keys old.
    const fn age_ms(&self, now_ms: u64) -> u64 {
        now_ms.abs_diff(self.fetched_ms)
    }
}

impl KeyCache {
    pub(crate) fn new(source: Arc<dyn KeySource>) -> Self {
        Self {
            source,
            state: Mutex::default(),
            fetching: Mutex::default(),
        }
    }

    /// The key of this name.
    pub(crate) fn key(&self, kid: &str, now_ms: u64) -> Result<Key, Refusal> {
        let keys = match self.source.stamp() {
            Ok(Some(stamp)) => self.stamped(stamp)?,
            Ok(None) => self.aged(kid, now_ms)?,
            Err(error) => return Err(Refusal::KeysUnavailable(Arc::new(error))),
        };
        keys.get(kid).cloned().ok_or(Refusal::UnknownKey)
    }

    /// The keys of a source that tells when it changes.
    fn stamped(&self, stamp: Stamp) -> Result<Arc<KeySet>, Refusal> {
        let current = |state: &State| {
            let kept = state.kept.as_ref()?;
            (kept.stamp == Some(stamp)).then(|| Arc::clone(&kept.keys))
        };
        if let Some(keys) = current(&self.state()) {
            return Ok(keys);
        }
        let keys = self
            .fetch()
            .map_err(|error| Refusal::KeysUnavailable(Arc::new(error)))?;
        let keys = Arc::new(keys);
        self.state().kept = Some(Kept {
            keys: Arc::clone(&keys),
            fetched_ms: 0,
            stamp: Some(stamp),
        });
        Ok(keys)
    }

    /// The keys of a source that must be asked.
    fn aged(&self, kid: &str, now_ms: u64) -> Result<Arc<KeySet>, Refusal> {
        let kept = self.state().kept.clone();
        match kept {
            Some(kept) if kept.age_ms(now_ms) < KEYS_KEPT_MS => {
                let known = kept.keys.get(kid).is_some();
                if (!known || kept.age_ms(now_ms) >= REFRESH_AFTER_MS)
                    && let Ok(_alone) = self.fetching.try_lock()
                {
                    self.refresh(now_ms);
                }
            }
            _ => {
                let _alone = lock(&self.fetching);
                self.refresh(now_ms);
            }
        }
        let state = self.state();
        match &state.kept {
            Some(kept) if kept.age_ms(now_ms) < KEYS_KEPT_MS => Ok(Arc::clone(&kept.keys)),
            _ => {
                let failure = state.failure.clone();
                let failure = failure.unwrap_or_else(|| Arc::new(KeySourceError::Stale));
                Err(Refusal::KeysUnavailable(failure))
            }
        }
    }

    /// Fetches, unless that was just tried. The state is not locked while the source is asked.
    fn refresh(&self, now_ms: u64) {
        {
            let mut state = self.state();
            let just = |tried: u64| now_ms.abs_diff(tried) < REFRESH_INTERVAL_MS;
            if state.tried_ms.is_some_and(just) {
                return;
            }
            state.tried_ms = Some(now_ms);
        }
        let fetched = self.fetch();
        let mut state = self.state();
        match fetched {
            Ok(keys) => {
                state.failure = None;
                state.kept = Some(Kept {
                    keys: Arc::new(keys),
                    fetched_ms: now_ms,
                    stamp: None,
                });
            }
            Err(error) => state.failure = Some(Arc::new(error)),
        }
    }

    fn fetch(&self) -> Result<KeySet, KeySourceError> {
        Ok(KeySet::parse(&self.source.fetch()?)?)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

/// What a thread that died left is still what it was: each change is one assignment.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
