//! Approvals in SQLite, beside the claims.

use casemate_model::{ApprovalState, DecisionId, Digest, Sealed};
use sqlx::{Row as _, sqlite::SqliteRow};

use super::{Query, SqliteStore, failed, read_ms, stored_ms};
use crate::{
    ApprovalRecord, ApprovalStore, StoreError,
    sql::{
        ADD_APPROVAL, APPROVAL, APPROVAL_OF_KEY, APPROVALS, CHANGE_APPROVAL, FORGET_APPROVALS,
        OPEN_APPROVALS, REPLACE_REQUEST,
    },
};

impl SqliteStore {
    async fn approval_records(
        &self,
        statement: Query<'_>,
    ) -> Result<Vec<ApprovalRecord>, StoreError> {
        let mut connection = self.connection.lock().await;
        let rows = statement.fetch_all(&mut *connection).await;
        let rows = rows.map_err(failed("read approvals", &self.path))?;
        rows.iter().map(|row| self.approval_record(row)).collect()
    }

    fn approval_record(&self, row: &SqliteRow) -> Result<ApprovalRecord, StoreError> {
        let row = columns(row).map_err(failed("read an approval", &self.path))?;
        let action = <[u8; 32]>::try_from(row.action).map(Digest::from_bytes);
        let state = ApprovalState::from_word(&row.state);
        Ok(ApprovalRecord {
            decision: row
                .decision
                .parse()
                .map_err(|error| self.value("a decision id", error))?,
            tenant: row.tenant,
            tool: row.tool,
            key: row.key,
            action: action.map_err(|_| self.value("an action", "it has not 32 bytes"))?,
            state: state.ok_or_else(|| self.value("a state", "it is not one of the words"))?,
            held_at_ms: read_ms(row.held_at_ms),
            expires_at_ms: read_ms(row.expires_at_ms),
            changed_at_ms: read_ms(row.changed_at_ms),
            ended: row.ended != 0,
            version: read_ms(row.version),
            request: self.sealed(row.request)?,
            votes: self.sealed(row.votes)?,
        })
    }

    fn sealed(&self, json: Option<Vec<u8>>) -> Result<Option<Sealed>, StoreError> {
        json.map(|json| serde_json::from_slice(&json))
            .transpose()
            .map_err(|error| self.value("sealed content", error))
    }

    fn json(&self, sealed: Option<&Sealed>) -> Result<Option<Vec<u8>>, StoreError> {
        sealed
            .map(serde_json::to_vec)
            .transpose()
            .map_err(|error| self.value("sealed content", error))
    }
}

impl ApprovalStore for SqliteStore {
    async fn add_approval(&self, approval: &ApprovalRecord) -> Result<(), StoreError> {
        approval.check()?;
        let add = sqlx::query(ADD_APPROVAL)
            .bind(approval.decision.to_string())
            .bind(&approval.tenant)
            .bind(&approval.tool)
            .bind(&approval.key)
            .bind(approval.action.as_bytes().as_slice())
            .bind(approval.state.as_str())
            .bind(stored_ms(approval.held_at_ms))
            .bind(stored_ms(approval.expires_at_ms))
            .bind(stored_ms(approval.changed_at_ms))
            .bind(self.json(approval.request.as_ref())?)
            .bind(self.json(approval.votes.as_ref())?);
        match self.changed("add an approval", add).await? {
            1 => Ok(()),
            _ => Err(StoreError::ApprovalHeld {
                decision: approval.decision,
            }),
        }
    }

    async fn change_approval(&self, next: &ApprovalRecord) -> Result<bool, StoreError> {
        let change = sqlx::query(CHANGE_APPROVAL)
            .bind(next.decision.to_string())
            .bind(next.state.as_str())
            .bind(stored_ms(next.expires_at_ms))
            .bind(stored_ms(next.changed_at_ms))
            .bind(i64::from(next.ended))
            .bind(stored_ms(next.version))
            .bind(self.json(next.votes.as_ref())?);
        Ok(self.changed("change an approval", change).await? == 1)
    }

    async fn replace_request(
        &self,
        decision: DecisionId,
        request: &Sealed,
    ) -> Result<bool, StoreError> {
        let replace = sqlx::query(REPLACE_REQUEST)
            .bind(decision.to_string())
            .bind(self.json(Some(request))?);
        Ok(self.changed("change an approval", replace).await? == 1)
    }

    async fn approval(&self, decision: DecisionId) -> Result<Option<ApprovalRecord>, StoreError> {
        let query = sqlx::query(APPROVAL).bind(decision.to_string());
        Ok(self.approval_records(query).await?.pop())
    }

    async fn approval_of_key(
        &self,
        tenant: &str,
        tool: &str,
        key: &str,
    ) -> Result<Option<ApprovalRecord>, StoreError> {
        let query = sqlx::query(APPROVAL_OF_KEY)
            .bind(tenant)
            .bind(tool)
            .bind(key);
        Ok(self.approval_records(query).await?.pop())
    }

    async fn approvals(
        &self,
        tenant: &str,
        state: Option<ApprovalState>,
        most: u32,
    ) -> Result<Vec<ApprovalRecord>, StoreError> {
        let query = sqlx::query(APPROVALS)
            .bind(tenant)
            .bind(state.map(ApprovalState::as_str))
            .bind(i64::from(most));
        self.approval_records(query).await
    }

    async fn open_approvals(&self) -> Result<Vec<ApprovalRecord>, StoreError> {
        self.approval_records(sqlx::query(OPEN_APPROVALS)).await
    }

    async fn forget_approvals(&self, at_ms: u64) -> Result<u64, StoreError> {
        let forget = sqlx::query(FORGET_APPROVALS).bind(stored_ms(at_ms));
        self.changed("forget approvals", forget).await
    }
}

struct Columns {
    decision: String,
    tenant: String,
    tool: String,
    key: Option<String>,
    action: Vec<u8>,
    state: String,
    held_at_ms: i64,
    expires_at_ms: i64,
    changed_at_ms: i64,
    ended: i64,
    version: i64,
    request: Option<Vec<u8>>,
    votes: Option<Vec<u8>>,
}

fn columns(row: &SqliteRow) -> Result<Columns, sqlx::Error> {
    Ok(Columns {
        decision: row.try_get("decision")?,
        tenant: row.try_get("tenant")?,
        tool: row.try_get("tool")?,
        key: row.try_get("key")?,
        action: row.try_get("action")?,
        state: row.try_get("state")?,
        held_at_ms: row.try_get("held_at_ms")?,
        expires_at_ms: row.try_get("expires_at_ms")?,
        changed_at_ms: row.try_get("changed_at_ms")?,
        ended: row.try_get("ended")?,
        version: row.try_get("version")?,
        request: row.try_get("request")?,
        votes: row.try_get("votes")?,
    })
}
