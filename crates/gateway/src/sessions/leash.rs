//! Bytes of files and tunnels that go on after they were permitted: until a switch stops them.

use std::sync::Arc;

use casemate_model::{DecisionId, Reason};
use casemate_ports::{CHANNEL_CAPACITY, Connection, SessionKeeper};
use tokio::sync::mpsc;

use super::{
    Live, SessionError, SessionStores, Sessions,
    switched::{About, Listed},
};
use crate::Caller;

/// What holds something that was permitted to the switches for as long as it goes on.
#[derive(Clone)]
pub(super) struct Leash {
    listed: Arc<Listed>,
    decision: DecisionId,
}

impl<K: SessionKeeper, P: SessionStores> Sessions<K, P> {
    /// Holds what is about to be done with `live` from now on, unless a switch stops it already.
    pub(super) fn leash(
        &self,
        decision: DecisionId,
        caller: &Caller,
        live: &Live,
    ) -> Result<Leash, SessionError> {
        let policy = self.under(live);
        let route = policy.as_ref().map_or("", |policy| policy.route.as_str());
        let about = About::access(caller, route);
        let refused = |detail| refused(decision, live, detail);
        let since = self.switched_on(&about).map_err(refused)?;
        let listed = Arc::new(self.enlist(decision, about.clone(), since));
        // What is thrown after this look finds it in the list.
        self.still_on(&about, since).map_err(refused)?;
        Ok(Leash { listed, decision })
    }
}

fn refused(decision: DecisionId, live: &Live, detail: String) -> SessionError {
    SessionError::Refused {
        decision,
        session: Some(live.id),
        reason: Reason::KillSwitch,
        detail,
    }
}

impl Leash {
    /// Why it was stopped, if it was.
    pub(super) fn stopped(&self, live: &Live) -> Option<SessionError> {
        let why = self.listed.stop.why()?;
        Some(refused(self.decision, live, why.to_owned()))
    }

    /// What comes from `from`, until it is stopped: then it ends as if the other side had gone away.
    pub(super) fn hold<T: Send + 'static>(&self, from: mpsc::Receiver<T>) -> mpsc::Receiver<T> {
        let (to, held) = mpsc::channel(CHANNEL_CAPACITY);
        self.relay(from, to);
        held
    }

    /// The connection, until it is stopped: then both directions end.
    pub(super) fn hold_connection(&self, connection: Connection) -> Connection {
        let (to, given) = mpsc::channel(CHANNEL_CAPACITY);
        self.relay(given, connection.to);
        let from = self.hold(connection.from);
        Connection { to, from }
    }

    fn relay<T: Send + 'static>(&self, mut from: mpsc::Receiver<T>, to: mpsc::Sender<T>) {
        let listed = Arc::clone(&self.listed);
        tokio::spawn(async move {
            let pass = async {
                loop {
                    let piece = tokio::select! {
                        piece = from.recv() => piece,
                        () = to.closed() => None,
                    };
                    let Some(piece) = piece else { return };
                    if to.send(piece).await.is_err() {
                        return;
                    }
                }
            };
            tokio::select! {
                biased;
                () = listed.stop.stopped() => {}
                () = pass => {}
            }
        });
    }
}
