//! The first API key of a server.

use std::path::Path;

use casemate_callers::{NewApiKey, Role, keys_in};
use casemate_gateway::{Clock as _, Operation};
use casemate_model::Reason;
use zeroize::Zeroizing;

use crate::{
    callers::subject_of, policy::operate_in, report::Failure, run::local_claims, state::callers_in,
    system::System,
};

/// For how long it is valid.
pub(super) const DAYS: u64 = 30;

const DAY_MS: u64 = 24 * 3_600_000;

/// Makes a key if there never was one: for whoever runs calls of this user's tenant, and no more. Gives its name and its text,
/// which is kept nowhere.
pub(super) fn make(root: &Path) -> Result<Option<(String, Zeroizing<String>)>, Failure> {
    let keys = keys_in(&callers_in(root), "").map_err(Failure::failed)?;
    if !keys.list().map_err(Failure::failed)?.is_empty() {
        return Ok(None);
    }
    let local = local_claims();
    let new = NewApiKey {
        subject: "first".to_owned(),
        tenant: local.tenant,
        scopes: local.scopes,
        roles: [Role::Operator].into(),
        ttl_ms: DAYS * DAY_MS,
    };
    let operation = Operation {
        what: "api_key.create",
        reason: Reason::Allowed,
        detail: "the first key of this server".to_owned(),
        alert: true,
        subject: subject_of(&new),
    };
    let mut made = None;
    operate_in(root, operation, || {
        made = Some(
            keys.create(&new, System.now_ms())
                .map_err(Failure::failed)?,
        );
        Ok(())
    })?;
    Ok(made.map(|(key, text)| (key.id, text)))
}
