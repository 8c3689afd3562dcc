//! What was found: whose secret, spelled how, how often. Never the secret.

use std::{collections::BTreeMap, sync::Arc};

use crate::Encoding;

/// One line of what was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// The name of the credential.
    pub credential: Arc<str>,
    /// How its secret was spelled.
    pub encoding: Encoding,
    /// How often.
    pub count: u64,
}

/// What was found in one body, value or answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hits {
    found: BTreeMap<(Arc<str>, Encoding), u64>,
    cut_off: u64,
}

impl Hits {
    /// Whether nothing was found and nothing cut off.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.found.is_empty() && self.cut_off == 0
    }

    /// Each credential and encoding that was found, in order.
    pub fn iter(&self) -> impl Iterator<Item = Hit> {
        self.found
            .iter()
            .map(|((credential, encoding), count)| Hit {
                credential: Arc::clone(credential),
                encoding: *encoding,
                count: *count,
            })
    }

    /// How many texts ended in what was the beginning of a secret. It was taken out too; no credential is blamed for it, since many begin alike.
    #[must_use]
    pub fn cut_off(&self) -> u64 {
        self.cut_off
    }

    /// Adds what was found elsewhere.
    pub fn add(&mut self, other: &Self) {
        for (key, count) in &other.found {
            *self.found.entry(key.clone()).or_default() += count;
        }
        self.cut_off += other.cut_off;
    }

    pub(crate) fn count(&mut self, credential: &Arc<str>, encoding: Encoding) {
        *self
            .found
            .entry((Arc::clone(credential), encoding))
            .or_default() += 1;
    }

    pub(crate) fn count_cut_off(&mut self) {
        self.cut_off += 1;
    }
}
