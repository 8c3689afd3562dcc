//! Which policies a request can match at all: what a decision costs does not grow with their number.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use cedar_policy::{
    ActionConstraint, EntityUid, Policy, PolicySet, PrincipalConstraint, ResourceConstraint,
};

use crate::cedar::CedarError;

/// The most sets of candidates that are kept. Beyond, all are forgotten and made again as they are asked for.
const MAX_KEPT: usize = 8_192;

/// What a request is for, as far as scopes of policies can tell.
pub(crate) struct Key<'a> {
    pub(crate) principal: &'a EntityUid,
    pub(crate) action: &'a EntityUid,
    pub(crate) offer: &'a EntityUid,
    pub(crate) route: &'a EntityUid,
    pub(crate) tool: Option<&'a EntityUid>,
}

/// All policies, by what their scopes name.
///
/// Users and actions have no ancestors, an offer's are its route and its tool: so a policy whose scope names an entity can only match a
/// request that has exactly this one among them.
pub(crate) struct Index {
    all: PolicySet,
    policies: Vec<Policy>,
    by_scope: HashMap<Scope, Vec<usize>>,
    /// Users whom a scope names: only for them, candidates are kept apart.
    named: HashMap<EntityUid, ()>,
    kept: RwLock<HashMap<Kept, Arc<PolicySet>>>,
}

/// The entities that a scope names: principal, action, resource.
type Scope = (Option<EntityUid>, Option<EntityUid>, Option<EntityUid>);
/// What candidates are kept by: the principal if a scope names it, the action and the offer.
type Kept = (Option<EntityUid>, EntityUid, EntityUid);

impl Index {
    pub(crate) fn new(policies: Vec<Policy>) -> Result<Self, CedarError> {
        let mut by_scope: HashMap<Scope, Vec<usize>> = HashMap::new();
        let mut named = HashMap::new();
        for (at, policy) in policies.iter().enumerate() {
            for scope in scopes(policy) {
                if let Some(user) = &scope.0 {
                    named.insert(user.clone(), ());
                }
                by_scope.entry(scope).or_default().push(at);
            }
        }
        let all = PolicySet::from_policies(policies.iter().cloned())
            .map_err(|error| CedarError::new("the policies", error))?;
        Ok(Self {
            all,
            policies,
            by_scope,
            named,
            kept: RwLock::default(),
        })
    }

    pub(crate) const fn all(&self) -> &PolicySet {
        &self.all
    }

    /// Every policy that can match.
    pub(crate) fn candidates(&self, key: &Key<'_>) -> Result<Arc<PolicySet>, CedarError> {
        let named = self.named.contains_key(key.principal);
        let kept = (
            named.then(|| key.principal.clone()),
            key.action.clone(),
            key.offer.clone(),
        );
        let known = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known.get(&kept) {
            return Ok(Arc::clone(found));
        }
        drop(known);
        let found = Arc::new(self.gather(key)?);
        let mut known = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_KEPT {
            known.clear();
        }
        known.insert(kept, Arc::clone(&found));
        Ok(found)
    }

    fn gather(&self, key: &Key<'_>) -> Result<PolicySet, CedarError> {
        let resources = [None, Some(key.offer), Some(key.route), key.tool];
        let mut found: Vec<usize> = Vec::new();
        for principal in [None, Some(key.principal)] {
            for action in [None, Some(key.action)] {
                for (nth, resource) in resources.iter().enumerate() {
                    // Without a tool, the first already stands for no resource.
                    if nth > 0 && resource.is_none() {
                        continue;
                    }
                    let scope = (principal.cloned(), action.cloned(), resource.cloned());
                    found.extend(self.by_scope.get(&scope).into_iter().flatten());
                }
            }
        }
        found.sort_unstable();
        found.dedup();
        let policies = found.into_iter().filter_map(|at| self.policies.get(at));
        PolicySet::from_policies(policies.cloned())
            .map_err(|error| CedarError::new("the candidates", error))
    }
}

/// The scopes under which a policy is looked for: one for each action that it names.
fn scopes(policy: &Policy) -> Vec<Scope> {
    let principal = match policy.principal_constraint() {
        PrincipalConstraint::In(uid)
        | PrincipalConstraint::Eq(uid)
        | PrincipalConstraint::IsIn(_, uid) => Some(uid),
        PrincipalConstraint::Any | PrincipalConstraint::Is(_) => None,
    };
    let resource = match policy.resource_constraint() {
        ResourceConstraint::In(uid)
        | ResourceConstraint::Eq(uid)
        | ResourceConstraint::IsIn(_, uid) => Some(uid),
        ResourceConstraint::Any | ResourceConstraint::Is(_) => None,
    };
    let actions = match policy.action_constraint() {
        ActionConstraint::Any => vec![None],
        ActionConstraint::Eq(uid) => vec![Some(uid)],
        ActionConstraint::In(uids) => uids.into_iter().map(Some).collect(),
    };
    let scope = |action| (principal.clone(), action, resource.clone());
    actions.into_iter().map(scope).collect()
}

impl fmt::Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Index")
            .field("policies", &self.policies.len())
            .finish_non_exhaustive()
    }
}
