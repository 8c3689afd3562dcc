//! Where an agent has been.

use std::{future::Future, sync::Arc};

use crate::StoreError;

/// The most destinations that are remembered for one tenant of an agent. Those that were noted longest ago are forgotten.
pub const MAX_DESTINATIONS: u32 = 1_024;

/// Remembers destinations that have answered an agent. What it has answered is durable.
pub trait DestinationStore {
    /// Notes that a destination has answered.
    ///
    /// # Errors
    /// [`StoreError::Name`] when a name cannot be stored, and when the store fails.
    fn note_destination(
        &self,
        tenant: &str,
        host: &str,
        port: u16,
        at_ms: u64,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Those that have.
    ///
    /// # Errors
    /// When the store fails.
    fn destinations(
        &self,
        tenant: &str,
    ) -> impl Future<Output = Result<Vec<(String, u16)>, StoreError>> + Send;
}

impl<T: DestinationStore + Send + Sync> DestinationStore for Arc<T> {
    async fn note_destination(
        &self,
        tenant: &str,
        host: &str,
        port: u16,
        at_ms: u64,
    ) -> Result<(), StoreError> {
        T::note_destination(self, tenant, host, port, at_ms).await
    }

    async fn destinations(&self, tenant: &str) -> Result<Vec<(String, u16)>, StoreError> {
        T::destinations(self, tenant).await
    }
}
