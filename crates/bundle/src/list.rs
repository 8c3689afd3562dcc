//! What is in a store, and what was in force.

use std::collections::BTreeMap;

use casemate_model::Digest;

use crate::{
    Activation, PolicyStore, PolicyStoreError,
    store::{digest_of, history},
};

/// A bundle in a list.
#[derive(Debug)]
pub struct Listed {
    /// Its digest.
    pub digest: Digest,
    /// What it is called, or what is wrong with it.
    pub bundle: Result<Named, PolicyStoreError>,
    /// Whether it is in force.
    pub active: bool,
    /// When it last came into force, in milliseconds since 1970.
    pub activated_at_ms: Option<u64>,
    /// How often it came into force.
    pub times: u64,
}

/// What a bundle is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: u64,
    /// What its author says about it.
    pub description: Option<String>,
}

impl PolicyStore {
    /// Every bundle that is staged or was ever in force, by name and version.
    ///
    /// # Errors
    /// When the store or its history cannot be read. What is wrong with one bundle is said in its place.
    pub fn list(&self) -> Result<Vec<Listed>, PolicyStoreError> {
        let activations = self.history()?;
        let current = activations.last().map(|activation| activation.digest);
        let mut found: BTreeMap<Digest, (Option<u64>, u64)> = BTreeMap::new();
        for name in self.bundles()?.names()? {
            if let Some(digest) = digest_of(&name) {
                found.insert(digest, (None, 0));
            }
        }
        for activation in activations {
            let (at, times) = found.entry(activation.digest).or_default();
            *at = Some(activation.at_ms);
            *times += 1;
        }
        let listed = found
            .into_iter()
            .map(|(digest, (activated_at_ms, times))| Listed {
                digest,
                bundle: self.named(digest),
                active: Some(digest) == current,
                activated_at_ms,
                times,
            });
        let mut listed: Vec<_> = listed.collect();
        listed.sort_by(|one, other| one.key().cmp(&other.key()));
        Ok(listed)
    }

    /// Every activation, the oldest first. The last one is in force.
    ///
    /// # Errors
    /// When a record was changed or is missing.
    pub fn history(&self) -> Result<Vec<Activation>, PolicyStoreError> {
        let Some(current) = self.current()? else {
            return Ok(Vec::new());
        };
        let history = history(&self.root()?)?;
        let past = (1..current.sequence).map(|sequence| self.past(&history, sequence));
        past.chain([Ok(current)]).collect()
    }

    fn named(&self, digest: Digest) -> Result<Named, PolicyStoreError> {
        let bundle = self.load(digest)?;
        Ok(Named {
            name: bundle.name().to_owned(),
            version: bundle.version(),
            description: bundle.description().map(ToOwned::to_owned),
        })
    }
}

impl Listed {
    fn key(&self) -> (Option<(&str, u64)>, Digest) {
        let named = self.bundle.as_ref().ok();
        (
            named.map(|named| (named.name.as_str(), named.version)),
            self.digest,
        )
    }
}
