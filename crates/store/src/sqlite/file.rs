//! The database file: made whole or not at all, and never taken for empty.

use std::{
    fs::{self, File, Permissions},
    io,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    time::Duration,
};

use sqlx::{
    ConnectOptions as _, Connection as _, SqlSafeStr as _, SqliteConnection,
    migrate::{Migration, MigrationType, Migrator},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};

use super::{BEGIN, failed, schema};
use crate::{
    StoreError,
    dir::{Dir, LockedDir, UNFINISHED},
};

/// The name of an agent's database.
pub(super) const DATABASE: &str = "agent.db";
const LOG: &str = "agent.db-wal";

/// How long a statement waits for other processes.
const BUSY_TIMEOUT_MS: u64 = 5_000;

/// "CASE": SQLite keeps it in the header of the file.
const APPLICATION_ID: i64 = 0x4341_5345;

const MIGRATIONS: [(i64, &str, &str); 5] = [
    (
        1,
        "idempotency",
        include_str!("../../migrations/sqlite/0001_idempotency.sql"),
    ),
    (
        2,
        "sessions",
        include_str!("../../migrations/sqlite/0002_sessions.sql"),
    ),
    (
        3,
        "approvals",
        include_str!("../../migrations/sqlite/0003_approvals.sql"),
    ),
    (
        4,
        "destinations",
        include_str!("../../migrations/sqlite/0004_destinations.sql"),
    ),
    (
        5,
        "paused",
        include_str!("../../migrations/sqlite/0005_paused.sql"),
    ),
];

/// Opens the database in `dir`, and makes it if there is none.
pub(super) async fn open(dir: Dir) -> Result<SqliteConnection, StoreError> {
    // The log first: a database that another process makes right now has its name before its log.
    let has_log = dir.has(LOG)?;
    let dir = match dir.has_file(DATABASE)? {
        true => dir,
        false if has_log => {
            let path = dir.path(LOG);
            return Err(StoreError::OrphanedLog { path });
        }
        false => create(dir).await?,
    };
    let path = dir.path(DATABASE);
    // An empty file is an empty database for SQLite: it opens, without the number that ours have. The file
    // is not opened here to look: closing it would end the locks that this process holds on it.
    let mut connection = connect(options(&path), &path).await?;
    let application: i64 = sqlx::query_scalar("PRAGMA application_id")
        .fetch_one(&mut connection)
        .await
        .map_err(failed("read the header", &path))?;
    if application != APPLICATION_ID {
        return Err(StoreError::ForeignDatabase { path });
    }
    Ok(connection)
}

/// Brings the schema up to date, in one transaction.
pub(super) async fn migrate(
    connection: &mut SqliteConnection,
    path: &Path,
) -> Result<(), StoreError> {
    let failed = || failed("bring the schema up to date", path);
    let migrations = MIGRATIONS.map(|(version, description, sql)| {
        let sql = sql.into_sql_str();
        Migration::new(
            version,
            description.into(),
            MigrationType::Simple,
            sql,
            false,
        )
    });
    let mut transaction = connection.begin_with(BEGIN).await.map_err(failed())?;
    Migrator::with_migrations(migrations.into())
        .run(&mut *transaction)
        .await
        .map_err(schema(path))?;
    transaction.commit().await.map_err(failed())
}

/// Makes the database beside its place, complete and closed, and then gives it its name.
async fn create(dir: Dir) -> Result<Dir, StoreError> {
    // Not on this thread: the holder of the lock may be another task of it.
    let lock = move || dir.lock().map(|locked| (dir, locked));
    let (dir, locked) = tokio::task::spawn_blocking(lock)
        .await
        .map_err(|error| StoreError::io("lock", DATABASE)(io::Error::other(error)))??;
    if !locked.has(DATABASE)? {
        build(&locked).await?;
    }
    Ok(dir)
}

async fn build(locked: &LockedDir) -> Result<(), StoreError> {
    // SQLite drops a log that it finds beside an empty file, such as a killed process leaves.
    let file = locked.create()?;
    let path = locked.path(UNFINISHED);
    let options = options(&path)
        .journal_mode(SqliteJournalMode::Wal)
        .pragma("application_id", APPLICATION_ID.to_string());
    let mut connection = connect(options, &path).await?;
    migrate(&mut connection, &path).await?;
    connection
        .close()
        .await
        .map_err(failed("close the database", &path))?;
    file.sync_all().map_err(StoreError::io("sync", &path))?;
    // Before anybody can open the database: closing it later would end their locks.
    drop(file);
    locked.publish(DATABASE)
}

/// Makes a copy what a database of ours is: private, with a write-ahead log, and on disk.
pub(super) async fn finish_copy(path: &Path) -> Result<(), StoreError> {
    let options = options(path).journal_mode(SqliteJournalMode::Wal);
    let copy = connect(options, path).await?;
    let closed = copy.close().await;
    closed.map_err(failed("close the database", path))?;
    let private = Permissions::from_mode(0o600);
    fs::set_permissions(path, private).map_err(StoreError::io("make private", path))?;
    let file = File::open(path).map_err(StoreError::io("open", path))?;
    file.sync_all().map_err(StoreError::io("sync", path))
}

async fn connect(
    options: SqliteConnectOptions,
    path: &Path,
) -> Result<SqliteConnection, StoreError> {
    options
        .connect()
        .await
        .map_err(failed("open the database", path))
}

/// The write-ahead log is a property of the file, which is set when the file is made: setting it again could
/// turn an empty file into a database.
fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(Duration::from_millis(BUSY_TIMEOUT_MS))
        .pragma("trusted_schema", "OFF")
        .pragma("cell_size_check", "ON")
        .disable_statement_logging()
}
