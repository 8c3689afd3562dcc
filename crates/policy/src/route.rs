//! The policy of one route.

use std::{
    collections::BTreeMap,
    ops::Deref,
    sync::{Arc, OnceLock},
};

use casemate_model::{Digest, Tier};

use crate::{
    cedar::CedarError,
    decide::{AccessRequest, Decision, Request},
    engine::Engine,
    inputs::Inputs,
    manifest::Cost,
    profile::{Profile, ProfileError},
    tool::ToolFacts,
};

/// The policy of one route: its profile, and the engine that decides by it. Cheap to clone; reads as its profile.
#[derive(Clone, Debug)]
pub struct RoutePolicy {
    engine: Arc<Made>,
    profile: Arc<Profile>,
}

/// An engine, made when it is first needed.
#[derive(Debug)]
struct Made {
    digest: Digest,
    engine: OnceLock<Result<Arc<Engine>, CedarError>>,
}

/// The policies of all routes, by route.
pub type Governing = BTreeMap<String, RoutePolicy>;

impl RoutePolicy {
    /// The policy of a profile that is used by itself.
    ///
    /// # Errors
    /// [`ProfileError::Cedar`].
    pub fn of(profile: Profile) -> Result<Self, ProfileError> {
        let profile = Arc::new(profile);
        let engine = Arc::new(Engine::of_profile(Arc::clone(&profile))?);
        Ok(Self::with(&engine, profile))
    }

    /// The same for single calls, without sessions. Its engine is made when it is first needed: whoever starts something else meanwhile
    /// need not wait for it. One that cannot be made denies.
    #[must_use]
    pub fn later(profile: Profile) -> Self {
        let engine = Made {
            digest: profile.digest(),
            engine: OnceLock::new(),
        };
        Self {
            engine: Arc::new(engine),
            profile: Arc::new(profile),
        }
    }

    /// The policy of every route of an engine.
    #[must_use]
    pub fn all_of(engine: &Arc<Engine>) -> Governing {
        let routes = engine.routes();
        let policy = |route: &str| {
            let profile = Arc::clone(engine.profile(route)?);
            Some((route.to_owned(), Self::with(engine, profile)))
        };
        routes.filter_map(policy).collect()
    }

    fn with(engine: &Arc<Engine>, profile: Arc<Profile>) -> Self {
        let made = Made {
            digest: engine.digest(),
            engine: OnceLock::from(Ok(Arc::clone(engine))),
        };
        Self {
            engine: Arc::new(made),
            profile,
        }
    }

    /// Names the policy: the digest of its bundle, or of its profile.
    #[must_use]
    pub fn policy_digest(&self) -> Digest {
        self.engine.digest
    }

    /// What decides.
    ///
    /// # Errors
    /// When Cedar does not take what the profile comes to: then nothing is allowed.
    pub fn engine(&self) -> Result<&Arc<Engine>, &CedarError> {
        let make = || Engine::of_calls(Arc::clone(&self.profile)).map(Arc::new);
        self.engine.engine.get_or_init(make).as_ref()
    }

    /// Whether it has a tool that runs generated code.
    #[must_use]
    pub fn runs_code(&self) -> bool {
        let engine = self.engine().ok();
        let mut tools = self.profile.tools.listed();
        tools.any(|tool| {
            let described = engine.and_then(|engine| engine.tool(tool));
            ToolFacts::of(&self.profile, tool, described).tier == Tier::Code
        })
    }

    /// What a call of this tool costs at most.
    #[must_use]
    pub fn cost(&self, tool: &str) -> Cost {
        let engine = self.engine().ok();
        let manifest = engine.and_then(|engine| engine.manifest(tool));
        let own = manifest.map(|manifest| manifest.cost).unwrap_or_default();
        let each = self.profile.budgets.cost;
        Cost {
            tokens: own.tokens.saturating_add(each.tokens),
            money_micros: own.money_micros.saturating_add(each.money_micros),
        }
    }

    /// The same, whose sessions end after so long without use: never later than its profile says.
    #[must_use]
    pub fn idle_at_most(&self, ms: u64) -> Self {
        let mut profile = Profile::clone(&self.profile);
        let idle = &mut profile.sandbox.session_idle_ms;
        *idle = ms.min(*idle);
        Self {
            engine: Arc::clone(&self.engine),
            profile: Arc::new(profile),
        }
    }

    /// Decides whether a call may run, and says what that was made from.
    #[must_use]
    pub fn decide(&self, request: &Request<'_>) -> (Option<Inputs>, Decision) {
        self.ask(|engine| engine.inputs(request))
    }

    /// Decides whether something may be done with a session of this route, and says what that was made from.
    #[must_use]
    pub fn decide_access(&self, request: &AccessRequest<'_>) -> (Option<Inputs>, Decision) {
        self.ask(|engine| engine.access_inputs(request))
    }

    fn ask(&self, inputs: impl FnOnce(&Engine) -> Inputs) -> (Option<Inputs>, Decision) {
        match self.engine() {
            Ok(engine) => {
                let inputs = inputs(engine);
                let decision = engine.judge(&inputs);
                (Some(inputs), decision)
            }
            Err(error) => (None, Decision::unanswered(error)),
        }
    }
}

impl Deref for RoutePolicy {
    type Target = Profile;

    fn deref(&self) -> &Profile {
        &self.profile
    }
}
