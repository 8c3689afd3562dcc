//! Where the agent of a call has been, as far as it was told and has seen since.

use std::{
    collections::HashSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

use casemate_egress::{Record, Stage};
use casemate_policy::Familiarity;
use casemate_ports::KnownDestination;

/// The most destinations that are known at once: others stay new.
const MAX_KNOWN: usize = 4_096;

/// Destinations that have answered.
#[derive(Debug, Default)]
pub(super) struct Known(Mutex<HashSet<KnownDestination>>);

impl Known {
    /// These.
    pub(super) fn new(known: Vec<KnownDestination>) -> Self {
        Self(Mutex::new(known.into_iter().take(MAX_KNOWN).collect()))
    }

    /// Whether the agent has been there.
    pub(super) fn of(&self, host: &str, port: u16) -> Familiarity {
        let host = host.to_owned();
        match self.all().contains(&KnownDestination { host, port }) {
            true => Familiarity::Known,
            false => Familiarity::New,
        }
    }

    /// Learns from the end of a request: a destination that answered it whole is new no more.
    pub(super) fn learn(&self, record: &Record) {
        let (Stage::Ended(None), Some(target), Some(_)) =
            (record.stage, &record.target, record.status)
        else {
            return;
        };
        let mut all = self.all();
        if all.len() < MAX_KNOWN {
            all.insert(KnownDestination {
                host: target.host.to_string(),
                port: target.port,
            });
        }
    }

    fn all(&self) -> MutexGuard<'_, HashSet<KnownDestination>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
