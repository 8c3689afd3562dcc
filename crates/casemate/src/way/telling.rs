//! The right of a call to credentials while its way out is served: identity hears what became of the call's requests.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use casemate_model::{DecisionId, one_line};
use casemate_ports::{
    Advice, ConsultedRequest, Crossing, HeldRequest, KnownDestination, NotConsented, NotRecorded,
    Pending, Stage, Witness,
};

use super::right::Right;
use crate::report;

/// The right of a call, until it ends. A clone is the same.
#[derive(Clone, Debug)]
pub(crate) struct Held(Arc<Mutex<Option<Right>>>);

impl Held {
    pub(crate) fn new(right: Right) -> Self {
        Self(Arc::new(Mutex::new(Some(right))))
    }

    pub(crate) fn end(&self) {
        drop(self.take());
    }

    fn take(&self) -> Option<Right> {
        self.right().take()
    }

    #[cfg(test)]
    pub(crate) fn has_ended(&self) -> bool {
        self.right().is_none()
    }

    fn right(&self) -> MutexGuard<'_, Option<Right>> {
        lock(&self.0)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Says to identity what people consented to, and where the agent has been, before egress hears of it: then both let the same through.
#[derive(Debug)]
pub(crate) struct Telling {
    witness: Arc<dyn Witness>,
    right: Held,
    /// Where requests went that have no end yet; nothing if no rule asks. What is on record as sent counts, not what is said at its end.
    sent: Option<Mutex<HashMap<DecisionId, KnownDestination>>>,
}

impl Telling {
    /// The records of a call with this right.
    pub(crate) fn new(witness: Arc<dyn Witness>, right: Held) -> Self {
        let asks = right.right().as_ref().is_some_and(Right::asks_known);
        Self {
            witness,
            right,
            sent: asks.then(Mutex::default),
        }
    }

    /// Notes where requests go; where one went, if this is its end and it was answered whole.
    fn follow(&self, crossing: &Crossing) -> Option<KnownDestination> {
        let mut sent = lock(self.sent.as_ref()?);
        if crossing.stage != Stage::Sent {
            let there = sent.remove(&crossing.decision)?;
            let is_whole = crossing.stage == Stage::Ended(None) && crossing.status.is_some();
            return is_whole.then_some(there);
        }
        let (host, port) = (crossing.host.clone()?, crossing.port?);
        sent.insert(crossing.decision, KnownDestination { host, port });
        None
    }
}

impl Witness for Telling {
    fn record(&self, crossing: Crossing) -> Pending<'_, Result<(), NotRecorded>> {
        Box::pin(async move {
            let decision = crossing.decision;
            let answered = self.follow(&crossing);
            self.witness.record(crossing).await?;
            let learning = answered.and_then(|there| {
                let right = self.right.right();
                right.as_ref().map(|right| right.learn(there))
            });
            let Some(learning) = learning else {
                return Ok(());
            };
            // Who did not hear it would lend for less than is let through: it lends nothing any more.
            if let Err(error) = learning.await
                && self.right.take().is_some()
            {
                let why = one_line(&error);
                report::line(&format!(
                    "{decision} was the call's last with a credential: {why}"
                ));
            }
            Ok(())
        })
    }

    fn consult(&self, request: ConsultedRequest) -> Pending<'_, Advice> {
        self.witness.consult(request)
    }

    fn consent(&self, request: HeldRequest) -> Pending<'_, Result<(), NotConsented>> {
        Box::pin(async move {
            self.witness.consent(request.clone()).await?;
            let approved = self
                .right
                .right()
                .as_ref()
                .and_then(|right| right.approve(&request));
            let Some(approved) = approved else {
                return Ok(());
            };
            approved.await.map_err(|error| {
                let why = one_line(&error);
                report::line(&format!("{} has no credential: {why}", request.decision));
                NotConsented::Unnoted
            })
        })
    }
}

#[cfg(test)]
mod tests;
