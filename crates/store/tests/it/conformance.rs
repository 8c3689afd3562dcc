//! What every store of claims must do. A driver passes by naming its fixture:
//! `conformance!(driver_name, Fixture)`.

use std::{collections::BTreeMap, future::Future, pin::pin, sync::Arc, task::Poll};

use casemate_model::Sealed;
use casemate_store::{Claim, Claimed, Idempotency, MAX_NAME_BYTES, State, StoreError};
use tokio::task::JoinSet;

use crate::support::{claim, decision};

/// One empty store.
pub(crate) trait Fixture {
    type Store: Idempotency + Send + Sync + 'static;

    fn new() -> Self;

    /// One more connection to it.
    fn open(&self) -> impl Future<Output = Self::Store>;
}

macro_rules! conformance {
    ($driver:ident, $fixture:ty) => {
        mod $driver {
            use super::*;
            $crate::conformance::conformance! { @tests $fixture:
                the_first_claim_is_new_and_a_replay_is_not
                a_replay_gets_the_first_result
                an_unknown_end_stays_unknown
                another_call_under_the_same_key_is_a_conflict
                tenants_tools_and_keys_are_kept_apart
                a_released_key_is_free_again
                a_claim_ends_once
                only_a_claim_can_end
                a_decision_claims_one_key
                odd_names_are_refused_and_nothing_is_stored
                names_are_data
                one_of_many_claims_is_new
                one_of_many_different_calls_is_new
                one_of_many_ends_counts
                everything_is_there_for_another_connection
                a_dropped_claim_leaves_the_store_usable
                any_time_can_be_stored
            }
        }
    };
    (@tests $fixture:ty: $($test:ident)+) => { $(
        #[tokio::test]
        async fn $test() {
            let fixture = <$fixture as $crate::conformance::Fixture>::new();
            $crate::conformance::$test(&fixture).await;
        }
    )+ };
}
pub(crate) use conformance;

fn sealed() -> Sealed {
    Sealed {
        key: "key_1".into(),
        nonce: vec![0, 255, 1],
        ciphertext: (0..=255).collect(),
    }
}

/// R142, R250: a message that is sent again does not run again.
pub(crate) async fn the_first_claim_is_new_and_a_replay_is_not(fixture: &impl Fixture) {
    let store = fixture.open().await;
    assert_eq!(
        store.claim(&claim("k", "call", 1)).await.unwrap(),
        Claimed::New
    );
    for number in 1..4 {
        let again = store.claim(&claim("k", "call", number)).await.unwrap();
        assert_eq!(
            again,
            Claimed::InFlight {
                decision: decision(1)
            }
        );
    }
}

/// R207: the result of the first run is the answer to every repeat.
pub(crate) async fn a_replay_gets_the_first_result(fixture: &impl Fixture) {
    let store = fixture.open().await;
    for (key, result) in [("with", Some(sealed())), ("without", None)] {
        let first = claim(key, "call", key.len() as u64);
        store.claim(&first).await.unwrap();
        store.finish(first.decision, result.as_ref()).await.unwrap();
        for number in 10..12 {
            let again = store.claim(&claim(key, "call", number)).await.unwrap();
            let decision = first.decision;
            let result = result.clone();
            assert_eq!(again, Claimed::Finished { decision, result });
        }
    }
}

pub(crate) async fn an_unknown_end_stays_unknown(fixture: &impl Fixture) {
    let store = fixture.open().await;
    store.claim(&claim("k", "call", 1)).await.unwrap();
    store.mark_unknown(decision(1)).await.unwrap();
    let again = store.claim(&claim("k", "call", 2)).await.unwrap();
    assert_eq!(
        again,
        Claimed::Unknown {
            decision: decision(1)
        }
    );
}

/// R142: a key answers for one call, whatever became of it.
pub(crate) async fn another_call_under_the_same_key_is_a_conflict(fixture: &impl Fixture) {
    let store = fixture.open().await;
    for (number, key) in [(1, "running"), (2, "finished"), (3, "unknown")] {
        store.claim(&claim(key, "call", number)).await.unwrap();
    }
    store.finish(decision(2), Some(&sealed())).await.unwrap();
    store.mark_unknown(decision(3)).await.unwrap();
    for (number, key) in [(1, "running"), (2, "finished"), (3, "unknown")] {
        let other = store
            .claim(&claim(key, "other call", 10 + number))
            .await
            .unwrap();
        assert_eq!(
            other,
            Claimed::Conflict {
                decision: decision(number)
            },
            "{key}"
        );
    }
}

pub(crate) async fn tenants_tools_and_keys_are_kept_apart(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let base = claim("k", "call", 1);
    let mut claims = vec![
        base,
        Claim {
            tenant: "other",
            ..base
        },
        Claim {
            tool: "shell",
            ..base
        },
    ];
    // Near misses: no trimming, no case folding, no Unicode normalisation, no numbers, no patterns.
    let keys = [
        "K", "k ", " k", "%", "_", "1", "01", "1.0", "\u{e9}", "e\u{301}", "k\u{a0}",
    ];
    claims.extend(keys.map(|key| Claim { key, ..base }));
    // Parts that join to the same text are different parts.
    claims.push(Claim {
        tenant: "a",
        tool: "bc",
        key: "d",
        ..base
    });
    claims.push(Claim {
        tenant: "ab",
        tool: "c",
        key: "d",
        ..base
    });
    for (number, one) in (1..).zip(&mut claims) {
        one.decision = decision(number);
        assert_eq!(store.claim(one).await.unwrap(), Claimed::New, "{one:?}");
    }
    for (number, one) in (1..).zip(&claims) {
        let again = store.claim(one).await.unwrap();
        assert_eq!(
            again,
            Claimed::InFlight {
                decision: decision(number)
            }
        );
    }
}

pub(crate) async fn a_released_key_is_free_again(fixture: &impl Fixture) {
    let store = fixture.open().await;
    store.claim(&claim("k", "call", 1)).await.unwrap();
    store.release(decision(1)).await.unwrap();
    let error = store.finish(decision(1), None).await.unwrap_err();
    assert!(matches!(error, StoreError::NoClaim { .. }), "{error}");
    let other_call = claim("k", "other call", 2);
    assert_eq!(store.claim(&other_call).await.unwrap(), Claimed::New);
    store.finish(decision(2), None).await.unwrap();
}

/// No end is taken back, and none replaces another, nor its result.
pub(crate) async fn a_claim_ends_once(fixture: &impl Fixture) {
    let store = fixture.open().await;
    store.claim(&claim("finished", "call", 1)).await.unwrap();
    store.finish(decision(1), Some(&sealed())).await.unwrap();
    store.claim(&claim("unknown", "call", 2)).await.unwrap();
    store.mark_unknown(decision(2)).await.unwrap();
    for (number, ended) in [(1, State::Finished), (2, State::Unknown)] {
        let decision = decision(number);
        for outcome in [
            store.finish(decision, None).await,
            store.mark_unknown(decision).await,
            store.release(decision).await,
        ] {
            let error = outcome.unwrap_err();
            assert!(
                matches!(error, StoreError::ClaimEnded { decision: of, state }
                    if of == decision && state == ended),
                "{error}"
            );
        }
    }
    let finished = store.claim(&claim("finished", "call", 3)).await.unwrap();
    let (decision_1, result) = (decision(1), Some(sealed()));
    assert_eq!(
        finished,
        Claimed::Finished {
            decision: decision_1,
            result
        }
    );
    let unknown = store.claim(&claim("unknown", "call", 4)).await.unwrap();
    assert_eq!(
        unknown,
        Claimed::Unknown {
            decision: decision(2)
        }
    );
}

pub(crate) async fn only_a_claim_can_end(fixture: &impl Fixture) {
    let store = fixture.open().await;
    store.claim(&claim("k", "call", 1)).await.unwrap();
    for outcome in [
        store.finish(decision(2), None).await,
        store.mark_unknown(decision(2)).await,
        store.release(decision(2)).await,
    ] {
        let error = outcome.unwrap_err();
        assert!(
            matches!(error, StoreError::NoClaim { decision: of } if of == decision(2)),
            "{error}"
        );
    }
    let again = store.claim(&claim("k", "call", 3)).await.unwrap();
    assert_eq!(
        again,
        Claimed::InFlight {
            decision: decision(1)
        }
    );
}

pub(crate) async fn a_decision_claims_one_key(fixture: &impl Fixture) {
    let store = fixture.open().await;
    store.claim(&claim("k", "call", 1)).await.unwrap();
    let error = store.claim(&claim("l", "call", 1)).await.unwrap_err();
    assert!(
        matches!(error, StoreError::DecisionReused { .. }),
        "{error}"
    );
    assert_eq!(
        store.claim(&claim("l", "call", 2)).await.unwrap(),
        Claimed::New
    );
}

pub(crate) async fn odd_names_are_refused_and_nothing_is_stored(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let long = "k".repeat(MAX_NAME_BYTES + 1);
    let long_in_bytes = "\u{e9}".repeat(MAX_NAME_BYTES / 2 + 1);
    let odd = [
        "",
        "a\0b",
        "a\nb",
        "\t",
        "\u{7f}",
        "\u{85}",
        "\u{1b}[2J",
        &long,
        &long_in_bytes,
    ];
    let base = claim("k", "call", 1);
    for odd in odd {
        for (part, one) in [
            (
                "the tenant",
                Claim {
                    tenant: odd,
                    ..base
                },
            ),
            ("the tool", Claim { tool: odd, ..base }),
            ("the idempotency key", Claim { key: odd, ..base }),
        ] {
            let error = store.claim(&one).await.unwrap_err();
            assert!(
                matches!(error, StoreError::Name { what, bytes } if what == part && bytes == odd.len()),
                "{odd:?}: {error}"
            );
            assert!(!error.to_string().contains('\u{1b}'));
        }
    }
    let error = store.release(base.decision).await.unwrap_err();
    assert!(matches!(error, StoreError::NoClaim { .. }), "{error}");
    let longest = "k".repeat(MAX_NAME_BYTES);
    let longest = Claim {
        tenant: &longest,
        tool: &longest,
        key: &longest,
        ..base
    };
    assert_eq!(store.claim(&longest).await.unwrap(), Claimed::New);
}

pub(crate) async fn names_are_data(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let hostile = [
        "'; DROP TABLE idempotency; --",
        "\"",
        "$1",
        "?1",
        "%s",
        "\\",
        "NULL",
        "x' OR '1'='1",
    ];
    for (number, key) in (1..).zip(hostile) {
        assert_eq!(
            store.claim(&claim(key, "call", number)).await.unwrap(),
            Claimed::New
        );
        let again = store.claim(&claim(key, "call", 100)).await.unwrap();
        assert_eq!(
            again,
            Claimed::InFlight {
                decision: decision(number)
            }
        );
    }
}

/// R142: sixteen callers with the same message at the same time, on four connections: one runs.
pub(crate) async fn one_of_many_claims_is_new(fixture: &impl Fixture) {
    for round in 0..4 {
        race(fixture, round, |_| "call").await;
    }
}

/// Sixteen messages of four kinds under one key: one runs, the other kinds conflict with it.
pub(crate) async fn one_of_many_different_calls_is_new(fixture: &impl Fixture) {
    let kind = |number| match number % 4 {
        0 => "a",
        1 => "b",
        2 => "c",
        _ => "d",
    };
    race(fixture, 0, kind).await;
}

async fn race(fixture: &impl Fixture, round: u64, action: fn(u64) -> &'static str) {
    let mut stores = Vec::new();
    for _ in 0..4 {
        stores.push(Arc::new(fixture.open().await));
    }
    let mut tasks = JoinSet::new();
    for (number, store) in (round * 16..).take(16).zip(stores.iter().cycle().cloned()) {
        tasks.spawn(async move {
            let key = round.to_string();
            let claim = claim(&key, action(number), number);
            (number, store.claim(&claim).await.unwrap())
        });
    }
    let outcomes: BTreeMap<u64, Claimed> = tasks.join_all().await.into_iter().collect();
    let is_new =
        |(number, outcome): (&u64, &Claimed)| (*outcome == Claimed::New).then_some(*number);
    let new: Vec<u64> = outcomes.iter().filter_map(is_new).collect();
    let [winner] = new[..] else {
        panic!("{new:?} are new");
    };
    for (number, outcome) in outcomes.into_iter().filter(|(number, _)| *number != winner) {
        let decision = decision(winner);
        let expected = match action(number) == action(winner) {
            true => Claimed::InFlight { decision },
            false => Claimed::Conflict { decision },
        };
        assert_eq!(outcome, expected, "{number}");
    }
}

pub(crate) async fn one_of_many_ends_counts(fixture: &impl Fixture) {
    let first = fixture.open().await;
    first.claim(&claim("k", "call", 1)).await.unwrap();
    let mut tasks = JoinSet::new();
    for number in 0..9 {
        let store = fixture.open().await;
        tasks.spawn(async move {
            match number % 3 {
                0 => store.finish(decision(1), Some(&sealed())).await,
                1 => store.mark_unknown(decision(1)).await,
                _ => store.release(decision(1)).await,
            }
        });
    }
    let outcomes = tasks.join_all().await;
    assert_eq!(
        outcomes.iter().filter(|outcome| outcome.is_ok()).count(),
        1,
        "{outcomes:?}"
    );
}

pub(crate) async fn everything_is_there_for_another_connection(fixture: &impl Fixture) {
    let store = fixture.open().await;
    for (number, key) in [(1, "running"), (2, "finished"), (3, "unknown")] {
        store.claim(&claim(key, "call", number)).await.unwrap();
    }
    store.finish(decision(2), Some(&sealed())).await.unwrap();
    store.mark_unknown(decision(3)).await.unwrap();
    drop(store);
    let store = fixture.open().await;
    let expected = [
        (
            "running",
            Claimed::InFlight {
                decision: decision(1),
            },
        ),
        (
            "finished",
            Claimed::Finished {
                decision: decision(2),
                result: Some(sealed()),
            },
        ),
        (
            "unknown",
            Claimed::Unknown {
                decision: decision(3),
            },
        ),
    ];
    for (key, expected) in expected {
        assert_eq!(store.claim(&claim(key, "call", 9)).await.unwrap(), expected);
    }
    store.finish(decision(1), None).await.unwrap();
}

/// A caller that goes away in the middle of a claim: it happened or it did not, and the next claim tells.
pub(crate) async fn a_dropped_claim_leaves_the_store_usable(fixture: &impl Fixture) {
    let store = fixture.open().await;
    for polls in 0..12 {
        let key = format!("k{polls}");
        let dropped = claim(&key, "call", polls);
        poll_some(store.claim(&dropped), polls).await;
        let next = store
            .claim(&claim(&key, "call", 100 + polls))
            .await
            .unwrap();
        let holder = match next {
            Claimed::New => decision(100 + polls),
            Claimed::InFlight { decision } => {
                assert_eq!(decision, dropped.decision);
                decision
            }
            other => panic!("{other:?}"),
        };
        store.finish(holder, None).await.unwrap();
    }
}

/// Polls `future` up to `polls` times, as often as it wakes, and drops it.
async fn poll_some<F: Future>(future: F, polls: u64) {
    let mut future = pin!(future);
    let mut polled = 0;
    std::future::poll_fn(|context| {
        if polled == polls || future.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        polled += 1;
        Poll::Pending
    })
    .await;
}

pub(crate) async fn any_time_can_be_stored(fixture: &impl Fixture) {
    let store = fixture.open().await;
    for (number, at_ms) in [0, 1, i64::MAX as u64, u64::MAX].into_iter().enumerate() {
        let key = number.to_string();
        let one = Claim {
            at_ms,
            ..claim(&key, "call", number as u64)
        };
        assert_eq!(store.claim(&one).await.unwrap(), Claimed::New);
    }
}
