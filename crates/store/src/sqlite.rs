//! Claims, sessions, approvals and destinations in SQLite: one database file per agent.

mod approvals;
mod destinations;
mod file;
mod sessions;
#[cfg(test)]
mod tests;

use std::{
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use casemate_model::{DecisionId, Digest, Sealed};
use sqlx::{
    Connection as _, Row as _, SqliteConnection,
    migrate::MigrateError,
    sqlite::{SqliteQueryResult, SqliteRow},
};
use tokio::sync::Mutex;

use crate::{
    Claim, Claimed, Idempotency, State, StateDir, StoreError,
    crypto::TAG_BYTES,
    keys::check_size,
    sql::{CLAIM, END, HOLDER, RELEASE, STATE},
};

/// Takes the write lock at once: a transaction that reads first can find that it may not write any more.
const BEGIN: &str = "BEGIN IMMEDIATE";

/// The claims and sessions of one agent, in `agents/<agent>/agent.db`.
///
/// Threads may share it, and any number of processes may have the same file open. Results are sealed by
/// the caller; tenants, tools, keys and decisions are in the clear.
#[derive(Debug)]
pub struct SqliteStore {
    path: PathBuf,
    /// The only connection: SQLite has one writer at a time anyway.
    connection: Mutex<SqliteConnection>,
}

impl SqliteStore {
    /// Opens the agent's database, and makes it if there is none. Starts a thread.
    ///
    /// # Errors
    /// When the file cannot be made, is damaged, is not a database of Casemate or is a newer one's, or when
    /// others have access to it. Nothing that is there is ever replaced.
    pub async fn open(state: &StateDir, agent: &str) -> Result<Self, StoreError> {
        let dir = state.agent_dir(agent)?;
        let path = dir.path(file::DATABASE);
        let mut connection = file::open(dir).await?;
        file::migrate(&mut connection, &path).await?;
        Ok(Self {
            path,
            connection: Mutex::new(connection),
        })
    }

    /// Waits until everything is in the database file and closes it. Dropping the store loses nothing
    /// either; the next one to open it has a little more to do.
    ///
    /// # Errors
    /// When the database cannot be closed.
    pub async fn close(self) -> Result<(), StoreError> {
        self.connection
            .into_inner()
            .close()
            .await
            .map_err(failed("close the database", &self.path))
    }

    /// Writes the database as it is at one moment to a new file at `to`, which can be put in its place. Others go on meanwhile.
    ///
    /// # Errors
    /// When it cannot be read or written, or there is a file at `to`.
    pub async fn snapshot(&self, to: &Path) -> Result<(), StoreError> {
        let mut connection = self.connection.lock().await;
        sqlx::query("VACUUM INTO $1")
            .bind(to.to_string_lossy())
            .execute(&mut *connection)
            .await
            .map_err(failed("copy the database", &self.path))?;
        drop(connection);
        file::finish_copy(to).await
    }

    async fn end(
        &self,
        decision: DecisionId,
        state: State,
        result: Option<Vec<u8>>,
    ) -> Result<(), StoreError> {
        let end = sqlx::query(END)
            .bind(decision.to_string())
            .bind(state.as_str())
            .bind(result)
            .bind(stored_ms(now_ms()));
        self.change("end a claim", decision, end).await
    }

    /// Runs a statement that has to change the one running claim of `decision`.
    async fn change(
        &self,
        step: &'static str,
        decision: DecisionId,
        statement: Query<'_>,
    ) -> Result<(), StoreError> {
        let mut connection = self.connection.lock().await;
        let done: SqliteQueryResult = statement
            .execute(&mut *connection)
            .await
            .map_err(failed(step, &self.path))?;
        if done.rows_affected() == 1 {
            return Ok(());
        }
        let state: Option<String> = sqlx::query_scalar(STATE)
            .bind(decision.to_string())
            .fetch_optional(&mut *connection)
            .await
            .map_err(failed(step, &self.path))?;
        match state {
            None => Err(StoreError::NoClaim { decision }),
            Some(word) => Err(StoreError::ClaimEnded {
                decision,
                state: self.state(&word)?,
            }),
        }
    }

    fn holder(&self, claim: &Claim<'_>, row: &SqliteRow) -> Result<Claimed, StoreError> {
        let read = failed("read a claim", &self.path);
        let (action, decision, word, result) = columns(row).map_err(read)?;
        let decision = decision
            .parse()
            .map_err(|error| self.value("a decision id", error))?;
        let action = <[u8; 32]>::try_from(action)
            .map(Digest::from_bytes)
            .map_err(|_| self.value("an action", "it has not 32 bytes"))?;
        if action != claim.action {
            return Ok(Claimed::Conflict { decision });
        }
        Ok(match self.state(&word)? {
            State::Running => Claimed::InFlight { decision },
            State::Unknown => Claimed::Unknown { decision },
            State::Finished => Claimed::Finished {
                decision,
                result: result
                    .map(|json| serde_json::from_slice(&json))
                    .transpose()
                    .map_err(|error| self.value("a result", error))?,
            },
        })
    }

    /// How many rows a statement changed.
    async fn changed(&self, step: &'static str, statement: Query<'_>) -> Result<u64, StoreError> {
        let mut connection = self.connection.lock().await;
        let done = statement.execute(&mut *connection).await;
        done.map(|done| done.rows_affected())
            .map_err(failed(step, &self.path))
    }

    fn state(&self, word: &str) -> Result<State, StoreError> {
        State::from_word(word).ok_or_else(|| self.value("a state", "it is not one of the words"))
    }

    fn value(
        &self,
        what: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> StoreError {
        StoreError::Value {
            path: self.path.clone(),
            what,
            source: source.into(),
        }
    }
}

type Query<'q> = sqlx::query::Query<'q, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>;

impl Idempotency for SqliteStore {
    async fn claim(&self, claim: &Claim<'_>) -> Result<Claimed, StoreError> {
        claim.check()?;
        let failed = || failed("claim an idempotency key", &self.path);
        let mut connection = self.connection.lock().await;
        let mut transaction = connection.begin_with(BEGIN).await.map_err(failed())?;
        let inserted = sqlx::query(CLAIM)
            .bind(claim.tenant)
            .bind(claim.tool)
            .bind(claim.key)
            .bind(claim.action.as_bytes().as_slice())
            .bind(claim.decision.to_string())
            .bind(stored_ms(claim.at_ms))
            .execute(&mut *transaction)
            .await
            .map_err(failed())?;
        if inserted.rows_affected() == 1 {
            transaction.commit().await.map_err(failed())?;
            return Ok(Claimed::New);
        }
        let row = sqlx::query(HOLDER)
            .bind(claim.tenant)
            .bind(claim.tool)
            .bind(claim.key)
            .fetch_optional(&mut *transaction)
            .await
            .map_err(failed())?;
        transaction.rollback().await.map_err(failed())?;
        match row {
            Some(row) => self.holder(claim, &row),
            // The key is free, so what is taken is the decision.
            None => Err(StoreError::DecisionReused {
                decision: claim.decision,
            }),
        }
    }

    async fn finish(
        &self,
        decision: DecisionId,
        result: Option<&Sealed>,
    ) -> Result<(), StoreError> {
        let json = match result {
            Some(sealed) => {
                check_size(sealed.ciphertext.len().saturating_sub(TAG_BYTES))?;
                let json = serde_json::to_vec(sealed);
                Some(json.map_err(|error| self.value("a result", error))?)
            }
            None => None,
        };
        self.end(decision, State::Finished, json).await
    }

    async fn mark_unknown(&self, decision: DecisionId) -> Result<(), StoreError> {
        self.end(decision, State::Unknown, None).await
    }

    async fn release(&self, decision: DecisionId) -> Result<(), StoreError> {
        let release = sqlx::query(RELEASE).bind(decision.to_string());
        self.change("release a claim", decision, release).await
    }
}

type Columns = (Vec<u8>, String, String, Option<Vec<u8>>);

fn columns(row: &SqliteRow) -> Result<Columns, sqlx::Error> {
    Ok((
        row.try_get("action")?,
        row.try_get("decision")?,
        row.try_get("state")?,
        row.try_get("result")?,
    ))
}

/// The latest time that SQL can hold stands for everything after it.
fn stored_ms(unix_ms: u64) -> i64 {
    i64::try_from(unix_ms).unwrap_or(i64::MAX)
}

fn read_ms(stored: i64) -> u64 {
    u64::try_from(stored).unwrap_or_default()
}

fn now_ms() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
    since_1970.map_or(0, |elapsed| {
        u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
    })
}

/// What a database error means for the one who reads it.
fn failed(step: &'static str, path: &Path) -> impl FnOnce(sqlx::Error) -> StoreError {
    let path = path.to_owned();
    move |source| match primary_code(&source) {
        Some(SQLITE_CORRUPT | SQLITE_NOTADB) => StoreError::Corrupt { path, source },
        Some(SQLITE_BUSY | SQLITE_LOCKED) => StoreError::Busy { path, source },
        _ => StoreError::Database { step, path, source },
    }
}

fn schema(path: &Path) -> impl FnOnce(MigrateError) -> StoreError {
    let path = path.to_owned();
    move |source| match source {
        MigrateError::Execute(source) | MigrateError::ExecuteMigration(source, _) => {
            failed("bring the schema up to date", &path)(source)
        }
        source => StoreError::Schema { path, source },
    }
}

// https://sqlite.org/rescode.html
const SQLITE_BUSY: i32 = 5;
const SQLITE_LOCKED: i32 = 6;
const SQLITE_CORRUPT: i32 = 11;
const SQLITE_NOTADB: i32 = 26;

fn primary_code(error: &sqlx::Error) -> Option<i32> {
    let code: i32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(code & 0xff)
}
