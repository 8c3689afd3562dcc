//! Sessions that are lost, and gateways that start again.

use casemate_gateway::{Ending, Stores as _};
use casemate_model::{Reason, SessionId};
use casemate_ports::{Gone, ImageRef, Kind, Quota, Quotas, SessionKeeper as _, SessionSpec};
use casemate_store::SessionStore as _;

use crate::house::{House, in_session, in_thread, owner, ran, refused};

const TRUE: &[&str] = &["true"];

/// A lost session is reported once to the first call that expects its files; the next gets a new one, and
/// is told that it is new.
#[tokio::test]
async fn a_lost_session_is_reported_once() {
    for (why, words) in [
        (Some(Gone::Idle), "idle"),
        (Some(Gone::Expired), "time was over"),
        (Some(Gone::Lost), "sandbox died"),
        (None, "keeper ended"),
    ] {
        let house = House::new("thread");
        let rooms = house.rooms();
        let (session, _) = ran(&house.call(&rooms, in_thread("t", TRUE)).await);
        match why {
            Some(why) => house.keeper.end(session, why),
            None => house.keeper.lose_all(),
        }
        let told = house.call(&rooms, in_thread("t", TRUE)).await;
        let (reason, detail) = refused(&told);
        assert_eq!(reason, Reason::SessionGone);
        assert!(
            detail.contains(&session.to_string()) && detail.contains(words),
            "{detail}"
        );
        assert_eq!(house.keeper.runs(), 1, "something ran");
        let (next, new) = ran(&house.call(&rooms, in_thread("t", TRUE)).await);
        assert!(new && next != session);
        // By its name it stays gone.
        for _ in 0..2 {
            let (reason, _) = refused(&house.call(&rooms, in_session(session, TRUE)).await);
            assert_eq!(reason, Reason::SessionGone);
        }
    }
}

/// Of many calls at one time, one is told that the session is gone, and the others share a new one.
#[tokio::test]
async fn one_of_many_calls_is_told() {
    let house = House::new("thread");
    let (session, _) = ran(&house.call(&house.rooms(), in_thread("t", TRUE)).await);
    house.keeper.lose_all();
    let rooms = house.rooms();
    rooms.reconcile().await.unwrap();
    let call = || house.call(&rooms, in_thread("t", TRUE));
    let (a, b, c) = tokio::join!(call(), call(), call());
    let told = [a, b, c];
    let gone = told
        .iter()
        .filter(|told| matches!(told, casemate_gateway::Told::Refused(_)))
        .count();
    assert_eq!(gone, 1, "{told:?}");
    assert_eq!(house.keeper.alive().len(), 1);
    assert_ne!(house.keeper.alive(), [session]);
}

/// After a restart of the gateway a session comes back whole.
#[tokio::test]
async fn a_session_survives_the_gateway() {
    let house = House::new("thread");
    let (session, _) = ran(&house.call(&house.rooms(), in_thread("t", TRUE)).await);
    let rooms = house.rooms();
    let done = rooms.reconcile().await.unwrap();
    assert_eq!(done.kept, [session]);
    assert!(done.gone.is_empty() && done.closed.is_empty() && done.failed.is_empty());
    let again = ran(&house.call(&rooms, in_thread("t", TRUE)).await);
    assert_eq!(again, (session, false));
    assert_eq!(house.keeper.opened(), 1);
}

/// After a restart of the keeper it is reported gone, also when the gateway was down meanwhile.
#[tokio::test]
async fn a_session_does_not_survive_the_keeper() {
    for told in [None, Some(Gone::Idle)] {
        let house = House::new("thread");
        let (session, _) = ran(&house.call(&house.rooms(), in_thread("t", TRUE)).await);
        match told {
            None => house.keeper.lose_all(),
            Some(why) => house.keeper.end(session, why),
        }
        let rooms = house.rooms();
        let done = rooms.reconcile().await.unwrap();
        let why = told.unwrap_or(Gone::KeeperLost);
        assert_eq!(done.gone, [(session, Ending::Kept(why))]);
        let listed = rooms.list(&owner("local")).await.unwrap();
        assert_eq!(listed[0].ending(), Some(Ending::Kept(why)));
        let (reason, _) = refused(&house.call(&rooms, in_thread("t", TRUE)).await);
        assert_eq!(reason, Reason::SessionGone);
        // That it was told is remembered too.
        let rooms = house.rooms();
        rooms.reconcile().await.unwrap();
        assert!(ran(&house.call(&rooms, in_thread("t", TRUE)).await).1);
    }
}

/// A sandbox that no store knows is destroyed: its gateway died before it could remember it.
#[tokio::test]
async fn a_sandbox_that_nobody_remembers_is_destroyed() {
    let house = House::new("thread");
    let (session, _) = ran(&house.call(&house.rooms(), in_thread("t", TRUE)).await);
    let orphan = SessionId::new(7, [7; 10]);
    let quota = Quota {
        memory_bytes: 1,
        processes: 1,
        cpu_milli: 1,
        calls: 1,
    };
    let spec = SessionSpec {
        id: orphan,
        owner: owner("local"),
        kind: Kind {
            image: ImageRef::Host,
            profile: house.profile.digest(),
            python: false,
            limits: house.profile.sandbox.limits,
            quotas: Quotas {
                session: quota,
                agent: quota,
                tenant: quota,
            },
            way: None,
            violations: None,
        },
        idle_ms: 1,
        max_ms: 1,
        resumes: false,
    };
    house.keeper.open(spec).await.unwrap();
    let done = house.rooms().reconcile().await.unwrap();
    assert_eq!(done.closed, [orphan]);
    assert_eq!(house.keeper.alive(), [session]);
}

/// I1: when the store cannot remember a session, none is used.
#[tokio::test]
async fn a_session_that_cannot_be_remembered_is_not_used() {
    let house = House::new("thread");
    let rooms = house.rooms();
    // Another process has opened a session for the thread since.
    let store = house.store().open("local").await.unwrap();
    let (session, _) = ran(&house.call(&rooms, in_thread("other", TRUE)).await);
    let mut record = store.session(session).await.unwrap().unwrap();
    record.id = SessionId::new(3, [3; 10]);
    record.thread = Some("t".into());
    let runs = house.keeper.runs();
    store.add_session(&record).await.unwrap();
    let (reason, detail) = refused(&house.call(&rooms, in_thread("t", TRUE)).await);
    assert_eq!(reason, Reason::SessionGone);
    assert!(detail.contains(&record.id.to_string()), "{detail}");
    assert_eq!(house.keeper.runs(), runs);
    assert!(ran(&house.call(&rooms, in_thread("t", TRUE)).await).1);
}
