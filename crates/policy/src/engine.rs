//! The policy engine: profiles, tools and policies as one set of Cedar policies, and the decision.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::Arc,
};

use casemate_model::{Digest, Reason};
use cedar_policy::{
    Authorizer, Context, Decision as Answer, Entities, EntityUid, Policy, PolicyId, PolicySet,
    Request as CedarRequest, Schema,
};

use crate::{
    cedar::{
        CedarError, Sandboxes, Type, Vocabulary, context, name_of, number, record, string, strings,
    },
    decide::{Access, Check, CheckName, Decision, Verdict},
    explain::explain,
    grant::Offered,
    index::{Index, Key},
    inputs::{Inputs, Wish},
    manifest::Manifest,
    offer::{Offer, OfferMaker},
    profile::Profile,
    tool::ToolFacts,
    visible::quoted,
};

/// The name of the offer that stands for every tool that a route does not list. No tool can be called so.
const UNLISTED: &str = "*";

/// The policy of one route or more: what a bundle, or a profile by itself, comes to.
pub struct Engine {
    digest: Digest,
    routes: BTreeMap<String, Route>,
    tools: BTreeMap<String, ToolFacts>,
    manifests: BTreeMap<String, Manifest>,
    vocabulary: Arc<Vocabulary>,
    entities: Entities,
    index: Index,
    sandboxes: Sandboxes,
    authorizer: Authorizer,
}

struct Route {
    uid: EntityUid,
    profile: Arc<Profile>,
    offers: HashMap<String, Offer>,
}

/// What an engine is made of.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) digest: Digest,
    pub(crate) profiles: Vec<Arc<Profile>>,
    pub(crate) manifests: BTreeMap<String, Manifest>,
    /// Policies that narrow what the profiles grant.
    pub(crate) policies: Vec<Policy>,
    /// Whether what can be done with sessions is offered.
    pub(crate) accesses: bool,
}

impl Source {
    fn of(profile: Arc<Profile>) -> Self {
        Self {
            digest: profile.digest(),
            profiles: vec![profile],
            manifests: BTreeMap::new(),
            policies: Vec::new(),
            accesses: true,
        }
    }
}

impl Engine {
    /// The policy of a profile that is used by itself.
    ///
    /// # Errors
    /// When Cedar does not take what the profile comes to.
    pub fn of_profile(profile: Arc<Profile>) -> Result<Self, CedarError> {
        Self::new(Source::of(profile))
    }

    /// The same for whoever has no sessions: what can be done with them is not offered, and so denied. It is made faster.
    ///
    /// # Errors
    /// When Cedar does not take what the profile comes to.
    pub(crate) fn of_calls(profile: Arc<Profile>) -> Result<Self, CedarError> {
        Self::new(Source {
            accesses: false,
            ..Source::of(profile)
        })
    }

    pub(crate) fn new(source: Source) -> Result<Self, CedarError> {
        let vocabulary = Vocabulary::get()?;
        let mut entities = Vec::new();
        let mut policies = source.policies;
        let manifests = source.manifests.iter();
        let tools: BTreeMap<String, ToolFacts> = manifests
            .map(|(name, manifest)| (name.clone(), ToolFacts::from(manifest)))
            .collect();
        let mut routes = BTreeMap::new();
        let mut parsed = HashMap::new();
        for profile in source.profiles {
            let mut maker = OfferMaker {
                vocabulary: &vocabulary,
                profile: &profile,
                tools: &tools,
                entities: &mut entities,
                grants: &mut policies,
                parsed: &mut parsed,
            };
            let mut offers = HashMap::new();
            for name in profile.tools.listed() {
                let facts = ToolFacts::of(&profile, name, tools.get(name));
                offers.insert(
                    name.to_owned(),
                    maker.make(name, Offered::Tool(name, &facts), facts.side_effect)?,
                );
            }
            offers.insert(
                UNLISTED.to_owned(),
                maker.make(UNLISTED, Offered::Unlisted, None)?,
            );
            let accesses = if source.accesses { Access::KINDS } else { &[] };
            for access in accesses {
                let name = access.as_str();
                let offer =
                    maker.make(name, Offered::Access(*access), Some(access.side_effect()))?;
                offers.insert(name.to_owned(), offer);
            }
            let uid = vocabulary.uid(Type::Route, &profile.route)?;
            routes.insert(
                profile.route.clone(),
                Route {
                    uid,
                    profile,
                    offers,
                },
            );
        }
        Ok(Self {
            digest: source.digest,
            routes,
            tools,
            manifests: source.manifests,
            entities: vocabulary.entities(entities)?,
            index: Index::new(policies)?,
            sandboxes: Sandboxes::default(),
            authorizer: Authorizer::new(),
            vocabulary,
        })
    }

    /// Names this policy: the digest of its bundle, or of its profile.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// The profile of a route.
    #[must_use]
    pub fn profile(&self, route: &str) -> Option<&Arc<Profile>> {
        self.routes.get(route).map(|route| &route.profile)
    }

    /// The routes, in order.
    pub fn routes(&self) -> impl Iterator<Item = &str> {
        self.routes.keys().map(String::as_str)
    }

    /// What a tool is, if this policy describes it.
    #[must_use]
    pub fn manifest(&self, tool: &str) -> Option<&Manifest> {
        self.manifests.get(tool)
    }

    pub(crate) const fn tools(&self) -> &BTreeMap<String, ToolFacts> {
        &self.tools
    }

    pub(crate) fn tool(&self, tool: &str) -> Option<&ToolFacts> {
        self.tools.get(tool)
    }

    /// Every tool of every route.
    pub(crate) fn each_tool(&self, mut each: impl FnMut(&Profile, &str, &ToolFacts)) {
        for route in self.routes.values() {
            for name in route.profile.tools.listed() {
                let facts = ToolFacts::of(&route.profile, name, self.tools.get(name));
                each(&route.profile, name, &facts);
            }
        }
    }

    /// The schema that every policy is checked against.
    #[must_use]
    pub fn schema(&self) -> &Schema {
        &self.vocabulary.schema
    }

    /// Every policy: the grants of the profiles, and what narrows them.
    #[must_use]
    pub fn policies(&self) -> &PolicySet {
        self.index.all()
    }

    /// The tools, accesses and what they are.
    #[must_use]
    pub const fn entities(&self) -> &Entities {
        &self.entities
    }

    /// Decides. Pure: no clock, no I/O; the same inputs under the same policy give the same decision.
    #[must_use]
    pub fn judge(&self, inputs: &Inputs) -> Decision {
        match self.try_judge(inputs) {
            Ok(decision) => decision,
            Err(error) => Decision::unanswered(&error),
        }
    }

    fn try_judge(&self, inputs: &Inputs) -> Result<Decision, CedarError> {
        let Some(route) = self.routes.get(&inputs.route) else {
            return Ok(no_route(inputs));
        };
        let offer = route
            .offers
            .get(inputs.wish.name())
            .filter(|offer| offer.is(&inputs.wish))
            .or_else(|| route.offers.get(UNLISTED))
            .ok_or_else(|| CedarError::new("the route", "it offers nothing"))?;
        let asked = self.ask(inputs, route, offer, &Consent::AsGiven)?;
        if inputs.flaw.is_none() && asked.allowed {
            return Ok(Decision {
                verdict: Verdict::Allow,
                reason: Reason::Allowed,
                detail: allowed(inputs),
                checks: offer.checks(&inputs.wish, None),
                policies: asked.names,
            });
        }
        let failed = self.first_no(inputs, offer, &asked)?;
        // A person can only mend what would be allowed with their consent and with nothing else, and only calls are shown to persons.
        let mendable = matches!(
            failed,
            CheckName::Approval | CheckName::Flow | CheckName::Policy
        ) && matches!(inputs.wish, Wish::Tool(_))
            && inputs.flaw.is_none();
        let supposed = mendable
            .then(|| self.ask(inputs, route, offer, &Consent::Supposed))
            .transpose()?;
        let held = supposed.as_ref().is_some_and(|supposed| supposed.allowed);
        let (failed, asked) = match supposed {
            // With the approval that it lacks, it would be forbidden all the same.
            Some(supposed)
                if !held && failed == CheckName::Approval && !supposed.names.is_empty() =>
            {
                (CheckName::Policy, supposed)
            }
            _ => (failed, asked),
        };
        let (verdict, reason) = match (held, failed.reason()) {
            (true, _) => (Verdict::Hold, Reason::ApprovalRequired),
            (false, Some(reason)) => (Verdict::Deny, reason),
            (false, None) => {
                let reason = inputs.flaw.as_ref().map(|flaw| flaw.reason);
                (Verdict::Deny, reason.unwrap_or(Reason::InvalidCall))
            }
        };
        let policies = match failed {
            CheckName::Policy => asked.names,
            _ => Vec::new(),
        };
        Ok(Decision {
            verdict,
            reason,
            detail: explain(failed, inputs, &route.profile, &policies),
            checks: offer.checks(&inputs.wish, Some(failed)),
            policies,
        })
    }

    /// Asks Cedar, with the consent that there is, or as if a person had consented.
    fn ask(
        &self,
        inputs: &Inputs,
        route: &Route,
        offer: &Offer,
        consent: &Consent,
    ) -> Result<Asked, CedarError> {
        let principal = self.vocabulary.uid(Type::User, &inputs.user)?;
        let action = self.vocabulary.action(inputs.side_effect)?;
        let candidates = self.index.candidates(&Key {
            principal: &principal,
            action,
            offer: &offer.uid,
            route: &route.uid,
            tool: offer.tool.as_ref(),
        })?;
        let context = self.context(inputs, consent)?;
        let request =
            CedarRequest::new(principal, action.clone(), offer.uid.clone(), context, None)
                .map_err(|error| CedarError::new("the request", error))?;
        let response = self
            .authorizer
            .is_authorized(&request, &candidates, &self.entities);
        if let Some(error) = response.diagnostics().errors().next() {
            // Cedar would go on without the policy, and it may be one that forbids.
            return Err(CedarError::new("a policy", error));
        }
        let named = |id: &PolicyId| candidates.policy(id).map(name_of);
        let mut names: Vec<_> = response.diagnostics().reason().filter_map(named).collect();
        names.sort_unstable();
        Ok(Asked {
            allowed: response.decision() == Answer::Allow,
            names,
            request,
        })
    }

    /// The first question whose answer is no, in the order of [`CheckName::ALL`].
    fn first_no(
        &self,
        inputs: &Inputs,
        offer: &Offer,
        asked: &Asked,
    ) -> Result<CheckName, CedarError> {
        let mut failed = inputs.flaw.as_ref().map(|flaw| flaw.check);
        // Nothing but a policy of the bundle forbids: a grant that does not apply has no name.
        let forbidden = (!asked.names.is_empty()).then_some(CheckName::Policy);
        let other = offer
            .side_effect
            .is_some_and(|own| own != inputs.side_effect);
        let other = other.then_some(CheckName::Scope);
        failed = failed.into_iter().chain(forbidden).chain(other).min();
        for (check, demand) in &offer.demands {
            if failed.is_some_and(|failed| failed < *check) {
                break;
            }
            let holds = cedar_policy::eval_expression(&asked.request, &self.entities, demand)
                .map_err(|error| CedarError::new(check.as_str(), error))?;
            if holds != cedar_policy::EvalResult::Bool(true) {
                return Ok(*check);
            }
        }
        // Otherwise nothing grants it.
        Ok(failed.unwrap_or(CheckName::Scope))
    }

    fn context(&self, inputs: &Inputs, consent: &Consent) -> Result<Context, CedarError> {
        let words = &self.vocabulary;
        let token = record([
            ("issuer", Some(string(&inputs.token.issuer))),
            ("audience", Some(string(&inputs.token.audience))),
            (
                "tenant",
                Some(words.entity(Type::Tenant, &inputs.token.tenant)?),
            ),
            (
                "scopes",
                Some(strings(inputs.token.scopes.iter().map(String::as_str))),
            ),
            ("expires_at_ms", Some(number(inputs.token.expires_at_ms))),
        ]);
        let hash = inputs
            .action_hash
            .map_or_else(String::new, |hash| hash.to_string());
        let approval = match (consent, &inputs.approval) {
            (Consent::Supposed, _) => Some(record([
                ("action_hash", Some(string(&hash))),
                ("approver", Some(words.entity(Type::User, "")?)),
                ("expires_at_ms", Some(number(u64::MAX))),
            ])),
            (Consent::AsGiven, Some(given)) => Some(record([
                ("action_hash", Some(string(&given.action_hash.to_string()))),
                ("approver", Some(words.entity(Type::User, &given.approver)?)),
                ("expires_at_ms", Some(number(given.expires_at_ms))),
            ])),
            (Consent::AsGiven, None) => None,
        };
        let destination = inputs.destination.as_ref().map(|to| {
            record([
                ("host", Some(string(&to.host))),
                ("class", Some(string(to.class.as_str()))),
                ("reach", Some(string(to.reach.as_str()))),
            ])
        });
        let labels = inputs.labels.map(|labels| {
            record([
                ("private", Some(labels.private.into())),
                ("untrusted", Some(labels.untrusted.into())),
            ])
        });
        let budget = inputs
            .budget
            .map(|budget| record([("left", Some(number(budget.left)))]));
        let delegated = inputs.delegated.as_ref();
        let isolation = inputs.isolation.as_ref();
        Ok(context([
            ("agent", Some(words.entity(Type::Agent, &inputs.agent)?)),
            ("tenant", Some(words.entity(Type::Tenant, &inputs.tenant)?)),
            ("token", Some(token)),
            (
                "delegated",
                delegated.map(|scopes| strings(scopes.iter().map(String::as_str))),
            ),
            ("mode", Some(string(inputs.mode.as_str()))),
            ("now_ms", Some(number(inputs.now_ms))),
            ("idempotency_key", Some(inputs.idempotency_key.into())),
            ("action_hash", Some(string(&hash))),
            ("destination", destination),
            ("approval", approval),
            ("labels", labels),
            ("budget", budget),
            (
                "sandbox",
                isolation.map(|isolation| self.sandboxes.value(isolation)),
            ),
        ]))
    }
}

/// Whose consent is supposed.
enum Consent {
    /// That which the inputs have, if they have any.
    AsGiven,
    /// As if a person had just given it: nobody's name is empty.
    Supposed,
}

/// Cedar's answer.
struct Asked {
    allowed: bool,
    /// The policies that made it so.
    names: Vec<String>,
    request: CedarRequest,
}

fn allowed(inputs: &Inputs) -> String {
    let route = quoted(&inputs.route);
    match &inputs.wish {
        Wish::Tool(tool) => format!("tool {} may run on route {route}", quoted(tool)),
        Wish::Access(access) => format!("`{access}` may be done on route {route}"),
    }
}

impl Decision {
    /// Whatever cannot be answered is a no (I1).
    pub(crate) fn unanswered(error: &CedarError) -> Self {
        Self {
            verdict: Verdict::Deny,
            reason: Reason::PolicyError,
            detail: error.to_string(),
            checks: Vec::new(),
            policies: Vec::new(),
        }
    }
}

/// The answer to a call on a route that this policy does not have.
fn no_route(inputs: &Inputs) -> Decision {
    let route = quoted(&inputs.route);
    Decision {
        verdict: Verdict::Deny,
        reason: Reason::InvalidCall,
        detail: format!("the policy has no route {route}"),
        checks: vec![Check {
            name: CheckName::Call,
            passed: false,
        }],
        policies: Vec::new(),
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("digest", &self.digest)
            .field("routes", &self.routes.keys())
            .finish_non_exhaustive()
    }
}
