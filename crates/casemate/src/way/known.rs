//! Where the agent of a call has been, as far as it was told and has seen since.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use casemate_egress::{Record, Stage};
use casemate_identity::limits::MAX_KNOWN;
use casemate_policy::Familiarity;
use casemate_ports::KnownDestination;
use tokio::sync::watch;

/// Destinations that have answered.
#[derive(Debug, Default)]
pub(super) struct Known(watch::Sender<State>);

#[derive(Debug, Default)]
struct State {
    all: HashSet<KnownDestination>,
    /// Those whose first answers are being recorded.
    settling: HashMap<KnownDestination, usize>,
}

/// A destination that has answered, which is not on record yet.
#[derive(Debug)]
pub(super) struct Settling {
    known: Arc<Known>,
    destination: KnownDestination,
}

impl Known {
    /// These, but no more than identity knows: others stay new.
    pub(super) fn new(known: Vec<KnownDestination>) -> Self {
        Self(watch::Sender::new(State {
            all: known.into_iter().take(MAX_KNOWN).collect(),
            settling: HashMap::new(),
        }))
    }

    /// Whether the agent has been there.
    pub(super) fn of(&self, host: &str, port: u16) -> Familiarity {
        let host = host.to_owned();
        match self
            .0
            .borrow()
            .all
            .contains(&KnownDestination { host, port })
        {
            true => Familiarity::Known,
            false => Familiarity::New,
        }
    }

    /// Waits until no answer of that destination is being recorded: whoever has the answer may ask again before it is.
    pub(super) async fn settled(&self, host: &str, port: u16) {
        let host = host.to_owned();
        let there = KnownDestination { host, port };
        let mut state = self.0.subscribe();
        // Its sender is here.
        let _ = state
            .wait_for(|state| !state.settling.contains_key(&there))
            .await;
    }

    /// Begins to learn from the end of a request, if its destination is new and answered it whole.
    pub(super) fn begin(self: &Arc<Self>, record: &Record) -> Option<Settling> {
        let (Stage::Ended(None), Some(target), Some(_)) =
            (record.stage, &record.target, record.status)
        else {
            return None;
        };
        let destination = KnownDestination {
            host: target.host.to_string(),
            port: target.port,
        };
        let begins = self.0.send_if_modified(|state| {
            let is_new = state.all.len() < MAX_KNOWN && !state.all.contains(&destination);
            if is_new {
                *state.settling.entry(destination.clone()).or_default() += 1;
            }
            is_new
        });
        begins.then(|| Settling {
            known: Arc::clone(self),
            destination,
        })
    }
}

impl Settling {
    /// It is on record that it answered: it is new no more.
    pub(super) fn learn(self) {
        let destination = self.destination.clone();
        self.known.0.send_modify(|state| {
            state.all.insert(destination);
        });
    }
}

impl Drop for Settling {
    fn drop(&mut self) {
        self.known.0.send_modify(|state| {
            let left = state.settling.get_mut(&self.destination).map(|count| {
                *count = count.saturating_sub(1);
                *count
            });
            if left == Some(0) {
                state.settling.remove(&self.destination);
            }
        });
    }
}

#[cfg(test)]
mod tests;
