//! Sessions in SQLite, beside the claims.

use casemate_model::{Digest, SessionId};
use sqlx::{Row as _, sqlite::SqliteRow};

use super::{Query, SqliteStore, failed, read_ms, stored_ms};
use crate::{
    SessionEnd, SessionPause, SessionRecord, SessionStore, StoreError,
    session::check_name,
    sql::{
        ADD_SESSION, END_SESSION, FORGET_SESSIONS, LIVING_SESSIONS, PAUSE_SESSION, RESUME_SESSION,
        SESSION, SESSIONS, TELL_SESSION, THREAD_SESSION, USE_SESSION,
    },
};

impl SqliteStore {
    async fn records(&self, statement: Query<'_>) -> Result<Vec<SessionRecord>, StoreError> {
        let mut connection = self.connection.lock().await;
        let rows = statement.fetch_all(&mut *connection).await;
        let rows = rows.map_err(failed("read sessions", &self.path))?;
        rows.iter().map(|row| self.record(row)).collect()
    }

    fn record(&self, row: &SqliteRow) -> Result<SessionRecord, StoreError> {
        let read = failed("read a session", &self.path);
        let row = columns(row).map_err(read)?;
        let profile = <[u8; 32]>::try_from(row.profile).map(Digest::from_bytes);
        Ok(SessionRecord {
            id: row
                .id
                .parse()
                .map_err(|error| self.value("a session id", error))?,
            tenant: row.tenant,
            thread: row.thread,
            image: row.image,
            profile: profile.map_err(|_| self.value("a profile", "it has not 32 bytes"))?,
            created_at_ms: read_ms(row.created_at_ms),
            used_at_ms: read_ms(row.used_at_ms),
            paused: row.paused_image.map(|image| SessionPause {
                image,
                bytes: read_ms(row.paused_bytes.unwrap_or_default()),
                at_ms: read_ms(row.paused_at_ms.unwrap_or_default()),
                until_ms: read_ms(row.paused_until_ms.unwrap_or_default()),
            }),
            end: row.gone.map(|why| SessionEnd {
                why,
                at_ms: read_ms(row.gone_at_ms.unwrap_or_default()),
                told: row.told != 0,
            }),
        })
    }
}

impl SessionStore for SqliteStore {
    async fn add_session(&self, session: &SessionRecord) -> Result<(), StoreError> {
        session.check()?;
        let add = sqlx::query(ADD_SESSION)
            .bind(session.id.to_string())
            .bind(&session.tenant)
            .bind(&session.thread)
            .bind(&session.image)
            .bind(session.profile.as_bytes().as_slice())
            .bind(stored_ms(session.created_at_ms))
            .bind(stored_ms(session.used_at_ms));
        match self.changed("add a session", add).await? {
            1 => Ok(()),
            _ => Err(StoreError::SessionHeld {
                session: session.id,
            }),
        }
    }

    async fn use_session(&self, session: SessionId, at_ms: u64) -> Result<(), StoreError> {
        let used = sqlx::query(USE_SESSION)
            .bind(session.to_string())
            .bind(stored_ms(at_ms));
        self.changed("note the use of a session", used).await?;
        Ok(())
    }

    async fn end_session(
        &self,
        session: SessionId,
        why: &str,
        at_ms: u64,
    ) -> Result<bool, StoreError> {
        check_name("the end of a session", why)?;
        let end = sqlx::query(END_SESSION)
            .bind(session.to_string())
            .bind(why)
            .bind(stored_ms(at_ms));
        Ok(self.changed("end a session", end).await? == 1)
    }

    async fn pause_session(
        &self,
        session: SessionId,
        pause: &SessionPause,
    ) -> Result<bool, StoreError> {
        check_name("the files of a paused session", &pause.image)?;
        let paused = sqlx::query(PAUSE_SESSION)
            .bind(session.to_string())
            .bind(&pause.image)
            .bind(stored_ms(pause.bytes))
            .bind(stored_ms(pause.at_ms))
            .bind(stored_ms(pause.until_ms));
        Ok(self.changed("pause a session", paused).await? == 1)
    }

    async fn resume_session(
        &self,
        session: SessionId,
        image: &str,
        at_ms: u64,
    ) -> Result<bool, StoreError> {
        let resumed = sqlx::query(RESUME_SESSION)
            .bind(session.to_string())
            .bind(image)
            .bind(stored_ms(at_ms));
        Ok(self.changed("resume a session", resumed).await? == 1)
    }

    async fn tell_session(&self, session: SessionId) -> Result<bool, StoreError> {
        let tell = sqlx::query(TELL_SESSION).bind(session.to_string());
        Ok(self.changed("note that an end was told", tell).await? == 1)
    }

    async fn session(&self, session: SessionId) -> Result<Option<SessionRecord>, StoreError> {
        let query = sqlx::query(SESSION).bind(session.to_string());
        Ok(self.records(query).await?.pop())
    }

    async fn thread_session(
        &self,
        tenant: &str,
        thread: &str,
    ) -> Result<Option<SessionRecord>, StoreError> {
        let query = sqlx::query(THREAD_SESSION).bind(tenant).bind(thread);
        Ok(self.records(query).await?.pop())
    }

    async fn sessions(&self, tenant: &str, most: u32) -> Result<Vec<SessionRecord>, StoreError> {
        let query = sqlx::query(SESSIONS).bind(tenant).bind(i64::from(most));
        self.records(query).await
    }

    async fn living_sessions(&self) -> Result<Vec<SessionRecord>, StoreError> {
        self.records(sqlx::query(LIVING_SESSIONS)).await
    }

    async fn forget_sessions(&self, at_ms: u64) -> Result<u64, StoreError> {
        let forget = sqlx::query(FORGET_SESSIONS).bind(stored_ms(at_ms));
        self.changed("forget sessions", forget).await
    }
}

struct Columns {
    id: String,
    tenant: String,
    thread: Option<String>,
    image: String,
    profile: Vec<u8>,
    created_at_ms: i64,
    used_at_ms: i64,
    paused_image: Option<String>,
    paused_bytes: Option<i64>,
    paused_at_ms: Option<i64>,
    paused_until_ms: Option<i64>,
    gone: Option<String>,
    gone_at_ms: Option<i64>,
    told: i64,
}

fn columns(row: &SqliteRow) -> Result<Columns, sqlx::Error> {
    Ok(Columns {
        id: row.try_get("id")?,
        tenant: row.try_get("tenant")?,
        thread: row.try_get("thread")?,
        image: row.try_get("image")?,
        profile: row.try_get("profile")?,
        created_at_ms: row.try_get("created_at_ms")?,
        used_at_ms: row.try_get("used_at_ms")?,
        paused_image: row.try_get("paused_image")?,
        paused_bytes: row.try_get("paused_bytes")?,
        paused_at_ms: row.try_get("paused_at_ms")?,
        paused_until_ms: row.try_get("paused_until_ms")?,
        gone: row.try_get("gone")?,
        gone_at_ms: row.try_get("gone_at_ms")?,
        told: row.try_get("told")?,
    })
}
