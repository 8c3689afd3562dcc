//! Where the idempotency keys of agents are.

use std::future::Future;

use casemate_store::{Idempotency, StoreError};

/// Finds the store of an agent. Nothing is opened for a call without an idempotency key.
pub trait Stores {
    /// The store of one agent (I10).
    type Store: Idempotency;

    /// Opens the store of `agent` and makes it if there is none.
    fn open(&self, agent: &str) -> impl Future<Output = Result<Self::Store, StoreError>>;

    /// Opens the store of `agent` if there is one.
    fn find(&self, agent: &str) -> impl Future<Output = Result<Option<Self::Store>, StoreError>>;
}
