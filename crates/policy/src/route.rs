//! The policy of one route.

use std::{collections::BTreeMap, ops::Deref, sync::Arc};

use casemate_model::Tier;

use crate::{
    decide::{AccessRequest, Decision},
    engine::Engine,
    profile::{Profile, ProfileError},
    tool::ToolFacts,
};

/// The policy of one route: its profile, and the engine that decides by it. Cheap to clone; reads as its profile.
#[derive(Clone, Debug)]
pub struct RoutePolicy {
    engine: Arc<Engine>,
    profile: Arc<Profile>,
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
        let engine = Engine::of_profile(Arc::clone(&profile))?;
        Ok(Self {
            engine: Arc::new(engine),
            profile,
        })
    }

    /// The policy of every route of an engine.
    #[must_use]
    pub fn all_of(engine: &Arc<Engine>) -> Governing {
        let routes = engine.routes();
        let policy = |route: &str| {
            let profile = Arc::clone(engine.profile(route)?);
            let engine = Arc::clone(engine);
            Some((route.to_owned(), Self { engine, profile }))
        };
        routes.filter_map(policy).collect()
    }

    /// Whether it has a tool that runs generated code.
    #[must_use]
    pub fn runs_code(&self) -> bool {
        let described = |tool| self.engine.tool(tool).map(|facts| facts.tier);
        let mut tools = self.profile.tools.listed();
        tools.any(|tool| {
            let tier = described(tool).unwrap_or_else(|| ToolFacts::undescribed(tool).tier);
            tier == Tier::Code
        })
    }

    /// What decides.
    #[must_use]
    pub const fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Decides whether something may be done with a session of this route.
    #[must_use]
    pub fn decide_access(&self, request: &AccessRequest<'_>) -> Decision {
        self.engine.decide_access(request)
    }
}

impl Deref for RoutePolicy {
    type Target = Profile;

    fn deref(&self) -> &Profile {
        &self.profile
    }
}
