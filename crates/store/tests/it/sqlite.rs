//! Claims and sessions in SQLite: the suite of every driver, and what is special about files.

use std::{fs, os::unix::fs::symlink, path::PathBuf, sync::Barrier, thread};

use casemate_store::{
    Claimed, DestinationStore as _, Idempotency as _, MAX_DESTINATIONS, SqliteStore, StoreError,
};
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection, sqlite::SqliteConnectOptions};

use crate::{
    child,
    conformance::{Fixture, conformance},
    session_conformance::{self, session_conformance},
    support::{Home, chmod, claim, decision, files_under, mode},
};

impl Fixture for Home {
    type Store = SqliteStore;

    fn new() -> Self {
        Self::new()
    }

    async fn open(&self) -> SqliteStore {
        open(self).await
    }
}

impl session_conformance::Fixture for Home {
    type Store = SqliteStore;

    fn new() -> Self {
        Self::new()
    }

    async fn open(&self) -> SqliteStore {
        open(self).await
    }
}

conformance!(suite, Home);
session_conformance!(sessions, Home);

async fn open(home: &Home) -> SqliteStore {
    SqliteStore::open(&home.state, "a").await.unwrap()
}

async fn refused(home: &Home) -> StoreError {
    SqliteStore::open(&home.state, "a")
        .await
        .map(drop)
        .unwrap_err()
}

fn database(home: &Home) -> PathBuf {
    home.path("agents/a/agent.db")
}

/// The database as any other program would open it.
async fn raw(home: &Home) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(database(home));
    options.connect().await.unwrap()
}

async fn number(connection: &mut SqliteConnection, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(connection).await.unwrap()
}

/// I10, R184: each agent has its own file, and the same key in another agent's file is another key.
#[tokio::test]
async fn agents_share_no_database() {
    let home = Home::new();
    for agent in ["a", "b"] {
        let store = SqliteStore::open(&home.state, agent).await.unwrap();
        assert_eq!(
            store.claim(&claim("k", "call", 1)).await.unwrap(),
            Claimed::New
        );
        assert!(home.path("agents").join(agent).join("agent.db").exists());
    }
}

/// R187: the content of a result is on disk only sealed, in whatever file it ends up.
#[tokio::test]
async fn no_file_holds_the_plaintext_of_a_result() {
    const MARK: &[u8] = b"PLAINTEXT-7f3a9c-of-a-result";
    let home = Home::new();
    let keys = home.keys();
    let content = MARK.repeat(5_000);
    let sealed = keys.seal("a", b"result", &content).unwrap();
    let store = open(&home).await;
    store
        .claim(&claim("a-key-in-the-clear", "call", 1))
        .await
        .unwrap();
    store.finish(decision(1), Some(&sealed)).await.unwrap();

    // While it is open, with its log, and when it is closed.
    assert!(home.holding(MARK).is_empty());
    assert!(
        !home.holding(b"a-key-in-the-clear").is_empty(),
        "the scan finds what is there"
    );
    store.close().await.unwrap();
    assert!(home.holding(MARK).is_empty());
    let leftovers = fs::read_dir(home.path("agents/a")).unwrap().count();
    assert_eq!(leftovers, 1, "closing leaves the database alone");

    let store = open(&home).await;
    let again = store
        .claim(&claim("a-key-in-the-clear", "call", 2))
        .await
        .unwrap();
    let Claimed::Finished {
        result: Some(sealed),
        ..
    } = again
    else {
        panic!("{again:?}");
    };
    let read = keys.unseal("a", b"result", &sealed).unwrap();
    assert!(read.as_slice() == content);
    keys.erase("a").unwrap();
    let error = keys.unseal("a", b"result", &sealed).unwrap_err();
    assert!(matches!(error, StoreError::KeyErased { .. }), "{error}");
}

#[tokio::test]
async fn the_files_are_private_and_the_database_durable() {
    let home = Home::new();
    let store = open(&home).await;
    store.claim(&claim("k", "call", 1)).await.unwrap();
    let files = files_under(&home.path("agents/a"));
    assert_eq!(files.len(), 3, "database, log and shared memory: {files:?}");
    for file in files {
        assert_eq!(mode(&file), 0o600, "{file:?}");
    }
    drop(store);
    let mut raw = raw(&home).await;
    let journal: String = sqlx::query_scalar("PRAGMA journal_mode")
        .fetch_one(&mut raw)
        .await
        .unwrap();
    assert_eq!(journal, "wal");
}

/// The schema refuses states that the code never writes.
#[tokio::test]
async fn the_schema_keeps_rows_whole() {
    let home = Home::new();
    let store = open(&home).await;
    store.claim(&claim("k", "call", 1)).await.unwrap();
    let mut raw = raw(&home).await;
    for sql in [
        "UPDATE idempotency SET state = 'other'",
        "UPDATE idempotency SET state = 'finished'",
        "UPDATE idempotency SET finished_at_ms = 1",
        "UPDATE idempotency SET result = x'00'",
        "UPDATE idempotency SET action = x'00'",
        "UPDATE idempotency SET claimed_at_ms = 'soon'",
        "UPDATE idempotency SET decision = NULL",
    ] {
        assert!(sqlx::query(sql).execute(&mut raw).await.is_err(), "{sql}");
    }
}

/// R142: sixteen threads that open the store for the first time and claim the same key.
#[test]
fn one_of_sixteen_threads_wins() {
    let home = Home::new();
    let start = Barrier::new(16);
    let compete = |thread: u64| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        start.wait();
        runtime.block_on(async {
            open(&home)
                .await
                .claim(&claim("k", "call", thread))
                .await
                .unwrap()
        })
    };
    let outcomes: Vec<Claimed> = thread::scope(|scope| {
        let compete = &compete;
        let threads: Vec<_> = (0..16).map(|id| scope.spawn(move || compete(id))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    let new: Vec<_> = (0..16).filter(|id| outcomes[*id] == Claimed::New).collect();
    assert_eq!(new.len(), 1, "{outcomes:?}");
    let winner = decision(new[0] as u64);
    let others = outcomes
        .iter()
        .filter(|outcome| **outcome == Claimed::InFlight { decision: winner });
    assert_eq!(others.count(), 15, "{outcomes:?}");
}

/// R142: four processes that open the store for the first time and claim the same twenty keys.
#[test]
fn one_of_four_processes_wins_each_key() {
    let home = Home::new();
    let start = |id: u64| child::start("claim", &home.root(), &[&id.to_string()]);
    let children: Vec<_> = (1..=4).map(start).collect();
    let mut won: Vec<u64> = children
        .into_iter()
        .flat_map(child::Child::lines)
        .map(|key| key.parse().unwrap())
        .collect();
    won.sort_unstable();
    assert_eq!(won, (0..20).collect::<Vec<u64>>());
}

/// I1: a damaged database is named, and neither replaced nor repaired.
#[tokio::test]
async fn a_damaged_database_is_an_error_that_names_it() {
    let whole = {
        let home = Home::new();
        let store = open(&home).await;
        store.claim(&claim("k", "call", 1)).await.unwrap();
        store.close().await.unwrap();
        fs::read(database(&home)).unwrap()
    };
    let zeroed_pages: Vec<u8> = whole[..4096]
        .iter()
        .copied()
        .chain(vec![0; whole.len() - 4096])
        .collect();
    let garbage: Vec<u8> = (0..=250).cycle().step_by(31).take(whole.len()).collect();
    let damages = [
        ("empty", Vec::new()),
        ("one byte", whole[..1].to_vec()),
        ("half a header", whole[..50].to_vec()),
        ("a header", whole[..100].to_vec()),
        ("one page", whole[..4096].to_vec()),
        ("half", whole[..whole.len() / 2].to_vec()),
        ("garbage", garbage),
        ("zeroes", vec![0; whole.len()]),
        ("zeroes after the schema", zeroed_pages),
        ("text", b"not a database at all\n".repeat(500)),
    ];
    for (damage, content) in damages {
        let home = Home::new();
        home.state.agent("a").unwrap();
        fs::write(database(&home), &content).unwrap();
        chmod(&database(&home), 0o600);
        let error = match SqliteStore::open(&home.state, "a").await {
            Ok(store) => store.claim(&claim("k", "call", 2)).await.unwrap_err(),
            Err(error) => error,
        };
        assert!(
            matches!(
                error,
                StoreError::Corrupt { .. } | StoreError::ForeignDatabase { .. }
            ),
            "{damage}: {error:?}"
        );
        assert!(error.to_string().contains("agents/a/agent.db"), "{error}");
        assert!(
            fs::read(database(&home)).unwrap() == content,
            "{damage}: left as it was"
        );
    }
}

/// A page in the middle that is damaged is found when it is used.
#[tokio::test]
async fn a_damaged_page_is_an_error_that_names_the_database() {
    let home = Home::new();
    let store = open(&home).await;
    let names: Vec<String> = (0..400).map(|number| format!("{number:0>200}")).collect();
    for (number, name) in (0..).zip(&names) {
        store.claim(&claim(name, "call", number)).await.unwrap();
    }
    store.close().await.unwrap();
    let mut content = fs::read(database(&home)).unwrap();
    assert!(content.len() > 10 * 4096);
    for byte in content.iter_mut().skip(4096 * 2) {
        *byte = 0xa5;
    }
    fs::write(database(&home), content).unwrap();
    let outcome = match SqliteStore::open(&home.state, "a").await {
        Ok(store) => store
            .claim(&claim(&names[200], "call", 1000))
            .await
            .map(drop),
        Err(error) => Err(error),
    };
    let error = outcome.unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
    assert!(error.to_string().contains("agent.db"), "{error}");
}

#[tokio::test]
async fn another_programs_database_is_refused_and_left_alone() {
    let home = Home::new();
    home.state.agent("a").unwrap();
    let options = SqliteConnectOptions::new()
        .filename(database(&home))
        .create_if_missing(true);
    let mut foreign = options.connect().await.unwrap();
    sqlx::query("CREATE TABLE theirs (x)")
        .execute(&mut foreign)
        .await
        .unwrap();
    foreign.close().await.unwrap();
    chmod(&database(&home), 0o600);
    let before = fs::read(database(&home)).unwrap();
    let error = refused(&home).await;
    assert!(
        matches!(error, StoreError::ForeignDatabase { .. }),
        "{error}"
    );
    assert!(fs::read(database(&home)).unwrap() == before);
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let home = Home::new();
    open(&home).await.close().await.unwrap();
    let mut raw = raw(&home).await;
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                 VALUES (9999, 'from the future', TRUE, x'00', 0)";
    sqlx::query(newer).execute(&mut raw).await.unwrap();
    let error = refused(&home).await;
    assert!(matches!(error, StoreError::Schema { .. }), "{error}");
    assert_eq!(
        number(&mut raw, "SELECT count(*) FROM idempotency").await,
        0
    );
}

/// Values that Casemate did not write are an error and not a guess.
#[tokio::test]
async fn a_row_that_makes_no_sense_is_an_error() {
    for (change, what) in [
        ("UPDATE idempotency SET decision = 'dec_x'", "a decision id"),
        ("UPDATE idempotency SET result = x'7b7d'", "a result"),
    ] {
        let home = Home::new();
        let store = open(&home).await;
        store.claim(&claim("k", "call", 1)).await.unwrap();
        store.finish(decision(1), None).await.unwrap();
        let mut raw = raw(&home).await;
        sqlx::query(change).execute(&mut raw).await.unwrap();
        let error = store.claim(&claim("k", "call", 2)).await.unwrap_err();
        assert!(
            matches!(error, StoreError::Value { what: which, .. } if which == what),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_link_in_place_of_the_database_is_refused() {
    let (home, other) = (Home::new(), Home::new());
    open(&other).await.close().await.unwrap();
    home.state.agent("a").unwrap();
    for target in [database(&other), home.path("../nowhere")] {
        symlink(&target, database(&home)).unwrap();
        let error = refused(&home).await;
        assert!(matches!(error, StoreError::NotAFile { .. }), "{error}");
        fs::remove_file(database(&home)).unwrap();
    }
    assert!(!home.path("../nowhere").exists());
}

#[tokio::test]
async fn a_database_that_others_can_use_is_refused() {
    let home = Home::new();
    open(&home).await.close().await.unwrap();
    chmod(&database(&home), 0o644);
    let error = refused(&home).await;
    assert!(matches!(error, StoreError::OpenToOthers { .. }), "{error}");
}

/// A log whose database is gone would be played into a new one.
#[tokio::test]
async fn a_log_without_its_database_is_refused() {
    let home = Home::new();
    let store = open(&home).await;
    store.claim(&claim("k", "call", 1)).await.unwrap();
    fs::remove_file(database(&home)).unwrap();
    let error = refused(&home).await;
    assert!(matches!(error, StoreError::OrphanedLog { .. }), "{error}");
    assert!(!database(&home).exists());
}

/// Killed while it made the database, with garbage or with a log of the best beside it.
#[tokio::test]
async fn what_a_killed_process_left_of_a_new_database_is_replaced() {
    let other = Home::new();
    let store = open(&other).await;
    store.claim(&claim("k", "call", 1)).await.unwrap();
    let log = fs::read(other.path("agents/a/agent.db-wal")).unwrap();
    let shared = fs::read(other.path("agents/a/agent.db-shm")).unwrap();
    assert!(!log.is_empty());
    for (log, shared) in [(b"half".to_vec(), b"half".to_vec()), (log, shared)] {
        let home = Home::new();
        let dir = home.state.agent("a").unwrap();
        fs::write(dir.join("new"), b"half of it").unwrap();
        fs::write(dir.join("new-wal"), &log).unwrap();
        fs::write(dir.join("new-shm"), &shared).unwrap();
        fs::write(dir.join("new-journal"), b"half of it").unwrap();
        let store = open(&home).await;
        let claimed = store.claim(&claim("k", "call", 1)).await.unwrap();
        assert_eq!(claimed, Claimed::New);
        store.close().await.unwrap();
        let left: Vec<_> = fs::read_dir(dir).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
        assert_eq!(mode(&database(&home)), 0o600);
    }
}

/// SQLite reads a name that starts with `file:` as a URI with options.
#[tokio::test]
async fn a_root_that_looks_like_a_uri_is_a_path() {
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path().join("file:x?mode=memory&y=#z%41");
    let state = casemate_store::StateDir::open(&root).unwrap();
    let store = SqliteStore::open(&state, "a").await.unwrap();
    store.claim(&claim("k", "call", 1)).await.unwrap();
    assert!(root.join("agents/a/agent.db").exists());
}

/// Where an agent has been outlives the store, is its tenant's alone, and is bounded: what was noted longest ago is forgotten.
#[tokio::test]
async fn destinations_are_remembered() {
    let home = Home::new();
    let store = open(&home).await;
    store
        .note_destination("t", "a.example", 443, 1)
        .await
        .unwrap();
    store
        .note_destination("t", "a.example", 8443, 2)
        .await
        .unwrap();
    // Again, and with a clock that went back.
    store
        .note_destination("t", "a.example", 443, 0)
        .await
        .unwrap();
    store
        .note_destination("u", "b.example", 443, 3)
        .await
        .unwrap();
    store.close().await.unwrap();
    let store = open(&home).await;
    let pair = |host: &str, port| (host.to_owned(), port);
    let known = store.destinations("t").await.unwrap();
    assert_eq!(known, [pair("a.example", 443), pair("a.example", 8443)]);
    let known = store.destinations("u").await.unwrap();
    assert_eq!(known, [pair("b.example", 443)]);
    assert_eq!(store.destinations("v").await.unwrap(), []);
    for (tenant, host, port) in [
        ("", "a.example", 443),
        ("t", "", 443),
        ("t", "a\nb", 443),
        ("t", "a.example", 0),
    ] {
        let noted = store.note_destination(tenant, host, port, 1).await;
        assert!(noted.is_err(), "{tenant} {host} {port}");
    }
    for number in 0..=MAX_DESTINATIONS {
        let host = format!("{number}.example");
        store
            .note_destination("t", &host, 443, 10 + u64::from(number))
            .await
            .unwrap();
    }
    let known = store.destinations("t").await.unwrap();
    assert_eq!(known.len(), MAX_DESTINATIONS as usize);
    assert!(!known.contains(&pair("0.example", 443)) && !known.contains(&pair("a.example", 443)));
    assert!(known.contains(&pair("1.example", 443)));
    assert_eq!(store.destinations("u").await.unwrap().len(), 1);
}
