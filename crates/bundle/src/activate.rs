//! Bringing a bundle into force.

use casemate_files::{Dir, Held};
use casemate_model::Digest;

use crate::{
    Activation, ActivationKind, Bundle, PolicyStore, PolicyStoreError,
    limits::{LOCK_WAIT_MS, MAX_ACTIVATIONS},
    store::{CURRENT, Found, history},
};

impl PolicyStore {
    /// Brings a staged bundle into force, on top of `expected_current`.
    ///
    /// # Errors
    /// When something else than `expected_current` is in force, the bundle is not signed by a trusted publisher, was
    /// changed, or is not newer than the last one of its name; for a rollback, when it was never in force.
    pub fn activate(
        &self,
        digest: Digest,
        expected_current: Option<Digest>,
        at_ms: u64,
        kind: ActivationKind,
    ) -> Result<Activation, PolicyStoreError> {
        self.in_turn(expected_current, |turn| {
            let activation = turn.plan(digest, at_ms, kind)?;
            turn.commit(activation)
        })
    }

    /// Whether [`PolicyStore::activate`] would do it now. Nothing changes.
    ///
    /// # Errors
    /// As [`PolicyStore::activate`].
    pub fn may_activate(
        &self,
        digest: Digest,
        expected_current: Option<Digest>,
        kind: ActivationKind,
    ) -> Result<(), PolicyStoreError> {
        self.in_turn(expected_current, |turn| {
            turn.plan(digest, 0, kind).map(drop)
        })
    }

    /// Brings an earlier bundle into force again, on top of `expected_current`: the one named, or the one that was in
    /// force when the current one was first activated. So a second rollback goes further back, not forth.
    ///
    /// # Errors
    /// As [`PolicyStore::activate`], and when there is no earlier one.
    pub fn rollback(
        &self,
        to: Option<Digest>,
        expected_current: Digest,
        at_ms: u64,
    ) -> Result<Activation, PolicyStoreError> {
        self.in_turn(Some(expected_current), |turn| {
            let activation = turn.plan_rollback(to, at_ms)?;
            turn.commit(activation)
        })
    }

    /// Whether [`PolicyStore::rollback`] would do it now. Nothing changes.
    ///
    /// # Errors
    /// As [`PolicyStore::rollback`].
    pub fn may_roll_back(
        &self,
        to: Option<Digest>,
        expected_current: Digest,
    ) -> Result<(), PolicyStoreError> {
        let expected = Some(expected_current);
        self.in_turn(expected, |turn| turn.plan_rollback(to, 0).map(drop))
    }

    /// Does something while nobody else writes, on top of `expected`.
    fn in_turn<T>(
        &self,
        expected: Option<Digest>,
        act: impl FnOnce(&Turn<'_>) -> Result<T, PolicyStoreError>,
    ) -> Result<T, PolicyStoreError> {
        let root = self.root()?;
        let held = root.lock(LOCK_WAIT_MS)?;
        let found = self.find_expected(expected)?;
        act(&Turn {
            store: self,
            root: &root,
            held: &held,
            found,
        })
    }

    fn find_expected(&self, expected: Option<Digest>) -> Result<Option<Found>, PolicyStoreError> {
        let current = self.find_current()?;
        let found = current.as_ref().map(|found| found.activation.digest);
        match found == expected {
            true => Ok(current),
            false => Err(PolicyStoreError::Changed { found }),
        }
    }
}

/// The turn of one writer.
struct Turn<'s> {
    store: &'s PolicyStore,
    root: &'s Dir,
    held: &'s Held,
    found: Option<Found>,
}

impl Turn<'_> {
    fn plan_rollback(
        &self,
        to: Option<Digest>,
        at_ms: u64,
    ) -> Result<Activation, PolicyStoreError> {
        let to = to.map_or_else(|| self.before(), Ok)?;
        self.plan(to, at_ms, ActivationKind::Rollback)
    }

    /// What would be brought into force, if it may be.
    fn plan(
        &self,
        digest: Digest,
        at_ms: u64,
        kind: ActivationKind,
    ) -> Result<Activation, PolicyStoreError> {
        let bundle = self.store.load(digest)?;
        let publisher = self.store.publisher(&bundle)?;
        match kind {
            ActivationKind::Rollback => self.check_earlier(digest)?,
            ActivationKind::Activate | ActivationKind::BreakGlass => self.check_newer(&bundle)?,
        }
        let activations = self.sequence();
        if activations >= MAX_ACTIVATIONS {
            return Err(PolicyStoreError::Full { activations });
        }
        Ok(Activation {
            sequence: activations + 1,
            kind,
            at_ms,
            digest,
            name: bundle.name().to_owned(),
            version: bundle.version(),
            publisher,
            previous: self.found.as_ref().map(|found| found.activation.digest),
        })
    }

    /// The rename of `current` is the activation; all else may be lost.
    fn commit(&self, activation: Activation) -> Result<Activation, PolicyStoreError> {
        let key = self.store.key(self.root)?;
        let note = activation.sign(&key).map_err(PolicyStoreError::Encode)?;
        let history = history(self.root)?;
        // Again, because whoever brought it into force may have died before.
        if let Some(Found {
            activation, note, ..
        }) = &self.found
        {
            let name = activation.sequence.to_string();
            match history.has(&name)? {
                true => history.sync()?,
                false => history.replace(self.held, &name, note)?,
            }
        }
        self.root.prepare(self.held, note.as_bytes())?;
        self.root.publish(self.held, self.root, CURRENT)?;
        if let Err(source) = self.root.sync() {
            return Err(PolicyStoreError::Unsettled {
                activation: Box::new(activation),
                source,
            });
        }
        let name = activation.sequence.to_string();
        // The next activation does it, if this one cannot.
        let _ = history.replace(self.held, &name, note.as_bytes());
        Ok(activation)
    }

    /// How many activations there were.
    fn sequence(&self) -> u64 {
        self.found
            .as_ref()
            .map_or(0, |found| found.activation.sequence)
    }

    /// Refuses a bundle that is not newer than the last one of its name: also by way of another name in between.
    fn check_newer(&self, bundle: &Bundle) -> Result<(), PolicyStoreError> {
        let last = self.newest(|activation| activation.name == bundle.name())?;
        match last {
            Some(last) if bundle.version() <= last.version => Err(PolicyStoreError::Older {
                name: last.name,
                version: bundle.version(),
                active: last.version,
            }),
            _ => Ok(()),
        }
    }

    fn check_earlier(&self, digest: Digest) -> Result<(), PolicyStoreError> {
        match &self.found {
            Some(found) if found.activation.digest == digest => {
                Err(PolicyStoreError::Active { digest })
            }
            _ => match self.newest(|activation| activation.digest == digest)? {
                Some(_) => Ok(()),
                None => Err(PolicyStoreError::NeverActive { digest }),
            },
        }
    }

    /// What was in force when the current bundle was last activated, other than by rollback.
    fn before(&self) -> Result<Digest, PolicyStoreError> {
        let current = self.found.as_ref().map(|found| found.activation.digest);
        let activated = self.newest(|activation| {
            activation.kind != ActivationKind::Rollback && Some(activation.digest) == current
        })?;
        activated
            .and_then(|activation| activation.previous)
            .ok_or(PolicyStoreError::NothingBefore)
    }

    /// The newest activation that is `wanted`.
    fn newest(
        &self,
        wanted: impl Fn(&Activation) -> bool,
    ) -> Result<Option<Activation>, PolicyStoreError> {
        let Some(Found { activation, .. }) = &self.found else {
            return Ok(None);
        };
        if wanted(activation) {
            return Ok(Some(activation.clone()));
        }
        let history = history(self.root)?;
        for sequence in (1..activation.sequence).rev() {
            let past = self.store.past(&history, sequence)?;
            if wanted(&past) {
                return Ok(Some(past));
            }
        }
        Ok(None)
    }
}
