//! Sessions that are paused, resumed and copied.

use std::{collections::HashSet, fs, future::poll_fn, path::PathBuf, pin::pin, task::Poll};

use casemate_gateway::{Caller, Ending, SessionError, Stores as _};
use casemate_model::{Bounds, Reason, SessionId};
use casemate_policy::{Authenticator, Claims, Verified};
use casemate_ports::{Chunk, Gone};
use casemate_store::{SessionRecord, SessionStore as _};
use tokio::sync::mpsc;

use crate::house::{House, Rooms, caller, caller_of, in_session, in_thread, owner, ran, refused};

const TRUE: &[&str] = &["true"];
const SECRET: &[u8] = b"nobody reads this on disk";

async fn put(rooms: &Rooms, who: &Caller, session: SessionId, name: &str, content: &[u8]) {
    let (sender, receiver) = mpsc::channel(2);
    sender.try_send(Chunk::Bytes(content.to_vec())).unwrap();
    sender.try_send(Chunk::End).unwrap();
    let written = rooms.write_file(who, session, name.into(), receiver);
    written.await.unwrap();
}

async fn get(rooms: &Rooms, who: &Caller, session: SessionId, name: &str) -> Vec<u8> {
    let read = rooms.read_file(who, session, name.into()).await.unwrap();
    let (_, mut content) = read.value;
    let mut all = Vec::new();
    while let Some(chunk) = content.recv().await {
        all.extend(chunk);
    }
    all
}

/// The session of a thread, with a file.
async fn with_file(house: &House, rooms: &Rooms, thread: &str) -> SessionId {
    let (session, _) = ran(&house.call(rooms, in_thread(thread, TRUE)).await);
    put(rooms, &caller(house, "local"), session, "f", SECRET).await;
    session
}

async fn row(house: &House, session: SessionId) -> SessionRecord {
    let store = house.store().open("local").await.unwrap();
    store.session(session).await.unwrap().unwrap()
}

/// The files of paused sessions that are on disk.
fn images(house: &House) -> Vec<PathBuf> {
    let agent = house.world.state().agent("local").unwrap();
    let entries = fs::read_dir(agent).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.to_string_lossy().contains("paused-"));
    paths
}

/// A pause keeps the files, sealed, and ends the rest; it survives gateway and keeper; the session comes back under its name.
#[tokio::test]
async fn a_session_is_paused_and_comes_back() {
    let house = House::new("thread");
    let rooms = house.rooms();
    let who = caller(&house, "local");
    let session = with_file(&house, &rooms, "t").await;
    let pause = rooms.pause_session(&who, session).await.unwrap().value;
    assert!(house.keeper.alive().is_empty());
    let kept = images(&house);
    assert_eq!(kept.len(), 1);
    let bytes = fs::read(&kept[0]).unwrap();
    assert!(bytes.len() as u64 > pause.bytes);
    assert!(!bytes.windows(SECRET.len()).any(|piece| piece == SECRET));
    assert_eq!(pause.until_ms - pause.at_ms, 7 * 24 * 3_600_000);

    house.keeper.lose_all();
    let rooms = house.rooms();
    let done = rooms.reconcile().await.unwrap();
    assert!(done.gone.is_empty() && done.kept.is_empty(), "{done:?}");
    let runs = house.keeper.runs();
    for ask in [in_thread("t", TRUE), in_session(session, TRUE)] {
        let (reason, _) = refused(&house.call(&rooms, ask).await);
        assert_eq!(reason, Reason::SessionPaused);
    }
    assert_eq!(house.keeper.runs(), runs);
    let listed = rooms.list(&owner("local")).await.unwrap();
    assert_eq!(listed[0].record.paused, Some(pause));
    let again = rooms.pause_session(&who, session).await.unwrap_err();
    assert_eq!(again.reason(), Reason::SessionPaused);

    rooms.resume_session(&who, session).await.unwrap();
    assert!(images(&house).is_empty());
    assert_eq!(get(&rooms, &who, session, "f").await, SECRET);
    let (same, new) = ran(&house.call(&rooms, in_thread("t", TRUE)).await);
    assert_eq!((same, new), (session, false));
    let again = rooms.resume_session(&who, session).await.unwrap_err();
    assert!(matches!(again, SessionError::NotPaused(_)), "{again}");

    let tools: Vec<_> = (house.world.records().iter())
        .map(|record| record.entry.summary["tool"].as_str().unwrap().to_owned())
        .collect();
    let count = |tool: &str| tools.iter().filter(|one| *one == tool).count();
    // Allowed and ended; and refused, once.
    assert_eq!(count("session.pause"), 3);
    assert_eq!(count("session.resume"), 3);
    assert_eq!(count("session.end"), 0, "{tools:?}");
}

/// Polls so often, and then drops it: as a process that is killed there.
async fn killed_after<T>(polls: usize, work: impl Future<Output = T>) -> Option<T> {
    let (mut work, mut left) = (pin!(work), polls);
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        work.as_mut().poll(context).map(Some)
    })
    .await
}

/// Wherever the gateway is killed in a pause or a resumption, the session is the old one or the new one, whole.
#[tokio::test]
async fn a_pause_that_is_killed_is_whole_or_none() {
    let house = House::new("thread");
    let who = caller(&house, "local");
    let (mut paused, mut alive) = (0, 0);
    for polls in 1..200 {
        let rooms = house.rooms();
        rooms.reconcile().await.unwrap();
        let session = with_file(&house, &rooms, &format!("t{polls}")).await;
        let first = killed_after(polls, rooms.pause_session(&who, session)).await;
        let whole = first.is_some();
        drop(first);
        let rooms = house.rooms();
        rooms.reconcile().await.unwrap();
        let is_paused = row(&house, session).await.paused.is_some();
        assert!(is_paused || !whole);
        assert_eq!(images(&house).len(), usize::from(is_paused), "{polls}");
        assert_eq!(house.keeper.alive().contains(&session), !is_paused);
        if is_paused {
            paused += 1;
            drop(killed_after(polls, rooms.resume_session(&who, session)).await);
            let rooms = house.rooms();
            rooms.reconcile().await.unwrap();
            let still = row(&house, session).await.paused.is_some();
            assert_eq!(images(&house).len(), usize::from(still), "{polls}");
            assert_eq!(house.keeper.alive().contains(&session), !still);
            if still {
                rooms.resume_session(&who, session).await.unwrap();
            }
            assert_eq!(get(&rooms, &who, session, "f").await, SECRET);
            rooms.destroy(&who, session).await.unwrap();
        } else {
            alive += 1;
            assert_eq!(get(&rooms, &who, session, "f").await, SECRET);
            rooms.destroy(&who, session).await.unwrap();
        }
        if whole {
            break;
        }
    }
    assert!(paused > 0 && alive > 0, "{paused} {alive}");
}

/// R210: a session that violates while it is paused, resumed, copied or destroyed is over, and nothing of it is kept.
#[tokio::test]
async fn a_violation_meanwhile_leaves_nothing() {
    for deed in ["pause", "resume", "copy"] {
        for at in 0..14_usize {
            let house = House::new("thread");
            let rooms = house.rooms();
            let who = caller(&house, "local");
            let session = with_file(&house, &rooms, "t").await;
            if deed == "resume" {
                rooms.pause_session(&who, session).await.unwrap();
            }
            let (keeper, mut left) = (house.keeper.clone(), at);
            *house.when_asked.lock().unwrap() = Some(Box::new(move || {
                if left == 0 && keeper.alive().contains(&session) {
                    keeper.end(session, Gone::Violation);
                }
                left = left.saturating_sub(1);
            }));
            let done = match deed {
                "pause" => rooms.pause_session(&who, session).await.map(drop),
                "resume" => rooms.resume_session(&who, session).await.map(drop),
                _ => rooms.copy_session(&who, session, None).await.map(drop),
            };
            *house.when_asked.lock().unwrap() = None;
            let record = row(&house, session).await;
            let kept: HashSet<_> = record.paused.iter().map(|pause| &pause.image).collect();
            assert_eq!(images(&house).len(), kept.len(), "{deed} {at}");
            // Whoever was told of a pause has it, and nobody else has one.
            match deed {
                "pause" => assert_eq!(done.is_ok(), record.paused.is_some(), "{at} {done:?}"),
                "resume" if done.is_err() => assert!(record.paused.is_some(), "{at} {done:?}"),
                _ => {}
            }
            if done.is_err() && deed != "resume" {
                let named = rooms.resume_session(&who, session).await.unwrap_err();
                assert!(named.reason() != Reason::Allowed);
                assert!(!house.keeper.alive().contains(&session));
            }
        }
    }
}

/// Something that goes on is waited for by nobody: the pause, and the copy, is refused.
#[tokio::test]
async fn a_session_in_use_is_neither_paused_nor_copied() {
    let house = House::new("thread");
    let rooms = house.rooms();
    let who = caller(&house, "local");
    let session = with_file(&house, &rooms, "t").await;
    let waits = house.call(&rooms, in_session(session, &["wait"]));
    let tried = async {
        while house.keeper.running() == 0 {
            tokio::task::yield_now().await;
        }
        for error in [
            rooms.pause_session(&who, session).await.map(drop),
            rooms.copy_session(&who, session, None).await.map(drop),
        ] {
            assert_eq!(error.unwrap_err().reason(), Reason::SessionBusy);
        }
        house.keeper.release(1);
    };
    let (told, ()) = tokio::join!(waits, tried);
    assert_eq!(ran(&told).0, session);
    assert!(images(&house).is_empty());
    assert_eq!(house.keeper.alive(), [session]);
}

/// What is kept is bounded, ends, and is destroyed with its session.
#[tokio::test]
async fn pauses_are_bounded_and_end() {
    let mut house = House::new("thread");
    house.profile.sandbox.session_paused_ms = 10_000;
    let rooms = house.rooms();
    let who = caller(&house, "local");
    let session = with_file(&house, &rooms, "t").await;
    rooms.pause_session(&who, session).await.unwrap();
    rooms.end_overdue_pauses().await.unwrap();
    assert_eq!(images(&house).len(), 1, "it is not over");
    house.world.clock.advance(10_000);
    rooms.end_overdue_pauses().await.unwrap();
    assert!(images(&house).is_empty());
    let end = row(&house, session).await.end.unwrap();
    assert_eq!(Ending::from_word(&end.why), Ending::Kept(Gone::Expired));
    let gone = rooms.resume_session(&who, session).await.unwrap_err();
    assert_eq!(gone.reason(), Reason::SessionGone);

    let session = with_file(&house, &rooms, "u").await;
    rooms.pause_session(&who, session).await.unwrap();
    rooms.destroy(&who, session).await.unwrap();
    assert!(images(&house).is_empty());
    let gone = rooms.resume_session(&who, session).await.unwrap_err();
    assert_eq!(gone.reason(), Reason::SessionGone);
    assert!(ran(&house.call(&rooms, in_thread("u", TRUE)).await).1);
}

/// The files of all paused sessions of an agent are bounded together.
#[tokio::test]
async fn what_is_kept_of_an_agent_is_bounded() {
    let mut house = House::new("thread");
    house.profile.sandbox.session_paused_bytes = 5_000;
    house.profile.identity.allowed_tenants.push("other".into());
    let rooms = house.rooms();
    let who = caller(&house, "local");
    let first = with_file(&house, &rooms, "t").await;
    put(&rooms, &who, first, "g", &[1; 4_000]).await;
    rooms.pause_session(&who, first).await.unwrap();
    let second = with_file(&house, &rooms, "u").await;
    put(&rooms, &who, second, "g", &[1; 4_000]).await;
    let over = rooms.pause_session(&who, second).await.unwrap_err();
    assert_eq!(over.reason(), Reason::QuotaExceeded);
    assert_eq!(images(&house).len(), 1);
    // An agent of another tenant has the same name, and room of its own.
    let other = caller_of(&house, "other", "local");
    let policy = house.policy();
    let opened = rooms.open_session(&other, Some("t"), &policy).await;
    let (third, _) = opened.unwrap().value;
    put(&rooms, &other, third, "g", &[1; 4_000]).await;
    rooms.pause_session(&other, third).await.unwrap();
    assert_eq!(get(&rooms, &who, second, "f").await, SECRET);
    rooms.destroy(&who, first).await.unwrap();
    rooms.pause_session(&who, second).await.unwrap();
}

/// What is out of somebody's bounds is as unknown as what never was, alive or over.
#[tokio::test]
async fn whoever_is_held_to_one_thread_hears_nothing_of_another() {
    let house = House::new("thread");
    let rooms = house.rooms();
    let who = caller(&house, "local");
    let session = with_file(&house, &rooms, "t").await;
    let held = Claims {
        bounds: Bounds {
            threads: Some(["u".to_owned()].into()),
            ..Bounds::default()
        },
        ..house.world.claims()
    };
    let held = Caller {
        claims: Verified::vouch(held, Authenticator::LocalUser),
        agent: "local".into(),
    };
    for _ in 0..2 {
        let error = rooms.resume_session(&held, session).await.unwrap_err();
        assert_eq!(error.reason(), Reason::SessionUnknown);
        // It lives, and then it is over.
        drop(rooms.destroy(&who, session).await);
    }
}

/// Files that were changed, cut or exchanged on disk come back to nobody, and the session stays as it was.
#[tokio::test]
async fn files_that_are_not_what_was_kept_do_not_come_back() {
    let house = House::new("thread");
    let rooms = house.rooms();
    let who = caller(&house, "local");
    let session = with_file(&house, &rooms, "t").await;
    rooms.pause_session(&who, session).await.unwrap();
    let path = images(&house).remove(0);
    let good = fs::read(&path).unwrap();
    let mut flipped = good.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    for bad in [&flipped[..], &good[..good.len() - 1], &good[..50], b"x"] {
        fs::write(&path, bad).unwrap();
        rooms.resume_session(&who, session).await.unwrap_err();
        assert!(house.keeper.alive().is_empty());
        assert!(row(&house, session).await.paused.is_some());
    }
    fs::write(&path, &good).unwrap();
    rooms.resume_session(&who, session).await.unwrap();
    assert_eq!(get(&rooms, &who, session, "f").await, SECRET);
    // That of an earlier pause is not that of this one.
    rooms.pause_session(&who, session).await.unwrap();
    let path = images(&house).remove(0);
    fs::write(&path, &good).unwrap();
    rooms.resume_session(&who, session).await.unwrap_err();
    fs::remove_file(&path).unwrap();
    let lost = rooms.resume_session(&who, session).await.unwrap_err();
    assert_eq!(lost.reason(), Reason::SessionGone);
    assert!(house.keeper.alive().is_empty());
}

/// I10: somebody else's paused session is one that never was.
#[tokio::test]
async fn strangers_neither_pause_nor_resume_nor_copy() {
    let house = House::new("thread");
    let rooms = house.rooms();
    let who = caller(&house, "local");
    let session = with_file(&house, &rooms, "t").await;
    let other = caller(&house, "other");
    for paused in [false, true] {
        for error in [
            rooms.pause_session(&other, session).await.map(drop),
            rooms.resume_session(&other, session).await.map(drop),
            rooms.copy_session(&other, session, None).await.map(drop),
            rooms.destroy(&other, session).await.map(drop),
        ] {
            assert_eq!(error.unwrap_err().reason(), Reason::SessionUnknown);
        }
        if !paused {
            rooms.pause_session(&who, session).await.unwrap();
        }
    }
    rooms.resume_session(&who, session).await.unwrap();
    assert_eq!(get(&rooms, &who, session, "f").await, SECRET);
}

/// A copy is another session, with the files and without the thread; of one of the two the other knows nothing.
#[tokio::test]
async fn a_copy_is_a_session_of_its_own() {
    let house = House::new("thread");
    let rooms = house.rooms();
    let who = caller(&house, "local");
    let session = with_file(&house, &rooms, "t").await;
    let copy = rooms.copy_session(&who, session, None).await.unwrap().value;
    assert_ne!(copy, session);
    put(&rooms, &who, copy, "f", b"changed").await;
    assert_eq!(get(&rooms, &who, session, "f").await, SECRET);
    let threaded = rooms
        .copy_session(&who, session, Some("u"))
        .await
        .unwrap()
        .value;
    let (same, new) = ran(&house.call(&rooms, in_thread("u", TRUE)).await);
    assert_eq!((same, new), (threaded, false));
    let taken = rooms
        .copy_session(&who, session, Some("t"))
        .await
        .unwrap_err();
    assert_eq!(taken.reason(), Reason::InvalidCall);
    assert_eq!(house.keeper.alive().len(), 3);
    let records = house.world.records();
    let of_copy = records
        .iter()
        .find(|record| record.entry.summary["lodging"]["copy"].as_str() == Some(&copy.to_string()));
    let lodging = &of_copy.unwrap().entry.summary["lodging"];
    assert_eq!(lodging["session"].as_str(), Some(&*session.to_string()));
    rooms.destroy(&who, session).await.unwrap();
    assert_eq!(get(&rooms, &who, copy, "f").await, b"changed");
}

/// Wherever the gateway is killed in a copy, the first session is whole, and no half copy is known.
#[tokio::test]
async fn a_copy_that_is_killed_is_whole_or_none() {
    let house = House::new("thread");
    let who = caller(&house, "local");
    for polls in 1..200 {
        let rooms = house.rooms();
        rooms.reconcile().await.unwrap();
        let session = with_file(&house, &rooms, &format!("t{polls}")).await;
        let whole = killed_after(polls, rooms.copy_session(&who, session, None)).await;
        let whole = whole.is_some();
        let rooms = house.rooms();
        rooms.reconcile().await.unwrap();
        for alive in house.keeper.alive() {
            assert_eq!(get(&rooms, &who, alive, "f").await, SECRET, "{polls}");
            rooms.destroy(&who, alive).await.unwrap();
        }
        if whole {
            return;
        }
    }
    panic!("it never ended");
}
