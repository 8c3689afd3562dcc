//! The kinds of requests that a schema accepts, and policies compiled for each of them.

use cedar_policy::{Policy, PolicySet, RequestEnv, Schema, ValidationMode, Validator};
use cedar_policy_symcc::{CompiledPolicy, CompiledPolicySet, err};

use crate::ProveError;

/// Every combination of principal type, action and resource type.
pub(crate) struct Requests<'a> {
    pub(crate) schema: &'a Schema,
    kinds: Vec<RequestEnv>,
}

impl<'a> Requests<'a> {
    /// In an order of their own, so that the same question has the same answer.
    pub(crate) fn of(schema: &'a Schema) -> Result<Self, ProveError> {
        let mut kinds: Vec<RequestEnv> = schema.request_envs().collect();
        kinds.sort_by_cached_key(|kind| {
            [
                kind.action().to_string(),
                kind.principal().to_string(),
                kind.resource().to_string(),
            ]
        });
        if kinds.is_empty() {
            return Err(ProveError::NoRequests);
        }
        Ok(Self { schema, kinds })
    }

    /// `set`, validated and compiled for each kind of request.
    pub(crate) fn compile(
        &self,
        what: &str,
        set: &PolicySet,
    ) -> Result<Vec<CompiledPolicySet>, ProveError> {
        self.validate(what, set)?;
        self.for_each(what, |kind| {
            CompiledPolicySet::compile(set, kind, self.schema).map_err(Box::new)
        })
    }

    /// One policy, validated and compiled for each kind of request.
    pub(crate) fn compile_one(
        &self,
        what: &str,
        policy: &Policy,
        alone: &PolicySet,
    ) -> Result<Vec<CompiledPolicy>, ProveError> {
        self.validate(what, alone)?;
        self.for_each(what, |kind| {
            CompiledPolicy::compile(policy, kind, self.schema).map_err(Box::new)
        })
    }

    fn for_each<T>(
        &self,
        what: &str,
        compile: impl Fn(&RequestEnv) -> Result<T, Box<err::Error>>,
    ) -> Result<Vec<T>, ProveError> {
        self.kinds
            .iter()
            .map(|kind| {
                compile(kind).map_err(|source| ProveError::Compile {
                    what: what.to_owned(),
                    source,
                })
            })
            .collect()
    }

    fn validate(&self, what: &str, set: &PolicySet) -> Result<(), ProveError> {
        let result = Validator::new(self.schema.clone()).validate(set, ValidationMode::Strict);
        let findings: Vec<_> = result
            .validation_errors()
            .map(ToString::to_string)
            .collect();
        if findings.is_empty() {
            Ok(())
        } else {
            Err(ProveError::Schema {
                what: what.to_owned(),
                findings,
            })
        }
    }
}
