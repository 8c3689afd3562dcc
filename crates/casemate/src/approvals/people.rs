//! Who may approve calls, and who may still call when a call had to wait.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use casemate_bundle::{Approver as Enlisted, PolicyKey, PolicyStore};
use casemate_gateway::{Approver, Approvers, Operation, Renewal};
use casemate_model::Reason;
use casemate_policy::{Authenticator, Claims, Token, Verified};
use serde_json::{Value, json};

use crate::{
    exit::Exit,
    policy::operate,
    report::{self, Failure, one_line},
    run::local_claims,
    state,
};

/// The approvers of a state directory, read each time: whoever was dismissed counts no more.
#[derive(Debug)]
pub(crate) struct People(PathBuf);

impl People {
    pub(crate) fn new(root: &Path) -> Self {
        Self(state::policy_in(root))
    }

    fn store(&self) -> Result<PolicyStore, String> {
        PolicyStore::open(&self.0).map_err(|error| one_line(&error))
    }
}

fn as_approver(enlisted: &Enlisted) -> Approver {
    Approver {
        user: enlisted.user.clone(),
        roles: enlisted.roles.clone(),
        key: enlisted.key.to_string(),
    }
}

impl Approvers for People {
    fn open(&self, note: &str) -> Result<(String, Approver), String> {
        let list = self
            .store()?
            .approvers()
            .map_err(|error| one_line(&error))?;
        let (text, approver) = list.open(note).map_err(|error| one_line(&error))?;
        Ok((text, as_approver(&approver)))
    }

    fn all(&self) -> Result<Vec<Approver>, String> {
        let list = self
            .store()?
            .approvers()
            .map_err(|error| one_line(&error))?;
        Ok(list.all().iter().map(as_approver).collect())
    }
}

/// A local user may call for as long as they may connect.
#[derive(Debug)]
pub(crate) struct LocalRenewal;

impl Renewal for LocalRenewal {
    fn until_ms(&self, _: &Token, by: Authenticator) -> u64 {
        match by {
            Authenticator::LocalUser => u64::MAX,
        }
    }

    fn renew(&self, token: &Token, by: Authenticator) -> Option<Verified<Claims>> {
        match by {
            Authenticator::LocalUser => {
                let now = local_claims();
                let scopes: BTreeSet<_> = now.scopes.intersection(&token.scopes).cloned().collect();
                let same = now.subject == token.subject && now.tenant == token.tenant;
                let claims = Claims { scopes, ..now };
                same.then(|| Verified::vouch(claims, Authenticator::LocalUser))
            }
        }
    }
}

fn store() -> Result<PolicyStore, Failure> {
    let root = state::path()?;
    casemate_store::StateDir::open(&root).map_err(Failure::failed)?;
    PolicyStore::open(&state::policy_in(&root)).map_err(Failure::failed)
}

pub(super) fn list() -> Result<Exit, Failure> {
    let list = store()?.approvers().map_err(Failure::failed)?;
    report::print(format_args!("{list}"))?;
    Ok(Exit::Success)
}

pub(super) fn new_key(file: &Path, name: &str) -> Result<Exit, Failure> {
    let key = PolicyKey::generate(name).map_err(Failure::usage)?;
    key.save(file).map_err(Failure::failed)?;
    report::print(format_args!("{}\n", key.public()))?;
    Ok(Exit::Success)
}

pub(super) fn enlist(user: &str, key: &str, roles: Vec<String>) -> Result<Exit, Failure> {
    let key = key.parse().map_err(Failure::usage)?;
    let approver = Enlisted::new(user, roles, key).map_err(Failure::usage)?;
    let subject = json!({
        "user": approver.user,
        "roles": approver.roles,
        "key": approver.key.to_string(),
    });
    let store = store()?;
    operate(operation("approver.enlist", subject), || {
        store.enlist(approver).map_err(Failure::failed)
    })?;
    Ok(Exit::Success)
}

pub(super) fn dismiss(user: &str) -> Result<Exit, Failure> {
    let store = store()?;
    let mut found = false;
    operate(
        operation("approver.dismiss", json!({ "user": user })),
        || {
            found = store.dismiss(user).map_err(Failure::failed)?;
            Ok(())
        },
    )?;
    match found {
        true => Ok(Exit::Success),
        false => Err(Failure::invalid(anyhow::anyhow!(
            "nobody called `{}` may approve calls",
            user.escape_debug()
        ))),
    }
}

/// Whoever may do this can have calls approved: it raises an alert.
fn operation(what: &'static str, subject: Value) -> Operation {
    Operation {
        what,
        reason: Reason::Allowed,
        detail: "who may approve calls".to_owned(),
        alert: true,
        subject,
    }
}
