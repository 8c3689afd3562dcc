//! What is done with sessions beside calls: decided, on disk before it happens, and closed after it.

use std::fs;

use casemate_authority::{Position, SwitchKind};
use casemate_gateway::{Caller, SessionError};
use casemate_ledger::{Kind, Record};
use casemate_model::{Reason, SessionId};
use casemate_policy::{Authenticator, Claims, Profile, Syntax, Verified};
use casemate_ports::{Chunk, Connection, Gone};
use tokio::sync::mpsc;

use crate::{
    house::{House, Rooms, caller, in_thread, owner, ran, refused},
    session_keeper::Step,
};

const TRUE: &[&str] = &["true"];

fn upload(content: &[u8]) -> mpsc::Receiver<Chunk> {
    let (sender, receiver) = mpsc::channel(2);
    sender.try_send(Chunk::Bytes(content.to_vec())).unwrap();
    sender.try_send(Chunk::End).unwrap();
    receiver
}

async fn opened(house: &House, rooms: &Rooms) -> SessionId {
    let caller = caller(house, "local");
    let policy = house.policy();
    let done = rooms.open_session(&caller, Some("t"), &policy);
    done.await.unwrap().value.0
}

/// The records from `from` on: kind, what was done, status, session.
fn said(house: &House, from: usize) -> Vec<(Kind, String, Option<String>, Option<String>)> {
    let word = |record: &Record, name: &str| {
        let value = record.entry.summary.get(name)?.as_str()?;
        Some(value.to_owned())
    };
    let records = house.world.records();
    let seen = records.iter().skip(from).map(|record| {
        let session = &record.entry.summary["lodging"]["session"];
        (
            record.entry.kind,
            word(record, "tool").unwrap_or_default(),
            word(record, "status"),
            session.as_str().map(str::to_owned),
        )
    });
    seen.collect()
}

/// R96, R224: what is done with a session changes nothing before it is on disk, and is closed with what came of it.
#[tokio::test]
async fn deeds_are_recorded_before_and_after() {
    let house = House::new("thread");
    let rooms = house.rooms();
    let who = caller(&house, "local");
    let session = opened(&house, &rooms).await;
    let path = || "secret-name.csv".into();
    rooms
        .write_file(&who, session, path(), upload(b"abc"))
        .await
        .unwrap();
    let done = rooms.read_file(&who, session, path()).await.unwrap();
    rooms.list_files(&who, session, "".into()).await.unwrap();
    rooms.remove_file(&who, session, path()).await.unwrap();
    let context = rooms.open_context(&who, session).await.unwrap().value;
    rooms.close_context(&who, context).await.unwrap();
    rooms.connect(&who, session, 80).await.unwrap();
    rooms.destroy(&who, session).await.unwrap();

    let (yes, id) = (Some("succeeded".to_owned()), Some(session.to_string()));
    let both = |what: &str, begins: Option<String>| {
        [
            (Kind::Allowed, what.to_owned(), None, begins),
            (Kind::Outcome, what.to_owned(), yes.clone(), id.clone()),
        ]
    };
    let once = |what: &str| [(Kind::Event, what.to_owned(), None, id.clone())];
    let mut expected = both("session.open", None).to_vec();
    expected.extend(both("file.write", id.clone()));
    expected.extend(once("file.read"));
    expected.extend(once("file.list"));
    expected.extend(both("file.remove", id.clone()));
    expected.extend(both("context.open", id.clone()));
    expected.extend(both("context.close", id.clone()));
    expected.extend(both("port.connect", id.clone()));
    expected.extend(both("session.destroy", id.clone()));
    assert_eq!(said(&house, 0), expected);

    let records = house.world.records();
    let of_read = records
        .iter()
        .find(|record| record.entry.decision == done.decision);
    assert_eq!(of_read.unwrap().entry.kind, Kind::Event);
    let written = house.world.content(&records[3]);
    assert_eq!(written["path"], "secret-name.csv");
    assert_eq!(written["bytes"], 3);
    let digest = casemate_model::Digest::of(b"abc").to_string();
    assert_eq!(written["sha256"], digest);
    assert_eq!(records[2].entry.summary["scopes"][0], "code:execute");
    // The same fields as a call's.
    for field in [
        "trace_id",
        "actor",
        "route",
        "policy",
        "policy_decision",
        "stop_reason",
    ] {
        assert!(records[2].entry.summary[field].is_string(), "{field}");
    }
    let log = fs::read(house.world.dir.path().join("state/ledger/log")).unwrap();
    let has = |word: &[u8]| log.windows(word.len()).any(|window| window == word);
    assert!(!has(b"secret-name") && !has(digest.as_bytes()));
    assert!(has(b"file.write"));
}

/// I1: no durable record, no action. The keeper is not even asked.
#[tokio::test]
async fn without_a_record_nothing_is_done() {
    let house = House::new("thread");
    let rooms = house.rooms();
    let who = caller(&house, "local");
    let session = opened(&house, &rooms).await;
    rooms
        .write_file(&who, session, "kept".into(), upload(b"abc"))
        .await
        .unwrap();
    let context = rooms.open_context(&who, session).await.unwrap().value;
    let steps = house.keeper.steps();
    fs::remove_dir_all(house.world.dir.path().join("state/ledger")).unwrap();
    let content = upload(b"x");
    let refusals: [(&str, SessionError); 9] = [
        (
            "open",
            rooms
                .open_session(&who, Some("u"), &house.policy())
                .await
                .unwrap_err(),
        ),
        (
            "write",
            rooms
                .write_file(&who, session, "kept".into(), content)
                .await
                .unwrap_err(),
        ),
        (
            "read",
            rooms
                .read_file(&who, session, "kept".into())
                .await
                .unwrap_err(),
        ),
        (
            "list",
            rooms
                .list_files(&who, session, "".into())
                .await
                .unwrap_err(),
        ),
        (
            "remove",
            rooms
                .remove_file(&who, session, "kept".into())
                .await
                .unwrap_err(),
        ),
        (
            "open context",
            rooms.open_context(&who, session).await.unwrap_err(),
        ),
        (
            "close context",
            rooms.close_context(&who, context).await.unwrap_err(),
        ),
        (
            "connect",
            rooms.connect(&who, session, 80).await.unwrap_err(),
        ),
        ("destroy", rooms.destroy(&who, session).await.unwrap_err()),
    ];
    for (what, error) in refusals {
        assert_eq!(error.reason(), Reason::RecordUnavailable, "{what}: {error}");
    }
    assert_eq!(house.keeper.steps(), steps);
    assert_eq!(house.keeper.alive(), [session]);
}

/// How claims are spoilt, and what then refuses them.
type Case = (fn(&mut Claims), Reason);

fn with_claims(house: &House, change: fn(&mut Claims)) -> Caller {
    let mut claims = house.world.claims();
    change(&mut claims);
    Caller {
        claims: Verified::vouch(claims, Authenticator::LocalUser),
        agent: "local".into(),
    }
}

/// R123, R131, R135: what a profile would refuse a call, it refuses whoever wants a session's files, ports or
/// interpreters, and nothing of it happens.
#[tokio::test]
async fn the_profile_decides() {
    let house = House::new("thread");
    let rooms = house.rooms();
    let session = opened(&house, &rooms).await;
    let steps = house.keeper.steps();
    let cases: [Case; 4] = [
        (
            |claims| claims.issuer = "https://evil.example".into(),
            Reason::UntrustedIssuer,
        ),
        (|claims| claims.expires_at_ms = 1, Reason::ExpiredToken),
        (
            |claims| claims.audience = "another".into(),
            Reason::WrongAudience,
        ),
        (|claims| claims.scopes.clear(), Reason::MissingScope),
    ];
    for (change, reason) in cases {
        let from = house.world.records().len();
        let who = with_claims(&house, change);
        let errors = [
            rooms
                .open_session(&who, Some("u"), &house.policy())
                .await
                .unwrap_err(),
            rooms
                .write_file(&who, session, "f".into(), upload(b"x"))
                .await
                .unwrap_err(),
            rooms
                .read_file(&who, session, "f".into())
                .await
                .unwrap_err(),
            rooms
                .list_files(&who, session, "".into())
                .await
                .unwrap_err(),
            rooms
                .remove_file(&who, session, "f".into())
                .await
                .unwrap_err(),
            rooms.open_context(&who, session).await.unwrap_err(),
            rooms.connect(&who, session, 80).await.unwrap_err(),
            rooms.destroy(&who, session).await.unwrap_err(),
        ];
        for error in &errors {
            assert_eq!(error.reason(), reason, "{error}");
            assert!(error.decision().is_some());
        }
        let said = said(&house, from);
        assert_eq!(said.len(), errors.len());
        assert!(said.iter().all(|record| record.0 == Kind::Denied));
    }
    assert_eq!(house.keeper.steps(), steps);
    assert_eq!(house.keeper.alive(), [session]);
}

fn changed(house: &House, from: &str, to: &str) -> Profile {
    let source = String::from_utf8(house.profile.source().to_vec()).unwrap();
    assert!(source.contains(from));
    Profile::parse(source.replace(from, to).as_bytes(), Syntax::Toml).unwrap()
}

/// R131: without the tool `python` there are no interpreters, and a file is of a type that inputs may have.
#[tokio::test]
async fn contexts_are_python_and_uploads_are_inputs() {
    let mut house = House::new("thread");
    house.profile = changed(
        &house,
        "allowed = [\"python\", \"shell\"]",
        "allowed = [\"shell\"]",
    );
    house.profile = changed(
        &house,
        "workspace = \"/workspace\"",
        "workspace = \"/workspace\"\ninput_file_types = [\".csv\"]",
    );
    let rooms = house.rooms();
    let who = caller(&house, "local");
    let session = opened(&house, &rooms).await;
    let steps = house.keeper.steps();
    let error = rooms.open_context(&who, session).await.unwrap_err();
    assert_eq!(error.reason(), Reason::MissingScope, "{error}");
    for path in ["a.exe", "a.csv/b", "d/.csv"] {
        let written = rooms.write_file(&who, session, path.into(), upload(b"x"));
        let error = written.await.unwrap_err();
        assert_eq!(error.reason(), Reason::InvalidCall, "{error}");
        assert!(error.to_string().contains(".csv"), "{error}");
    }
    assert_eq!(house.keeper.steps(), steps);
    rooms
        .write_file(&who, session, "a.exe/b.csv".into(), upload(b"x"))
        .await
        .unwrap();
}

/// A caller who goes away in the middle leaves a record that says that nobody knows.
#[tokio::test]
async fn a_deed_that_is_dropped_is_closed_as_unknown() {
    let house = House::new("thread");
    let rooms = house.rooms();
    let who = caller(&house, "local");
    let session = opened(&house, &rooms).await;
    let from = house.world.records().len();
    let (_sender, content) = mpsc::channel(1);
    let writing = rooms.write_file(&who, session, "f".into(), content);
    let left = tokio::time::timeout(std::time::Duration::from_millis(20), writing).await;
    assert!(left.is_err());
    let said = said(&house, from);
    let seen: Vec<_> = said.iter().map(|it| (it.0, it.2.as_deref())).collect();
    assert_eq!(
        seen,
        [(Kind::Allowed, None), (Kind::Outcome, Some("unknown"))]
    );
    let error = rooms
        .read_file(&who, session, "f".into())
        .await
        .unwrap_err();
    assert!(matches!(error, SessionError::File { .. }), "{error}");
}

/// What fails says so in its record.
#[tokio::test]
async fn a_deed_that_fails_is_closed_as_failed() {
    let house = House::new("thread");
    let rooms = house.rooms();
    let who = caller(&house, "local");
    let session = opened(&house, &rooms).await;
    let from = house.world.records().len();
    let error = rooms
        .remove_file(&who, session, "none".into())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("none"));
    assert_eq!(error.session(), Some(session));
    let records = house.world.records();
    let last = records.last().unwrap();
    assert_eq!(said(&house, from)[1].2.as_deref(), Some("failed"));
    let content = house.world.content(last);
    assert!(content["error"].as_str().unwrap().contains("no such file"));
}

/// A session that ends by itself is on record once, with the reason.
#[tokio::test]
async fn ends_are_recorded_once() {
    for (why, word) in [
        (Some(Gone::Idle), "idle"),
        (Some(Gone::Expired), "expired"),
        (None, "keeper_lost"),
    ] {
        let house = House::new("thread");
        let rooms = house.rooms();
        let (session, _) = ran(&house.call(&rooms, in_thread("t", TRUE)).await);
        match why {
            Some(why) => house.keeper.end(session, why),
            None => house.keeper.lose_all(),
        }
        refused(&house.call(&rooms, in_thread("t", TRUE)).await);
        rooms.list(&owner("local")).await.unwrap();
        house.rooms().reconcile().await.unwrap();
        let records = house.world.records();
        let ends: Vec<_> = records
            .iter()
            .filter(|record| record.entry.summary["tool"] == "session.end")
            .collect();
        assert_eq!(ends.len(), 1);
        let summary = &ends[0].entry.summary;
        assert_eq!(summary["reason"], word);
        assert_eq!(summary["lodging"]["session"], session.to_string());
    }
}

/// R159: what is downloaded counts as output; a file that is larger than what is left is not given at all.
#[tokio::test]
async fn downloads_are_output() {
    let house = House::with("thread", "\n[quotas.session]\noutput_bytes = 10\n");
    let rooms = house.rooms();
    let who = caller(&house, "local");
    let session = opened(&house, &rooms).await;
    for (name, content) in [("large", &b"12345678901"[..]), ("small", b"123456")] {
        rooms
            .write_file(&who, session, name.into(), upload(content))
            .await
            .unwrap();
    }
    let read = async |name: &str| rooms.read_file(&who, session, name.into()).await;
    let Err(SessionError::Quota { quota, .. }) = read("large").await else {
        panic!("it is given");
    };
    assert_eq!((quota.quota.as_str(), quota.limit), ("output_bytes", 10));
    assert_eq!(read("small").await.unwrap().value.0, 6);
    let error = read("small").await.unwrap_err();
    assert_eq!(error.reason(), Reason::QuotaExceeded);
    assert_eq!(error.session(), Some(session));
    let reads = house.keeper.steps().into_iter();
    let reads = reads.filter(|step| *step == Step::Files(session, "read"));
    assert_eq!(reads.count(), 3);
}

/// R258: a tunnel, a download and an upload that are under way end when a switch is thrown: nothing of them arrives after it, and a file that was
/// not whole is not there.
#[tokio::test]
async fn a_switch_cuts_what_is_on_its_way() {
    let house = House::new("thread");
    let rooms = house.rooms();
    let who = caller(&house, "local");
    let session = opened(&house, &rooms).await;
    rooms
        .write_file(&who, session, "there".into(), upload(b"abc"))
        .await
        .unwrap();
    let tunnel = rooms.connect(&who, session, 80).await.unwrap().value;
    let Connection { to, mut from } = tunnel;
    to.send(b"before".to_vec()).await.unwrap();
    assert_eq!(from.recv().await.unwrap(), b"before");
    let (_, mut content) = rooms
        .read_file(&who, session, "there".into())
        .await
        .unwrap()
        .value;
    let (sender, half) = mpsc::channel(4);
    sender.send(Chunk::Bytes(b"half".to_vec())).await.unwrap();
    let writing = rooms.write_file(&who, session, "half".into(), half);
    let thrown = async {
        // The one from before, and the one that is held up.
        let writes = || {
            let steps = house.keeper.steps();
            let writes = steps
                .iter()
                .filter(|step| matches!(step, Step::Files(_, "write")));
            writes.count()
        };
        while writes() < 2 {
            tokio::task::yield_now().await;
        }
        house.throw(SwitchKind::Agent, "local", Position::Off);
        rooms.switches_thrown();
    };
    let (written, ()) = tokio::join!(writing, thrown);
    let SessionError::Refused { reason, .. } = written.unwrap_err() else {
        panic!("not refused");
    };
    assert_eq!(reason, Reason::KillSwitch);
    // Whatever is sent now does not come back.
    let _ = to.send(b"after".to_vec()).await;
    assert_eq!(from.recv().await, None);
    // Only what was given before the switch may still be in the way.
    while content.recv().await.is_some() {}
    let last = house.world.records().pop().unwrap();
    assert_eq!(last.entry.summary["stop_reason"], "kill_switch");
    drop(sender);
}

/// A session can be told to end sooner when nobody uses it, and never later than its profile says.
#[tokio::test]
async fn a_session_may_be_idle_for_less_and_never_for_longer() {
    let house = House::new("thread");
    let rooms = house.rooms();
    let (who, policy) = (caller(&house, "local"), house.policy());
    for (thread, ms) in [("a", 60_000), ("b", u64::MAX)] {
        let policy = policy.idle_at_most(ms);
        let opened = rooms.open_session(&who, Some(thread), &policy);
        opened.await.unwrap();
    }
    let most = policy.sandbox.session_idle_ms;
    assert_eq!(house.keeper.idle_ms(), [60_000, most]);
}
