//! A place in a session, as the sandbox of one call.

use std::{path::PathBuf, sync::Arc};

use casemate_model::{Artefact, ContextId, DecisionId};
use casemate_ports::{
    ArtefactSink, CallIo, Command, Ended, Keeper, KeeperError, PlaceSpec, Ready, Sandbox,
    SandboxSpec, SessionKeeper, Way,
};

use super::{Live, SessionStores, Sessions, lodge::Stay};

/// Makes places in one session: to the life of a call, a keeper as any other.
pub(super) struct Places<'s, K, P> {
    pub(super) sessions: &'s Sessions<K, P>,
    pub(super) live: Arc<Live>,
    pub(super) context: Option<ContextId>,
    pub(super) stay: Stay,
    /// Where the sockets of its way out go, and of which call they are.
    pub(super) handover: Option<(DecisionId, PathBuf)>,
}

/// A place in a session.
pub(super) struct Place<'s, K: SessionKeeper, P> {
    sessions: &'s Sessions<K, P>,
    live: Arc<Live>,
    stay: Stay,
    place: K::Place,
}

impl<'s, K: SessionKeeper, P: SessionStores> Keeper for Places<'s, K, P> {
    type Sandbox = Place<'s, K, P>;

    async fn create(&self, spec: SandboxSpec) -> Result<Self::Sandbox, KeeperError> {
        let handover = self.handover.clone();
        let way = spec
            .way_out
            .zip(handover)
            .map(|(out, (decision, handover))| Way {
                authority: out.authority,
                handover,
                decision,
            });
        let spec = PlaceSpec {
            session: self.live.id,
            owner: self.live.owner.clone(),
            limits: spec.limits,
            inputs: spec.inputs,
            context: self.context,
            way,
        };
        match self.sessions.keeper.place(spec).await {
            Ok(place) => Ok(Place {
                sessions: self.sessions,
                live: Arc::clone(&self.live),
                stay: self.stay,
                place,
            }),
            Err(error) => Err(self.sessions.judge(&self.live, self.stay, error).await),
        }
    }
}

impl<K: SessionKeeper, P: SessionStores> Sandbox for Place<'_, K, P> {
    async fn ready(&mut self) -> Result<Ready, KeeperError> {
        match self.place.ready().await {
            Ok(ready) => Ok(ready),
            Err(error) => Err(self.sessions.judge(&self.live, self.stay, error).await),
        }
    }

    async fn run(&mut self, command: Command, io: CallIo) -> Result<Ended, KeeperError> {
        match self.place.run(command, io).await {
            Ok(ended) => Ok(ended),
            Err(error) => Err(self.sessions.judge(&self.live, self.stay, error).await),
        }
    }

    async fn collect(self, sink: &mut dyn ArtefactSink) -> Result<Vec<Artefact>, KeeperError> {
        self.place.collect(sink).await
    }
}
