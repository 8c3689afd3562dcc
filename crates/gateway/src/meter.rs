//! Counts the bytes that are given back, and cuts what is beyond a quota.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use casemate_policy::{Profile, QuotaRules};
use casemate_ports::{Event, Owner};

use crate::QuotaUse;

const DAY_MS: u64 = 24 * 3_600_000;
/// From so many agents and tenants on, those of yesterday are forgotten.
const MANY_COUNTERS: usize = 1_024;

/// What was used in a period: a day, or the whole life of a session.
#[derive(Debug, Default)]
pub(crate) struct Counter(Mutex<Used>);

#[derive(Debug, Default)]
struct Used {
    period: u64,
    bytes: u64,
}

impl Counter {
    fn lock(&self, period: u64) -> MutexGuard<'_, Used> {
        let mut used = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if used.period < period {
            *used = Used { period, bytes: 0 };
        }
        used
    }

    /// Takes as much of `bytes` as `limit` leaves.
    fn take(&self, period: u64, bytes: u64, limit: u64) -> u64 {
        let mut used = self.lock(period);
        let taken = bytes.min(limit.saturating_sub(used.bytes));
        used.bytes = used.bytes.saturating_add(taken);
        taken
    }

    fn give_back(&self, period: u64, bytes: u64) {
        let mut used = self.lock(period);
        used.bytes = used.bytes.saturating_sub(bytes);
    }

    fn used(&self, period: u64) -> u64 {
        self.lock(period).bytes
    }
}

/// A tenant, or an agent of it.
type Name = (String, Option<String>);

/// The counters of agents and tenants.
#[derive(Debug, Default)]
pub(crate) struct Meters(Mutex<HashMap<Name, Arc<Counter>>>);

impl Meters {
    fn counter(&self, key: Name, day: u64) -> Arc<Counter> {
        let mut counters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if counters.len() >= MANY_COUNTERS {
            counters.retain(|_, counter| {
                Arc::strong_count(counter) > 1 || counter.lock(0).period >= day
            });
        }
        Arc::clone(counters.entry(key).or_default())
    }

    /// The meter of one call.
    pub(crate) fn meter(
        &self,
        owner: &Owner,
        session: (&Arc<Counter>, String),
        profile: &Profile,
        now_ms: u64,
    ) -> Meter {
        let QuotaRules {
            session: of_session,
            agent,
            tenant,
        } = profile.quotas;
        let day = now_ms / DAY_MS;
        let key = (owner.tenant.clone(), Some(owner.agent.clone()));
        let agents = self.counter(key, day);
        let tenants = self.counter((owner.tenant.clone(), None), day);
        let part = |counter, period, limit, of| Part {
            counter,
            period,
            limit,
            of,
        };
        Meter {
            parts: [
                part(Arc::clone(session.0), 0, of_session.output_bytes, session.1),
                part(
                    agents,
                    day,
                    agent.output_bytes,
                    format!("the agent {}", owner.agent),
                ),
                part(
                    tenants,
                    day,
                    tenant.output_bytes,
                    format!("the tenant {}", owner.tenant),
                ),
            ],
            cut: None,
            day_ends_in_ms: DAY_MS - now_ms % DAY_MS,
        }
    }
}

#[derive(Debug)]
struct Part {
    counter: Arc<Counter>,
    period: u64,
    limit: u64,
    of: String,
}

/// Counts the output of one call.
#[derive(Debug)]
pub(crate) struct Meter {
    parts: [Part; 3],
    cut: Option<QuotaUse>,
    day_ends_in_ms: u64,
}

impl Meter {
    /// The quota that leaves nothing at all, if there is one.
    pub(crate) fn used_up(&self) -> Option<QuotaUse> {
        let part = self
            .parts
            .iter()
            .find(|part| part.counter.used(part.period) >= part.limit)?;
        Some(self.quota(part))
    }

    fn quota(&self, part: &Part) -> QuotaUse {
        QuotaUse {
            quota: "output_bytes".to_owned(),
            of: part.of.clone(),
            limit: part.limit,
            used: part.counter.used(part.period),
            // A session's is used up for good.
            retry_after_ms: (part.period > 0).then_some(self.day_ends_in_ms),
        }
    }

    /// All of `bytes`, or nothing and the quota that does not leave so much.
    pub(crate) fn take_whole(&mut self, bytes: u64) -> Result<(), QuotaUse> {
        let taken = self.take(bytes);
        if taken == bytes {
            return Ok(());
        }
        for part in &self.parts {
            part.counter.give_back(part.period, taken);
        }
        // What is left is too little, also if it is not nothing.
        self.cut.take().map_or(Ok(()), Err)
    }

    /// As much of `bytes` as every quota leaves.
    pub(crate) fn take(&mut self, bytes: u64) -> u64 {
        let mut left = bytes;
        for index in 0..self.parts.len() {
            let Some(part) = self.parts.get(index) else {
                break;
            };
            let taken = part.counter.take(part.period, left, part.limit);
            if taken < left {
                for before in self.parts.iter().take(index) {
                    before.counter.give_back(before.period, left - taken);
                }
                if self.cut.is_none() {
                    self.cut = Some(self.quota(part));
                }
                left = taken;
            }
        }
        left
    }
}

/// What output passes through on its way out.
pub(crate) trait Gate {
    /// What of it goes on.
    fn pass(&mut self, event: Event) -> Option<Event>;

    /// The quota that kept something back, if one did.
    fn cut(&mut self) -> Option<QuotaUse>;
}

/// Lets everything pass.
pub(crate) struct Open;

impl Gate for Open {
    fn pass(&mut self, event: Event) -> Option<Event> {
        Some(event)
    }

    fn cut(&mut self) -> Option<QuotaUse> {
        None
    }
}

impl Gate for Meter {
    fn pass(&mut self, event: Event) -> Option<Event> {
        let Event::Output(stream, mut bytes) = event;
        let taken = self.take(bytes.len() as u64);
        bytes.truncate(usize::try_from(taken).unwrap_or(usize::MAX));
        (!bytes.is_empty()).then_some(Event::Output(stream, bytes))
    }

    fn cut(&mut self) -> Option<QuotaUse> {
        self.cut.take()
    }
}
