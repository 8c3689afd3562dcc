//! Databases of every version that there was are brought up to date, and lose nothing.

use casemate_model::{Digest, SessionId};
use casemate_store::{
    ApprovalStore as _, Claim, Claimed, DestinationStore as _, Idempotency as _, SessionStore as _,
    SqliteStore,
};
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection, sqlite::SqliteConnectOptions};

use crate::support::{Home, chmod, decision};

/// What each version was, one after the other.
const RELEASED: &str = include_str!("schemas/released.sql");

/// The name of a database, and "CASE" in its header.
const DATABASE: &str = "agents/a/agent.db";
const APPLICATION_ID: i64 = 0x4341_5345;

/// What each version added.
fn versions() -> Vec<&'static str> {
    RELEASED.split("\n-- VERSION ").skip(1).collect()
}

/// A database as a program of that version left it.
async fn left_by(home: &Home, versions: &[&'static str]) {
    home.state.agent("a").unwrap();
    let options = SqliteConnectOptions::new()
        .filename(home.path(DATABASE))
        .create_if_missing(true)
        .journal_mode(sqlx::sqlite::SqliteJournalMode::Wal)
        .pragma("application_id", APPLICATION_ID.to_string());
    let mut database: SqliteConnection = options.connect().await.unwrap();
    for version in versions {
        let (_, sql) = version.split_once('\n').unwrap();
        sqlx::raw_sql(sql).execute(&mut database).await.unwrap();
    }
    database.close().await.unwrap();
    chmod(&home.path(DATABASE), 0o600);
}

fn claim<'a>(key: &'a str, action: &str, number: u64) -> Claim<'a> {
    Claim {
        tenant: "local",
        tool: "python",
        key,
        action: Digest::of(action.as_bytes()),
        decision: decision(number),
        at_ms: 1_800_000_000_100,
    }
}

/// Each version that there was, up to the one of now, keeps its rows and takes new ones.
#[tokio::test]
async fn every_version_that_there_was_comes_up_to_date() {
    let versions = versions();
    for count in 1..=versions.len() {
        let home = Home::new();
        left_by(&home, &versions[..count]).await;
        let store = SqliteStore::open(&home.state, "a").await.unwrap();
        let finished = store.claim(&claim("done", "one", 9)).await.unwrap();
        let (earlier, result) = (decision(1), None);
        let of = Claimed::Finished {
            decision: earlier,
            result,
        };
        assert_eq!(finished, of, "version {count}");
        let lost = store.claim(&claim("lost", "two", 9)).await.unwrap();
        assert_eq!(
            lost,
            Claimed::Unknown {
                decision: decision(2)
            }
        );
        let open = store.claim(&claim("open", "three", 9)).await.unwrap();
        assert_eq!(
            open,
            Claimed::InFlight {
                decision: decision(3)
            }
        );
        assert_eq!(
            store.claim(&claim("new", "x", 9)).await.unwrap(),
            Claimed::New
        );
        let sessions = store.sessions("local", 10).await.unwrap();
        assert_eq!(sessions.len(), if count >= 2 { 2 } else { 0 });
        if count >= 2 {
            let living: SessionId = SessionId::new(1, [7; 10]);
            let found = store.thread_session("local", "t").await.unwrap().unwrap();
            assert_eq!((found.id, found.end), (living, None));
            assert_eq!(sessions[1].end.as_ref().unwrap().why, "idle");
        }
        let waiting = store.open_approvals().await.unwrap();
        assert_eq!(waiting.len(), usize::from(count >= 3));
        let been = store.destinations("local").await.unwrap();
        assert_eq!(been.len(), usize::from(count >= 4));
        store
            .note_destination("local", "example.org", 443, 1_800_000_000_100)
            .await
            .unwrap();
        store.close().await.unwrap();
        // What is up to date is left as it is.
        let again = SqliteStore::open(&home.state, "a").await.unwrap();
        assert_eq!(
            again.destinations("local").await.unwrap().len(),
            been.len() + 1
        );
    }
}

/// No version is left out: the newest database has no migration that the file of versions does not have.
#[tokio::test]
async fn every_migration_is_among_the_versions() {
    let home = Home::new();
    let store = SqliteStore::open(&home.state, "a").await.unwrap();
    store.close().await.unwrap();
    let options = SqliteConnectOptions::new().filename(home.path(DATABASE));
    let mut database = options.connect().await.unwrap();
    let count: i64 = sqlx::query_scalar("SELECT count(*) FROM _sqlx_migrations")
        .fetch_one(&mut database)
        .await
        .unwrap();
    assert_eq!(usize::try_from(count).unwrap(), versions().len());
}
