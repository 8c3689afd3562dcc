//! Where an agent has been: kept where a rule asks whether a destination is new.

use std::{fmt, sync::Arc};

use casemate_policy::{EgressPolicy, Profile, RuleApproval};
use casemate_ports::{KnownDestination, Pending};
use casemate_store::DestinationStore;

use crate::Stores;

/// Remembers destinations that have answered.
pub trait Familiar: fmt::Debug + Send + Sync {
    /// Notes one more. What cannot be noted stays new.
    fn note(&self, destination: KnownDestination, at_ms: u64) -> Pending<'_, ()>;
}

/// The memory of one agent, for one tenant.
#[derive(Debug)]
struct Remembered<S> {
    store: S,
    tenant: String,
}

impl<S: DestinationStore + fmt::Debug + Send + Sync> Familiar for Remembered<S> {
    fn note(&self, destination: KnownDestination, at_ms: u64) -> Pending<'_, ()> {
        Box::pin(async move {
            let KnownDestination { host, port } = destination;
            let noted = self
                .store
                .note_destination(&self.tenant, &host, port, at_ms);
            drop(noted.await);
        })
    }
}

/// What is remembered, and where more is.
#[derive(Debug, Default)]
pub struct Familiarity {
    /// The destinations that have answered before.
    pub known: Vec<KnownDestination>,
    /// Where those go that answer now; nowhere, if no rule asks.
    pub memory: Option<Arc<dyn Familiar>>,
}

impl Familiarity {
    /// That of an agent of `tenant`, if a rule of `profile` asks for it. When it cannot be read, every destination is new.
    pub async fn of<P>(profile: &Profile, stores: &P, tenant: &str, agent: &str) -> Self
    where
        P: Stores<Store: DestinationStore + fmt::Debug + Send + Sync + 'static>,
    {
        if !asks(profile) {
            return Self::default();
        }
        let Ok(store) = stores.open(agent).await else {
            return Self::default();
        };
        let Ok(known) = store.destinations(tenant).await else {
            return Self::default();
        };
        let known = known.into_iter();
        Self {
            known: known
                .map(|(host, port)| KnownDestination { host, port })
                .collect(),
            memory: Some(Arc::new(Remembered {
                store,
                tenant: tenant.to_owned(),
            })),
        }
    }
}

fn asks(profile: &Profile) -> bool {
    let policy = EgressPolicy::compile(profile);
    let mut rules = policy.all();
    rules.any(|rule| rule.approval == RuleApproval::NewDestination)
}
