//! The way out of the one call, served by this process.

use std::{path::Path, sync::Arc};

use anyhow::Context as _;
use casemate_gateway::{Facts, Journal, Leased, way};
use casemate_policy::Profile;
use casemate_ports::{
    Egress as _, EgressError, Owner, Sandbox, TooManyPorts, WayOut, WayPorts, WayRules,
};

use crate::{
    decider::{DeciderFileError, LinkedDecider},
    state::AgentStores,
    way::{Here, WayError, roots_in, service},
};

/// Why there is no way out.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoWay {
    /// It cannot be served.
    #[error(transparent)]
    Service(#[from] WayError),
    /// Nobody can vouch for destinations.
    #[error(transparent)]
    Authority(#[from] EgressError),
    /// The operator has a decider that cannot be used.
    #[error(transparent)]
    Decider(#[from] DeciderFileError),
    /// The rules name too many ports.
    #[error(transparent)]
    Ports(#[from] TooManyPorts),
}

/// A way out before there is a sandbox.
#[derive(Debug)]
pub(super) struct PlannedWay {
    egress: Here,
    rules: WayRules,
    authority: String,
    ports: WayPorts,
    decider: Option<LinkedDecider>,
    profile: Profile,
}

impl PlannedWay {
    /// The way out of a call of `owner` under `profile`, with what the operator keeps in the state directory at `root`;
    /// nothing if the profile allows no destination.
    ///
    /// # Errors
    /// When there should be one and cannot.
    pub(super) async fn of(
        profile: &Profile,
        root: &Path,
        owner: &Owner,
    ) -> Result<Option<Self>, NoWay> {
        let Some(rules) = way::rules(profile) else {
            return Ok(None);
        };
        let decider = LinkedDecider::in_state(root)?;
        let egress = Here::new(service(&roots_in(root))?, root.to_owned());
        let authority = egress.authority(owner, &rules).await?.pem;
        let ports = way::ports(profile)?;
        Ok(ports.map(|ports| Self {
            egress,
            rules,
            authority,
            ports,
            decider,
            profile: profile.clone(),
        }))
    }

    /// What the sandbox has to have.
    pub(super) fn way_out(&self) -> WayOut {
        WayOut {
            authority: self.authority.clone(),
            ports: self.ports,
        }
    }

    /// Where the agent of `facts` has been, if a rule asks for it.
    pub(super) async fn familiarity(
        &self,
        stores: &AgentStores,
        facts: &Facts,
    ) -> way::Familiarity {
        let (tenant, agent) = (facts.tenant(), &facts.ask.agent);
        way::Familiarity::of(&self.profile, stores, tenant, agent).await
    }

    /// Opens it for a call that holds the right to run.
    ///
    /// # Errors
    /// When it cannot be served.
    pub(super) async fn open<S: Sandbox, I>(
        self,
        lease: &mut Leased<'_, S, I>,
        journal: Arc<Journal>,
        familiarity: way::Familiarity,
    ) -> anyhow::Result<(Here, way::OpenWay)> {
        let sockets = lease.take_way_out();
        let sockets = sockets.context("the sandbox has no way out")?;
        let facts = lease.facts();
        let new = way::of_call(facts, &self.authority, self.rules);
        let overseen = way::Overseen {
            familiarity,
            journal,
            asks: way::Asks::Nobody,
            decider: self.decider.map(|decider| Arc::new(decider) as _),
        };
        let opened = way::OpenWay::open(&self.egress, new, Some(sockets), facts, overseen).await;
        let opened = opened.context("the way out cannot be served")?;
        // The thread that serves it lives as long as this.
        Ok((self.egress, opened))
    }
}
