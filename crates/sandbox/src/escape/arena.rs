//! Where attempts are let loose.

use std::{future::Future, path::PathBuf};

use casemate_ports::{Keeper, KeeperError};

use super::Way;
use crate::{GvisorKeeper, NamespaceKeeper};

/// A keeper whose sandboxes are attacked.
pub trait Arena: Keeper {
    /// How attempts run in it.
    fn way(&self) -> Way;

    /// The pid namespace of a call's processes, as a link of `/proc` names it, where its sandbox is there for more than it.
    fn processes(_sandbox: &Self::Sandbox) -> Option<PathBuf> {
        None
    }

    /// Who came to the way out of the other call of an attempt that has one, a finding each.
    fn visits_to_neighbour(&self) -> Vec<String> {
        Vec::new()
    }

    /// Destroys everything that lasts longer than its call.
    ///
    /// # Errors
    /// When that cannot be done.
    fn clear(&self) -> impl Future<Output = Result<(), KeeperError>>;
}

impl Arena for NamespaceKeeper {
    fn way(&self) -> Way {
        Way::Once
    }

    async fn clear(&self) -> Result<(), KeeperError> {
        // A sandbox that is used once dies with its value.
        Ok(())
    }
}

impl Arena for GvisorKeeper {
    fn way(&self) -> Way {
        Way::Gvisor
    }

    async fn clear(&self) -> Result<(), KeeperError> {
        Ok(())
    }
}
