//! The rules of profiles, ready to judge by.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use casemate_model::Digest;
use casemate_policy::{EgressPolicy, Profile, Syntax};
use casemate_ports::{EgressError, RulesForm, WayRules};

/// The most rules that are kept ready.
const MAX_POLICIES: usize = 64;

/// Those that were needed, by the digest of their profiles.
#[derive(Debug, Default)]
pub(crate) struct Policies(Mutex<HashMap<Digest, Arc<EgressPolicy>>>);

impl Policies {
    /// The rules, ready to judge by.
    ///
    /// # Errors
    /// When they cannot be read.
    pub(crate) fn get(&self, rules: &WayRules) -> Result<Arc<EgressPolicy>, EgressError> {
        let digest = Digest::of(rules.text.as_bytes());
        let known = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(policy) = known().get(&digest) {
            return Ok(Arc::clone(policy));
        }
        let syntax = match rules.form {
            RulesForm::Json => Syntax::Json,
            RulesForm::Toml => Syntax::Toml,
        };
        let profile = Profile::parse(rules.text.as_bytes(), syntax)
            .map_err(|_| EgressError::Refused("the rules cannot be read".to_owned()))?;
        let policy = Arc::new(EgressPolicy::compile(&profile));
        let mut policies = known();
        if policies.len() >= MAX_POLICIES {
            // They are made again when they are needed.
            policies.clear();
        }
        policies.insert(digest, Arc::clone(&policy));
        Ok(policy)
    }
}
