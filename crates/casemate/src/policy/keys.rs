//! `casemate policy key`: who may publish bundles, and who may approve that one permits more.

use std::path::Path;

use casemate_bundle::{PolicyKey, PolicyStore, PublicKey, Role};
use casemate_gateway::Operation;
use casemate_model::Reason;
use serde_json::json;

use super::{activate::operate, bundle::store};
use crate::{
    cli::{PolicyKeyCommand, PolicyRole},
    exit::Exit,
    report::{self, Failure},
    state,
};

/// What the key of this state directory's operator is called.
const OPERATOR: &str = "operator";

pub(crate) fn run(command: PolicyKeyCommand) -> Result<Exit, Failure> {
    match command {
        PolicyKeyCommand::New { file, name } => return new(&file, &name),
        PolicyKeyCommand::Show => {
            let store = store()?;
            report::print(format_args!("publisher {}\n", operator(&store)?.public()))?;
            for (role, key) in store.trusted().map_err(Failure::failed)?.keys() {
                report::print(format_args!("{role} {key}\n"))?;
            }
        }
        PolicyKeyCommand::Trust { role, key } => {
            change("policy.trust", role, &key, PolicyStore::trust)?
        }
        PolicyKeyCommand::Distrust { role, key } => {
            change("policy.distrust", role, &key, PolicyStore::distrust)?;
        }
        PolicyKeyCommand::Sign { bundle, key } => {
            let read = casemate_bundle::Bundle::read(&bundle).map_err(Failure::invalid)?;
            let key = PolicyKey::load(&key).map_err(Failure::usage)?;
            let path = bundle.join(casemate_bundle::SIGNATURE);
            std::fs::write(&path, key.sign(&read)).map_err(Failure::failed)?;
            report::print(format_args!(
                "{} signed by {}\n",
                read.digest(),
                key.public().name()
            ))?;
        }
    }
    Ok(Exit::Success)
}

/// Makes a key, and prints its public form.
pub(crate) fn new(file: &Path, name: &str) -> Result<Exit, Failure> {
    let key = PolicyKey::generate(name).map_err(Failure::usage)?;
    key.save(file).map_err(Failure::failed)?;
    report::print(format_args!("{}\n", key.public()))?;
    Ok(Exit::Success)
}

/// Trusts a key, or not any more. Recorded: whoever may do this can also make an approver.
fn change(
    what: &'static str,
    role: PolicyRole,
    key: &str,
    change: impl FnOnce(&PolicyStore, Role, &PublicKey) -> Result<(), casemate_bundle::PolicyStoreError>,
) -> Result<(), Failure> {
    let key: PublicKey = key.parse().map_err(Failure::usage)?;
    let (store, role) = (store()?, Role::from(role));
    let operation = Operation {
        what,
        reason: Reason::Allowed,
        detail: format!("{role} {}", key.name()),
        alert: true,
        subject: json!({ "role": role.as_str(), "key": key.to_string() }),
    };
    operate(operation, || {
        change(&store, role, &key).map_err(Failure::failed)
    })?;
    Ok(())
}

/// The key of this state directory's operator, made and trusted as a publisher if it is not there.
pub(crate) fn operator(store: &PolicyStore) -> Result<PolicyKey, Failure> {
    let path = state::path()?.join("keys").join("policy.key");
    let key = if path.exists() {
        load(&path)?
    } else {
        let key = PolicyKey::generate(OPERATOR).map_err(Failure::failed)?;
        match key.save(&path) {
            Ok(()) => key,
            // Somebody else was faster.
            Err(_) if path.exists() => load(&path)?,
            Err(error) => return Err(Failure::failed(error)),
        }
    };
    let trusted = store.trusted().map_err(Failure::failed)?;
    if !trusted.of(Role::Publisher).contains(key.public()) {
        store
            .trust(Role::Publisher, key.public())
            .map_err(Failure::failed)?;
    }
    Ok(key)
}

fn load(path: &Path) -> Result<PolicyKey, Failure> {
    PolicyKey::load(path).map_err(Failure::failed)
}

impl From<PolicyRole> for Role {
    fn from(role: PolicyRole) -> Self {
        match role {
            PolicyRole::Publisher => Self::Publisher,
            PolicyRole::Approver => Self::Approver,
        }
    }
}
