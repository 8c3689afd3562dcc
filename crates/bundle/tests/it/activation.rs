//! Which bundle is in force: versions, rollback, and several writers.

use std::sync::Barrier;

use casemate_bundle::{ActivationKind, Bundle, PolicyStore, PolicyStoreError};
use casemate_model::Digest;

use crate::support::{Fixture, bundle, files, signed};

#[test]
fn activations_are_numbered_signed_and_remembered() {
    let fixture = Fixture::new();
    assert_eq!(fixture.store.current().unwrap(), None);
    assert!(fixture.store.history().unwrap().is_empty());
    let [a, b] = [1, 2].map(|version| bundle("p", version));
    let first = fixture.put(&a).unwrap();
    let second = fixture.put(&b).unwrap();
    assert_eq!((first.sequence, first.previous), (1, None));
    assert_eq!((second.sequence, second.previous), (2, Some(a.digest())));
    assert_eq!((second.at_ms, second.version), (2_000, 2));
    // Another process sees the same.
    let store = PolicyStore::open(fixture.store.path()).unwrap();
    assert_eq!(store.current().unwrap(), Some(second.clone()));
    assert_eq!(store.history().unwrap(), [first, second]);
    assert_eq!(store.load(a.digest()).unwrap(), a);
}

/// An older version, or the same, of the last bundle of a name: refused, also by way of another name.
#[test]
fn versions_only_rise() {
    let fixture = Fixture::with(&[5]);
    for version in [1, 4, 5] {
        let older = fixture.put(&bundle("p", version));
        assert!(
            matches!(&older, Err(PolicyStoreError::Older { version: found, active: 5, .. }) if *found == version),
            "{older:?}"
        );
    }
    // The same version with other content.
    let mut other = files("p", 5);
    other.insert("policies/more.cedar".into(), Vec::new());
    let other = signed(Bundle::from_files(other, None).unwrap());
    assert!(matches!(
        fixture.put(&other),
        Err(PolicyStoreError::Older { .. })
    ));
    let older = bundle("p", 4);
    let broken =
        fixture
            .store
            .activate(older.digest(), fixture.now(), 0, ActivationKind::BreakGlass);
    assert!(matches!(broken, Err(PolicyStoreError::Older { .. })));
    assert_eq!(fixture.now(), Some(bundle("p", 5).digest()));

    fixture.put(&bundle("q", 1)).unwrap();
    let detour = fixture.put(&older);
    assert!(matches!(detour, Err(PolicyStoreError::Older { .. })));
    fixture.put(&bundle("p", 6)).unwrap();
}

/// One command, each time one step further back.
#[test]
fn a_rollback_goes_back_and_not_forth() {
    let fixture = Fixture::with(&[1, 2, 3]);
    let [a, b, c, d] = [1, 2, 3, 4].map(|version| bundle("p", version));
    let back = fixture.back(None).unwrap();
    assert_eq!(
        (back.digest, back.kind),
        (b.digest(), ActivationKind::Rollback)
    );
    assert_eq!((back.sequence, back.previous), (4, Some(c.digest())));
    assert_eq!(fixture.back(None).unwrap().digest, a.digest());
    assert!(matches!(
        fixture.back(None),
        Err(PolicyStoreError::NothingBefore)
    ));
    // A named one may also be a newer one, if it was in force.
    assert_eq!(fixture.back(Some(&c)).unwrap().digest, c.digest());
    assert!(matches!(
        fixture.back(Some(&c)),
        Err(PolicyStoreError::Active { .. })
    ));
    fixture.store.stage(&d).unwrap();
    assert!(matches!(
        fixture.back(Some(&d)),
        Err(PolicyStoreError::NeverActive { .. })
    ));
    assert!(matches!(
        fixture.back(Some(&bundle("p", 9))),
        Err(PolicyStoreError::Unknown { .. })
    ));
    // After a fix the rollback goes to what the fix replaced.
    fixture.back(Some(&a)).unwrap();
    fixture.put(&d).unwrap();
    assert_eq!(fixture.back(None).unwrap().digest, a.digest());
}

#[test]
fn what_is_not_staged_is_not_activated() {
    let fixture = Fixture::with(&[1]);
    let missing = Digest::of(b"nothing");
    let kind = ActivationKind::Activate;
    let refused = fixture.store.activate(missing, fixture.now(), 0, kind);
    assert!(matches!(refused, Err(PolicyStoreError::Unknown { digest }) if digest == missing));
    assert!(matches!(
        fixture.store.load(missing),
        Err(PolicyStoreError::Unknown { .. })
    ));
}

/// Whoever saw something else gets nothing done, and is told what is in force.
#[test]
fn an_activation_is_on_top_of_what_its_writer_saw() {
    let fixture = Fixture::with(&[1]);
    let [a, b] = [1, 2].map(|version| bundle("p", version));
    fixture.store.stage(&b).unwrap();
    for seen in [None, Some(b.digest()), Some(Digest::of(b"x"))] {
        let refused = fixture
            .store
            .activate(b.digest(), seen, 0, ActivationKind::Activate);
        assert!(
            matches!(refused, Err(PolicyStoreError::Changed { found }) if found == Some(a.digest()))
        );
    }
    assert!(matches!(
        fixture.store.rollback(None, b.digest(), 0),
        Err(PolicyStoreError::Changed { .. })
    ));
    let fresh = Fixture::new();
    fresh.store.stage(&a).unwrap();
    assert!(matches!(
        fresh.store.rollback(None, a.digest(), 0),
        Err(PolicyStoreError::Changed { found: None })
    ));
    assert_eq!(fixture.now(), Some(a.digest()));
    assert_eq!(fresh.now(), None);
}

/// Two threads at once: one wins, the other is told who.
#[test]
fn of_several_threads_one_wins() {
    const WRITERS: u64 = 8;
    for round in 0..5 {
        let fixture = Fixture::with(&[1]);
        let seen = fixture.now();
        let barrier = Barrier::new(usize::try_from(WRITERS).unwrap());
        let results: Vec<_> = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..WRITERS)
                .map(|writer| {
                    let (store, barrier) = (&fixture.store, &barrier);
                    scope.spawn(move || {
                        let bundle = bundle("p", 2 + writer);
                        // Whoever fails here must not keep the others waiting.
                        let staged = store.stage(&bundle);
                        barrier.wait();
                        staged.unwrap();
                        let kind = ActivationKind::Activate;
                        store.activate(bundle.digest(), seen, writer, kind)
                    })
                })
                .collect();
            writers
                .into_iter()
                .map(|writer| writer.join().unwrap())
                .collect()
        });
        let (won, lost): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
        assert_eq!(won.len(), 1, "round {round}");
        let winner = won[0].as_ref().unwrap();
        for lost in lost {
            assert!(
                matches!(lost, Err(PolicyStoreError::Changed { found }) if found == Some(winner.digest)),
                "{lost:?}"
            );
        }
        assert_eq!(fixture.store.current().unwrap().as_ref(), Some(winner));
    }
}

/// The same bundle staged by many at once is there once, and whole.
#[test]
fn of_several_stages_of_one_bundle_all_succeed() {
    let fixture = Fixture::new();
    let bundle = bundle("p", 1);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| fixture.store.stage(&bundle).unwrap());
        }
    });
    assert_eq!(fixture.store.load(bundle.digest()).unwrap(), bundle);
    assert_eq!(fixture.store.list().unwrap().len(), 1);
}

#[test]
fn a_list_says_what_was_in_force_and_when() {
    let fixture = Fixture::with(&[1, 2]);
    let [a, b, c] = [1, 2, 3].map(|version| bundle("p", version));
    fixture.store.stage(&c).unwrap();
    fixture.back(Some(&a)).unwrap();
    let listed = fixture.store.list().unwrap();
    let seen: Vec<_> = listed
        .iter()
        .map(|listed| {
            let named = listed.bundle.as_ref().unwrap();
            (
                listed.digest,
                named.version,
                listed.active,
                listed.activated_at_ms,
                listed.times,
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            (a.digest(), 1, true, Some(9), 2),
            (b.digest(), 2, false, Some(2_000), 1),
            (c.digest(), 3, false, None, 0),
        ]
    );
}
