//! Destinations in SQLite, beside the claims.

use sqlx::{Connection as _, Row as _, sqlite::SqliteRow};

use super::{BEGIN, SqliteStore, failed, stored_ms};
use crate::{
    DestinationStore, MAX_DESTINATIONS, StoreError,
    session::check_name,
    sql::{DESTINATIONS, FORGET_DESTINATIONS, NOTE_DESTINATION},
};

impl DestinationStore for SqliteStore {
    async fn note_destination(
        &self,
        tenant: &str,
        host: &str,
        port: u16,
        at_ms: u64,
    ) -> Result<(), StoreError> {
        check_name("the tenant", tenant)?;
        check_name("the host", host)?;
        let failed = || failed("note a destination", &self.path);
        let mut connection = self.connection.lock().await;
        let mut transaction = connection.begin_with(BEGIN).await.map_err(failed())?;
        let noted = sqlx::query(NOTE_DESTINATION)
            .bind(tenant)
            .bind(host)
            .bind(i64::from(port))
            .bind(stored_ms(at_ms));
        noted.execute(&mut *transaction).await.map_err(failed())?;
        let forgotten = sqlx::query(FORGET_DESTINATIONS)
            .bind(tenant)
            .bind(i64::from(MAX_DESTINATIONS));
        forgotten
            .execute(&mut *transaction)
            .await
            .map_err(failed())?;
        transaction.commit().await.map_err(failed())
    }

    async fn destinations(&self, tenant: &str) -> Result<Vec<(String, u16)>, StoreError> {
        let mut connection = self.connection.lock().await;
        let rows = sqlx::query(DESTINATIONS).bind(tenant);
        let rows = rows.fetch_all(&mut *connection).await;
        let rows = rows.map_err(failed("read destinations", &self.path))?;
        rows.iter().map(|row| self.destination(row)).collect()
    }
}

impl SqliteStore {
    fn destination(&self, row: &SqliteRow) -> Result<(String, u16), StoreError> {
        let columns = || Ok((row.try_get("host")?, row.try_get::<i64, _>("port")?));
        let (host, port) = columns().map_err(failed("read a destination", &self.path))?;
        let port = u16::try_from(port).map_err(|error| self.value("a port", error))?;
        Ok((host, port))
    }
}
