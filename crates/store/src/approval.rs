//! The calls of an agent that wait for a person, and what became of them.

use std::{future::Future, sync::Arc};

use casemate_model::{ApprovalState, DecisionId, Digest, Sealed};

use crate::{StoreError, session::check_name};

/// A call that waits, or waited, for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApprovalRecord {
    /// The call.
    pub decision: DecisionId,
    /// Whose data it touches.
    pub tenant: String,
    /// Its tool.
    pub tool: String,
    /// The idempotency key that its caller chose.
    pub key: Option<String>,
    /// The hash of the canonical call.
    pub action: Digest,
    /// How far it has come.
    pub state: ApprovalState,
    /// When it was held, in milliseconds since 1970.
    pub held_at_ms: u64,
    /// When the wait ends, or the consent, in milliseconds since 1970.
    pub expires_at_ms: u64,
    /// When it last changed, in milliseconds since 1970.
    pub changed_at_ms: u64,
    /// Whether the call has ended that was approved.
    pub ended: bool,
    /// Counts the changes.
    pub version: u64,
    /// The call, sealed by the caller of the store. Absent in lists.
    pub request: Option<Sealed>,
    /// The votes, sealed by the caller of the store.
    pub votes: Option<Sealed>,
}

/// Remembers the calls that wait for a person. What it has answered is durable.
pub trait ApprovalStore {
    /// Notes a call that waits.
    ///
    /// # Errors
    /// [`StoreError::Name`] when a name cannot be stored, [`StoreError::ApprovalHeld`] when it, or its key, waits
    /// already, and when the store fails.
    fn add_approval(
        &self,
        approval: &ApprovalRecord,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Puts `next` in the place of the record with its decision and the version before its own. Says whether it was: of
    /// several who saw the same version, one is.
    ///
    /// # Errors
    /// When the store fails.
    fn change_approval(
        &self,
        next: &ApprovalRecord,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Puts `request` in the place of what is kept of a call that waits no more. Says whether it did.
    ///
    /// # Errors
    /// When the store fails.
    fn replace_request(
        &self,
        decision: DecisionId,
        request: &Sealed,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// The record of a call, whole.
    ///
    /// # Errors
    /// When the store fails.
    fn approval(
        &self,
        decision: DecisionId,
    ) -> impl Future<Output = Result<Option<ApprovalRecord>, StoreError>> + Send;

    /// The record that waits under this key, without its call.
    ///
    /// # Errors
    /// When the store fails.
    fn approval_of_key(
        &self,
        tenant: &str,
        tool: &str,
        key: &str,
    ) -> impl Future<Output = Result<Option<ApprovalRecord>, StoreError>> + Send;

    /// The newest of a tenant, at most so many, without their calls.
    ///
    /// # Errors
    /// When the store fails.
    fn approvals(
        &self,
        tenant: &str,
        state: Option<ApprovalState>,
        most: u32,
    ) -> impl Future<Output = Result<Vec<ApprovalRecord>, StoreError>> + Send;

    /// Every one that waits, was approved, or was approved and has not ended, the oldest first, without their calls.
    ///
    /// # Errors
    /// When the store fails.
    fn open_approvals(
        &self,
    ) -> impl Future<Output = Result<Vec<ApprovalRecord>, StoreError>> + Send;

    /// Forgets those that are over and did not change since `at_ms`. Says how many.
    ///
    /// # Errors
    /// When the store fails.
    fn forget_approvals(&self, at_ms: u64) -> impl Future<Output = Result<u64, StoreError>> + Send;
}

impl ApprovalRecord {
    /// Refuses what no driver should have to store.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        check_name("the tenant", &self.tenant)?;
        check_name("the tool", &self.tool)?;
        match &self.key {
            Some(key) => check_name("the key", key),
            None => Ok(()),
        }
    }
}

impl<T: ApprovalStore + Send + Sync> ApprovalStore for Arc<T> {
    async fn add_approval(&self, approval: &ApprovalRecord) -> Result<(), StoreError> {
        T::add_approval(self, approval).await
    }

    async fn change_approval(&self, next: &ApprovalRecord) -> Result<bool, StoreError> {
        T::change_approval(self, next).await
    }

    async fn replace_request(
        &self,
        decision: DecisionId,
        request: &Sealed,
    ) -> Result<bool, StoreError> {
        T::replace_request(self, decision, request).await
    }

    async fn approval(&self, decision: DecisionId) -> Result<Option<ApprovalRecord>, StoreError> {
        T::approval(self, decision).await
    }

    async fn approval_of_key(
        &self,
        tenant: &str,
        tool: &str,
        key: &str,
    ) -> Result<Option<ApprovalRecord>, StoreError> {
        T::approval_of_key(self, tenant, tool, key).await
    }

    async fn approvals(
        &self,
        tenant: &str,
        state: Option<ApprovalState>,
        most: u32,
    ) -> Result<Vec<ApprovalRecord>, StoreError> {
        T::approvals(self, tenant, state, most).await
    }

    async fn open_approvals(&self) -> Result<Vec<ApprovalRecord>, StoreError> {
        T::open_approvals(self).await
    }

    async fn forget_approvals(&self, at_ms: u64) -> Result<u64, StoreError> {
        T::forget_approvals(self, at_ms).await
    }
}
