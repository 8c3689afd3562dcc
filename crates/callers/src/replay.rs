//! Proofs that were used, so that none is used twice.

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
    sync::Mutex,
};

use casemate_model::Digest;

use crate::{
    Refusal,
    key_cache::lock,
    limits::{MAX_PROOFS, PROOF_SKEW_MS},
};

/// Remembers which proofs were used.
///
/// A guard must refuse what it cannot remember, and after a restart also what it may have forgotten.
pub trait ReplayGuard: fmt::Debug + Send + Sync {
    /// Takes the proof `id`, issued at `issued_ms`, for used, unless it was.
    ///
    /// # Errors
    /// [`Refusal::Replayed`] when it was used, [`Refusal::Full`] when nothing more can be remembered, and
    /// [`Refusal::StaleProof`] when nobody remembers whether it was used.
    fn admit(&self, id: &Digest, issued_ms: u64, now_ms: u64) -> Result<(), Refusal>;
}

/// Remembers in memory, for as long as a proof counts.
///
/// After a start, proofs that could have been used before it are refused: those issued up to a minute after it, because
/// a proof may come from a clock that is a minute ahead. Those who start it make new ones then.
#[derive(Debug)]
pub struct MemoryReplayGuard {
    capacity: usize,
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    /// By the minute in which they were issued.
    buckets: BTreeMap<u64, HashSet<Digest>>,
    held: usize,
    /// Nothing that was issued up to here is remembered.
    forgotten_ms: u64,
}

impl MemoryReplayGuard {
    /// A guard that starts to remember at `now_ms`.
    #[must_use]
    pub fn new(now_ms: u64) -> Self {
        Self::with_capacity(now_ms, MAX_PROOFS)
    }

    /// A guard that remembers at most `capacity` proofs.
    #[must_use]
    pub fn with_capacity(now_ms: u64, capacity: usize) -> Self {
        Self {
            capacity,
            seen: Mutex::new(Seen {
                buckets: BTreeMap::new(),
                held: 0,
                forgotten_ms: now_ms.saturating_add(PROOF_SKEW_MS),
            }),
        }
    }
}

impl ReplayGuard for MemoryReplayGuard {
    fn admit(&self, id: &Digest, issued_ms: u64, now_ms: u64) -> Result<(), Refusal> {
        let mut seen = lock(&self.seen);
        seen.forget(now_ms);
        if issued_ms <= seen.forgotten_ms {
            return Err(Refusal::StaleProof);
        }
        let minute = issued_ms / PROOF_SKEW_MS;
        if seen.buckets.get(&minute).is_some_and(|of| of.contains(id)) {
            return Err(Refusal::Replayed);
        }
        if seen.held >= self.capacity {
            return Err(Refusal::Full);
        }
        seen.buckets.entry(minute).or_default().insert(*id);
        seen.held += 1;
        Ok(())
    }
}

impl Seen {
    /// Forgets the minutes whose proofs are too old now. A clock that goes back brings none of them back.
    fn forget(&mut self, now_ms: u64) {
        while let Some(oldest) = self.buckets.first_entry() {
            let end_ms = (oldest.key() + 1).saturating_mul(PROOF_SKEW_MS);
            if end_ms.saturating_add(PROOF_SKEW_MS) > now_ms {
                return;
            }
            self.held -= oldest.remove().len();
            self.forgotten_ms = self.forgotten_ms.max(end_ms);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 1_800_000_000_000;
    /// The first moment at which anything is admitted.
    const OPEN: u64 = START + PROOF_SKEW_MS + 1_000;

    fn id(n: u64) -> Digest {
        Digest::of(&n.to_le_bytes())
    }

    /// R157: nothing is admitted twice, at any time at which it would still count.
    #[test]
    fn nothing_is_admitted_twice() {
        let guard = MemoryReplayGuard::new(START);
        guard.admit(&id(1), OPEN, OPEN).unwrap();
        for later in (0..=PROOF_SKEW_MS).step_by(1_000) {
            let again = guard.admit(&id(1), OPEN, OPEN + later);
            assert!(
                matches!(again, Err(Refusal::Replayed)),
                "{later}: {again:?}"
            );
        }
        // Later it is too old for anybody, and for the guard when it has forgotten it.
        let far = OPEN + 10 * PROOF_SKEW_MS;
        guard.admit(&id(2), far, far).unwrap();
        let again = guard.admit(&id(1), OPEN, OPEN);
        assert!(matches!(again, Err(Refusal::StaleProof)), "{again:?}");
    }

    /// I1: what may have been used before the start is refused.
    #[test]
    fn a_restart_forgets_nothing_that_counts() {
        let before = MemoryReplayGuard::new(START - 1_000_000);
        let restart = START;
        // The most future that a proof can have just before the restart.
        let issued = restart - 1 + PROOF_SKEW_MS;
        before.admit(&id(1), issued, restart - 1).unwrap();
        let after = MemoryReplayGuard::new(restart);
        for now in [restart, restart + PROOF_SKEW_MS, issued + PROOF_SKEW_MS] {
            let again = after.admit(&id(1), issued, now);
            assert!(matches!(again, Err(Refusal::StaleProof)), "{again:?}");
        }
    }

    /// I1, I15: a guard that is full refuses, and has room again when proofs are too old.
    #[test]
    fn a_full_guard_refuses() {
        let guard = MemoryReplayGuard::with_capacity(START, 2);
        guard.admit(&id(1), OPEN, OPEN).unwrap();
        guard.admit(&id(2), OPEN, OPEN).unwrap();
        let full = guard.admit(&id(3), OPEN, OPEN);
        assert!(matches!(full, Err(Refusal::Full)), "{full:?}");
        let replayed = guard.admit(&id(1), OPEN, OPEN);
        assert!(matches!(replayed, Err(Refusal::Replayed)), "{replayed:?}");
        let later = OPEN + 3 * PROOF_SKEW_MS;
        guard.admit(&id(3), later, later).unwrap();
        assert_eq!(lock(&guard.seen).held, 1);
    }
}
