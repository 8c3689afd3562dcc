//! What shows only on a connection of our own.

use casemate_model::{DecisionId, Digest};
use sqlx::Row as _;

use super::*;

/// What a connection forgets when it is closed, so that nobody else can look it up.
#[tokio::test]
async fn every_connection_is_durable_and_strict() {
    let temp = tempfile::tempdir().unwrap();
    let state = StateDir::open(temp.path()).unwrap();
    for round in ["made", "found"] {
        let store = SqliteStore::open(&state, "a").await.unwrap();
        let mut connection = store.connection.lock().await;
        for (pragma, wanted) in [
            ("PRAGMA synchronous", 2),
            ("PRAGMA foreign_keys", 1),
            ("PRAGMA busy_timeout", 5_000),
            ("PRAGMA trusted_schema", 0),
            ("PRAGMA cell_size_check", 1),
        ] {
            let row = sqlx::query(pragma).fetch_one(&mut *connection).await;
            assert_eq!(row.unwrap().get::<i64, _>(0), wanted, "{pragma}, {round}");
        }
    }
}

/// I1: a database that another process keeps to itself is an error, and the claim did not happen.
#[tokio::test]
async fn a_busy_database_is_an_error_and_not_a_claim() {
    let temp = tempfile::tempdir().unwrap();
    let state = StateDir::open(temp.path()).unwrap();
    let store = SqliteStore::open(&state, "a").await.unwrap();
    let other = SqliteStore::open(&state, "a").await.unwrap();
    let mut holder = other.connection.lock().await;
    let hold = holder.begin_with(BEGIN).await.unwrap();
    let mut impatient = store.connection.lock().await;
    sqlx::query("PRAGMA busy_timeout = 0")
        .execute(&mut *impatient)
        .await
        .unwrap();
    drop(impatient);

    let claim = Claim {
        tenant: "local",
        tool: "python",
        key: "k",
        action: Digest::of(b"call"),
        decision: DecisionId::new(1, [1; 10]),
        at_ms: 1,
    };
    let error = store.claim(&claim).await.unwrap_err();
    assert!(matches!(error, StoreError::Busy { .. }), "{error:?}");
    let error = store.release(claim.decision).await.unwrap_err();
    assert!(matches!(error, StoreError::Busy { .. }), "{error:?}");
    hold.rollback().await.unwrap();
    assert_eq!(store.claim(&claim).await.unwrap(), Claimed::New);
}
