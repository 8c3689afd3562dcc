//! What every store of sessions must do. A driver passes by naming its fixture:
//! `session_conformance!(driver_name, Fixture)`.

use std::{future::Future, sync::Arc};

use casemate_model::{Digest, SessionId};
use casemate_store::{SessionEnd, SessionPause, SessionRecord, SessionStore, StoreError};
use tokio::task::JoinSet;

/// One empty store.
pub(crate) trait Fixture {
    type Store: SessionStore + Send + Sync + 'static;

    fn new() -> Self;

    /// One more connection to it.
    fn open(&self) -> impl Future<Output = Self::Store>;
}

macro_rules! session_conformance {
    ($driver:ident, $fixture:ty) => {
        mod $driver {
            use super::*;
            $crate::session_conformance::session_conformance! { @tests $fixture:
                a_session_is_remembered_until_it_is_forgotten
                a_thread_has_one_living_session
                the_first_end_stays
                one_of_many_is_the_first_to_tell
                tenants_and_threads_are_kept_apart
                odd_names_are_refused_and_nothing_is_stored
                a_pause_is_noted_once_and_ends_with_its_session
                a_list_is_bounded_and_the_living_come_first
            }
        }
    };
    (@tests $fixture:ty: $($test:ident)+) => { $(
        #[tokio::test]
        async fn $test() {
            let fixture = <$fixture as $crate::session_conformance::Fixture>::new();
            $crate::session_conformance::$test(&fixture).await;
        }
    )+ };
}
pub(crate) use session_conformance;

fn id(number: u64) -> SessionId {
    SessionId::new(number, [3; 10])
}

fn session(number: u64, thread: Option<&str>) -> SessionRecord {
    SessionRecord {
        id: id(number),
        tenant: "local".into(),
        thread: thread.map(str::to_owned),
        image: "host".into(),
        profile: Digest::of(b"profile"),
        created_at_ms: 1_000 + number,
        used_at_ms: 1_000 + number,
        paused: None,
        end: None,
    }
}

/// R21, R22: what is known of a session outlives the connection that noted it.
pub(crate) async fn a_session_is_remembered_until_it_is_forgotten(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let mut record = session(1, Some("t"));
    store.add_session(&record).await.unwrap();
    store.use_session(id(1), 5_000).await.unwrap();
    store.use_session(id(1), 4_000).await.unwrap();
    record.used_at_ms = 5_000;
    drop(store);
    let store = fixture.open().await;
    assert_eq!(store.session(id(1)).await.unwrap().as_ref(), Some(&record));
    assert_eq!(store.living_sessions().await.unwrap(), [record.clone()]);
    assert_eq!(store.session(id(2)).await.unwrap(), None);
    assert_eq!(
        store.forget_sessions(u64::MAX).await.unwrap(),
        0,
        "it lives"
    );
    assert!(store.end_session(id(1), "idle", 6_000).await.unwrap());
    store.use_session(id(1), 7_000).await.unwrap();
    record.end = Some(SessionEnd {
        why: "idle".into(),
        at_ms: 6_000,
        told: false,
    });
    assert_eq!(store.session(id(1)).await.unwrap(), Some(record));
    assert!(store.living_sessions().await.unwrap().is_empty());
    assert_eq!(store.forget_sessions(6_000).await.unwrap(), 0);
    assert_eq!(store.forget_sessions(6_001).await.unwrap(), 1);
    assert_eq!(store.session(id(1)).await.unwrap(), None);
}

/// R23: two callers who open a session for one thread at one time do not get two.
pub(crate) async fn a_thread_has_one_living_session(fixture: &impl Fixture) {
    let store = Arc::new(fixture.open().await);
    let mut adding = JoinSet::new();
    for number in 0..8 {
        let store = Arc::clone(&store);
        adding.spawn(async move { store.add_session(&session(number, Some("t"))).await });
    }
    let mut added = 0;
    for result in adding.join_all().await {
        match result {
            Ok(()) => added += 1,
            Err(error) => assert!(matches!(error, StoreError::SessionHeld { .. }), "{error}"),
        }
    }
    assert_eq!(added, 1);
    let living = store.thread_session("local", "t").await.unwrap().unwrap();
    assert!(store.add_session(&session(90, Some("t"))).await.is_err());
    store.end_session(living.id, "lost", 9).await.unwrap();
    store.add_session(&session(91, Some("t"))).await.unwrap();
    let newest = store.thread_session("local", "t").await.unwrap().unwrap();
    assert_eq!((newest.id, newest.end), (id(91), None));
    // Sessions of no thread do not stand in each other's way.
    store.add_session(&session(92, None)).await.unwrap();
    store.add_session(&session(93, None)).await.unwrap();
    let taken = store.add_session(&session(93, None)).await.unwrap_err();
    assert!(matches!(taken, StoreError::SessionHeld { session } if session == id(93)));
}

pub(crate) async fn the_first_end_stays(fixture: &impl Fixture) {
    let store = fixture.open().await;
    store.add_session(&session(1, None)).await.unwrap();
    assert!(store.end_session(id(1), "destroyed", 10).await.unwrap());
    assert!(!store.end_session(id(1), "lost", 11).await.unwrap());
    assert!(!store.end_session(id(2), "lost", 11).await.unwrap());
    let end = store.session(id(1)).await.unwrap().unwrap().end.unwrap();
    assert_eq!((end.why.as_str(), end.at_ms), ("destroyed", 10));
}

pub(crate) async fn one_of_many_is_the_first_to_tell(fixture: &impl Fixture) {
    let store = Arc::new(fixture.open().await);
    store.add_session(&session(1, Some("t"))).await.unwrap();
    assert!(!store.tell_session(id(1)).await.unwrap(), "it lives");
    store.end_session(id(1), "idle", 10).await.unwrap();
    let mut telling = JoinSet::new();
    for _ in 0..8 {
        let store = Arc::clone(&store);
        telling.spawn(async move { store.tell_session(id(1)).await.unwrap() });
    }
    let told = telling.join_all().await;
    assert_eq!(told.into_iter().filter(|first| *first).count(), 1);
    assert!(
        store
            .session(id(1))
            .await
            .unwrap()
            .unwrap()
            .end
            .unwrap()
            .told
    );
}

pub(crate) async fn tenants_and_threads_are_kept_apart(fixture: &impl Fixture) {
    let store = fixture.open().await;
    store.add_session(&session(1, Some("t"))).await.unwrap();
    let other = SessionRecord {
        tenant: "other".into(),
        ..session(2, Some("t"))
    };
    store.add_session(&other).await.unwrap();
    let found = store.thread_session("other", "t").await.unwrap();
    assert_eq!(found, Some(other.clone()));
    assert_eq!(store.thread_session("other", "T").await.unwrap(), None);
    assert_eq!(store.sessions("other", 10).await.unwrap(), [other]);
    assert_eq!(store.living_sessions().await.unwrap().len(), 2);
}

pub(crate) async fn odd_names_are_refused_and_nothing_is_stored(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let long = "x".repeat(256);
    for odd in ["", "a\0", "a\n", long.as_str()] {
        for record in [
            session(1, Some(odd)),
            SessionRecord {
                tenant: odd.into(),
                ..session(1, None)
            },
            SessionRecord {
                image: odd.into(),
                ..session(1, None)
            },
        ] {
            let refused = store.add_session(&record).await.unwrap_err();
            assert!(matches!(refused, StoreError::Name { .. }), "{odd:?}");
        }
        assert!(store.end_session(id(1), odd, 1).await.is_err());
    }
    assert!(store.living_sessions().await.unwrap().is_empty());
    for data in ["'; DROP TABLE sessions; --", "%", "ä", "../x"] {
        let number = data.len() as u64;
        store
            .add_session(&session(number, Some(data)))
            .await
            .unwrap();
        let found = store.thread_session("local", data).await.unwrap().unwrap();
        assert_eq!(found.id, id(number));
    }
}

pub(crate) async fn a_list_is_bounded_and_the_living_come_first(fixture: &impl Fixture) {
    let store = fixture.open().await;
    for number in 0..6 {
        store.add_session(&session(number, None)).await.unwrap();
        if number > 2 {
            store.end_session(id(number), "idle", 9_000).await.unwrap();
        }
    }
    let listed = store.sessions("local", 5).await.unwrap();
    let ids: Vec<_> = listed.iter().map(|record| record.id).collect();
    assert_eq!(ids, [id(2), id(1), id(0), id(5), id(4)]);
}

/// Of any number who pause or resume at one time one does; a pause is of a session that lives, and ends with it.
pub(crate) async fn a_pause_is_noted_once_and_ends_with_its_session(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let pause = |image: &str| SessionPause {
        image: image.into(),
        bytes: 1 << 40,
        at_ms: 5,
        until_ms: 7,
    };
    assert!(!store.pause_session(id(1), &pause("a")).await.unwrap());
    let mut record = session(1, Some("t"));
    store.add_session(&record).await.unwrap();
    assert!(store.pause_session(id(1), &pause("a")).await.unwrap());
    assert!(!store.pause_session(id(1), &pause("b")).await.unwrap());
    record.paused = Some(pause("a"));
    drop(store);
    let store = fixture.open().await;
    assert_eq!(store.session(id(1)).await.unwrap().as_ref(), Some(&record));
    assert_eq!(store.living_sessions().await.unwrap(), [record.clone()]);
    let held = store.add_session(&session(2, Some("t"))).await;
    assert!(matches!(held, Err(StoreError::SessionHeld { .. })));
    assert!(!store.resume_session(id(1), "b", 9_000).await.unwrap());
    assert!(store.resume_session(id(1), "a", 9_000).await.unwrap());
    assert!(!store.resume_session(id(1), "a", 9_000).await.unwrap());
    (record.paused, record.used_at_ms) = (None, 9_000);
    assert_eq!(store.session(id(1)).await.unwrap(), Some(record));
    assert!(store.pause_session(id(1), &pause("c")).await.unwrap());
    assert!(store.end_session(id(1), "destroyed", 9_500).await.unwrap());
    let ended = store.session(id(1)).await.unwrap().unwrap();
    assert!(ended.paused.is_none() && ended.end.is_some());
    assert!(!store.resume_session(id(1), "c", 9_600).await.unwrap());
    assert!(!store.pause_session(id(1), &pause("d")).await.unwrap());
}
