//! Who may approve calls.

use std::path::{Path, PathBuf};

use casemate_bundle::{Approver as Enlisted, PolicyStore, PolicyStoreError};
use casemate_gateway::{Approver, Approvers, OpenAnswerError, Operation, SignedAnswer};
use casemate_model::{Reason, one_line};
use serde_json::{Value, json};

use crate::{
    exit::Exit,
    policy::{operate, store},
    report::{self, Failure},
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
    fn open(
        &self,
        answer: &SignedAnswer,
        now_ms: u64,
    ) -> Result<(String, Approver), OpenAnswerError> {
        let store = self.store().map_err(OpenAnswerError::Unavailable)?;
        match store.open_answer(answer, now_ms) {
            Ok((text, approver)) => Ok((text, as_approver(&approver))),
            Err(error @ PolicyStoreError::Answer(_)) => {
                Err(OpenAnswerError::NotCounted(one_line(&error)))
            }
            Err(error) => Err(OpenAnswerError::Unavailable(one_line(&error))),
        }
    }

    fn all(&self) -> Result<Vec<Approver>, String> {
        let list = self
            .store()?
            .approvers()
            .map_err(|error| one_line(&error))?;
        Ok(list.all().iter().map(as_approver).collect())
    }
}

pub(super) fn list() -> Result<Exit, Failure> {
    let list = store()?.approvers().map_err(Failure::failed)?;
    report::print(format_args!("{list}"))?;
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    /// A list that is damaged is a fault of ours, and not of whoever answers.
    #[test]
    fn a_damaged_list_is_not_a_bad_signature() {
        let dir = tempfile::tempdir().unwrap();
        let people = People::new(dir.path());
        let answer = SignedAnswer::note("approve".to_owned());
        let unknown = people.open(&answer, 0).unwrap_err();
        assert!(
            matches!(unknown, OpenAnswerError::NotCounted(_)),
            "{unknown:?}"
        );
        std::fs::write(state::policy_in(dir.path()).join("approvers"), "alice\n").unwrap();
        let fault = people.open(&answer, 0).unwrap_err();
        assert!(
            matches!(fault, OpenAnswerError::Unavailable(_)),
            "{fault:?}"
        );
        assert!(people.all().is_err());
    }
}
