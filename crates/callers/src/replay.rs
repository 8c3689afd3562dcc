//! Proofs that were used, so that none is used twice.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
    sync::Mutex,
};

use casemate_model::Digest;

use crate::{
    HolderPublic, Refusal,
    key_cache::lock,
    limits::{MAX_HOLDER_PROOFS, MAX_PROOFS, PROOF_SKEW_MS},
};

/// A proof that is about to be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UsedProof {
    /// Who made it.
    pub holder: HolderPublic,
    /// What no other proof of this holder has.
    pub id: Digest,
    /// When it was made, as it says itself: within [`PROOF_SKEW_MS`] of now.
    pub issued_ms: u64,
}

/// Remembers which proofs were used.
///
/// A guard must refuse what it cannot remember, and after a restart also what it may have forgotten.
pub trait ReplayGuard: fmt::Debug + Send + Sync {
    /// Takes a proof for used, unless it was.
    ///
    /// # Errors
    /// [`Refusal::Replayed`] when it was used, [`Refusal::Full`] when nothing more can be remembered, and
    /// [`Refusal::StaleProof`] when nobody remembers whether it was used.
    fn admit(&self, proof: &UsedProof, now_ms: u64) -> Result<(), Refusal>;
}

/// Remembers in memory, for as long as a proof counts.
///
/// After a start, proofs that could have been used before it are refused: those issued up to a minute after it, because
/// a proof may come from a clock that is a minute ahead. Those who start it make new ones then.
#[derive(Debug)]
pub struct MemoryReplayGuard {
    capacity: usize,
    of_one: usize,
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    /// By the minute in which they were issued, and by holder.
    buckets: BTreeMap<u64, Bucket>,
    held: usize,
    /// Nothing that was issued up to here is remembered.
    forgotten_ms: u64,
}

type Bucket = HashMap<[u8; 32], HashSet<Digest>>;

impl MemoryReplayGuard {
    /// A guard that starts to remember at `now_ms`.
    #[must_use]
    pub fn new(now_ms: u64) -> Self {
        Self::with_capacity(now_ms, MAX_PROOFS, MAX_HOLDER_PROOFS)
    }

    /// A guard that remembers at most `capacity` proofs, and `of_one` of each holder.
    #[must_use]
    pub fn with_capacity(now_ms: u64, capacity: usize, of_one: usize) -> Self {
        Self {
            capacity,
            of_one,
            seen: Mutex::new(Seen {
                buckets: BTreeMap::new(),
                held: 0,
                forgotten_ms: now_ms.saturating_add(PROOF_SKEW_MS),
            }),
        }
    }
}

impl ReplayGuard for MemoryReplayGuard {
    fn admit(&self, proof: &UsedProof, now_ms: u64) -> Result<(), Refusal> {
        let holder = proof.holder.as_bytes();
        let mut seen = lock(&self.seen);
        seen.forget(now_ms);
        if proof.issued_ms <= seen.forgotten_ms {
            return Err(Refusal::StaleProof);
        }
        let minute = proof.issued_ms / PROOF_SKEW_MS;
        let of = |bucket: &Bucket| bucket.get(holder).map_or(0, HashSet::len);
        let known = seen.buckets.get(&minute).and_then(|all| all.get(holder));
        if known.is_some_and(|known| known.contains(&proof.id)) {
            return Err(Refusal::Replayed);
        }
        let of_holder: usize = seen.buckets.values().map(of).sum();
        if seen.held >= self.capacity || of_holder >= self.of_one {
            return Err(Refusal::Full);
        }
        let bucket = seen.buckets.entry(minute).or_default();
        bucket.entry(*holder).or_default().insert(proof.id);
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
            self.held -= oldest.remove().values().map(HashSet::len).sum::<usize>();
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

    fn proof(n: u64, issued_ms: u64) -> UsedProof {
        UsedProof {
            holder: HolderPublic::from_bytes([1; 32]),
            id: Digest::of(&n.to_le_bytes()),
            issued_ms,
        }
    }

    /// Nothing is admitted twice, at any time at which it would still count.
    #[test]
    fn nothing_is_admitted_twice() {
        let guard = MemoryReplayGuard::new(START);
        let one = proof(1, OPEN);
        guard.admit(&one, OPEN).unwrap();
        for later in (0..=PROOF_SKEW_MS).step_by(1_000) {
            let again = guard.admit(&one, OPEN + later);
            assert!(
                matches!(again, Err(Refusal::Replayed)),
                "{later}: {again:?}"
            );
        }
        // Of another holder it is another one.
        let holder = HolderPublic::from_bytes([2; 32]);
        guard.admit(&UsedProof { holder, ..one }, OPEN).unwrap();
        // Later it is too old for anybody, and for the guard when it has forgotten it.
        let far = OPEN + 10 * PROOF_SKEW_MS;
        guard.admit(&proof(2, far), far).unwrap();
        let again = guard.admit(&one, OPEN);
        assert!(matches!(again, Err(Refusal::StaleProof)), "{again:?}");
    }

    /// I1: what may have been used before the start is refused.
    #[test]
    fn a_restart_forgets_nothing_that_counts() {
        let before = MemoryReplayGuard::new(START - 1_000_000);
        let restart = START;
        // The most future that a proof can have just before the restart.
        let latest = proof(1, restart - 1 + PROOF_SKEW_MS);
        before.admit(&latest, restart - 1).unwrap();
        let after = MemoryReplayGuard::new(restart);
        for at_ms in [
            restart,
            restart + PROOF_SKEW_MS,
            latest.issued_ms + PROOF_SKEW_MS,
        ] {
            let again = after.admit(&latest, at_ms);
            assert!(matches!(again, Err(Refusal::StaleProof)), "{again:?}");
        }
    }

    /// I1, I15: a guard that is full refuses, and has room again when proofs are too old.
    #[test]
    fn a_full_guard_refuses() {
        let guard = MemoryReplayGuard::with_capacity(START, 2, 2);
        guard.admit(&proof(1, OPEN), OPEN).unwrap();
        guard.admit(&proof(2, OPEN), OPEN).unwrap();
        let full = guard.admit(&proof(3, OPEN), OPEN);
        assert!(matches!(full, Err(Refusal::Full)), "{full:?}");
        let replayed = guard.admit(&proof(1, OPEN), OPEN);
        assert!(matches!(replayed, Err(Refusal::Replayed)), "{replayed:?}");
        let later = OPEN + 3 * PROOF_SKEW_MS;
        guard.admit(&proof(3, later), later).unwrap();
        assert_eq!(lock(&guard.seen).held, 1);
    }

    /// I15: one who makes proofs without end keeps out nobody else, also where they are of different minutes.
    #[test]
    fn one_holder_does_not_fill_it() {
        let guard = MemoryReplayGuard::with_capacity(START, 10, 2);
        guard.admit(&proof(1, OPEN), OPEN).unwrap();
        let later = OPEN + PROOF_SKEW_MS;
        guard.admit(&proof(2, later), later).unwrap();
        let full = guard.admit(&proof(3, later), later);
        assert!(matches!(full, Err(Refusal::Full)), "{full:?}");
        let holder = HolderPublic::from_bytes([2; 32]);
        let other = UsedProof {
            holder,
            ..proof(3, later)
        };
        guard.admit(&other, later).unwrap();
    }
}
