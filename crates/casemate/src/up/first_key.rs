//! The first API key of a server.

use std::path::Path;

use casemate_callers::{NewApiKey, Role, keys_in};
use casemate_gateway::{Clock as _, Operation};
use casemate_model::Reason;

use crate::{
    callers::subject_of, policy::operate_in, report::Failure, run::local_claims, state::callers_in,
    system::System,
};

/// For how long it is valid.
pub(super) const DAYS: u64 = 30;

const DAY_MS: u64 = 24 * 3_600_000;

/// Makes a key if there never was one: for whoever runs calls of this user's tenant, and no more. `say` is told its name and its
/// text, which is kept nowhere: a key that cannot be said is taken back.
pub(super) fn make(
    root: &Path,
    say: impl FnOnce(&str, &str) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let keys = keys_in(&callers_in(root), "").map_err(Failure::failed)?;
    if !keys.list().map_err(Failure::failed)?.is_empty() {
        return Ok(());
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
    operate_in(root, operation, || {
        let made = keys.create(&new, System.now_ms());
        let (key, text) = made.map_err(Failure::failed)?;
        say(&key.id, &text).map_err(|unsaid| match keys.revoke(&key.id, System.now_ms()) {
            Ok(()) => unsaid,
            Err(error) => Failure::failed(error)
                .context(format!(
                    "nobody was told the key {}, and it still counts",
                    key.id
                ))
                .hint("take it back by `casemate callers keys revoke`"),
        })
    })?;
    Ok(())
}
