//! Whether those who stay connected are still believed.

use std::sync::Arc;

use casemate_callers::Permission;
use casemate_model::Authenticator;

use crate::{
    routes::{Keeps, Remembers},
    state::Api,
    who::Who,
};

impl<K: Keeps, P: Remembers> Api<K, P> {
    /// Whether somebody who was believed may still do this. Not if that cannot be told. The local user is named by the kernel for as
    /// long as the connection lasts.
    pub(crate) async fn still_may(self: &Arc<Self>, who: &Who, permission: Permission) -> bool {
        if who.get().authority() == Authenticator::LocalUser {
            return true;
        }
        let who = who.clone();
        let stands = self.blocking(move |api| {
            let now_ms = api.sessions.clock().now_ms();
            api.callers
                .as_ref()
                .is_some_and(|callers| callers.check_again(who.get(), permission, now_ms).is_ok())
        });
        matches!(stands.await, Ok(true))
    }
}
