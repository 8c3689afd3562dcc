//! The rights of calls to credentials, as long as their ways out are served.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use casemate_gateway::Policies;
use casemate_model::one_line;
use casemate_policy::RoutePolicy;
use casemate_ports::{
    Advice, ConsultedRequest, Crossing, EgressError, HeldRequest, NotConsented, NotRecorded,
    Pending, ServedWay, WayBound, Witness,
};
use tokio::{task::JoinSet, time::sleep};

use crate::{report, way::Right};

/// How often it is looked whether the policy is still the one that allowed the call.
const LOOK: Duration = Duration::from_millis(100);

/// Whether what allowed a call is still in force.
#[derive(Debug)]
pub(super) struct Still {
    governing: Arc<dyn Policies>,
    bound: WayBound,
}

impl Still {
    /// For a call that is bound to this.
    pub(super) fn new(governing: Arc<dyn Policies>, bound: WayBound) -> Self {
        Self { governing, bound }
    }

    /// What cannot be told is a no (I1).
    fn holds(&self) -> bool {
        self.governing.current().is_ok_and(|governing| {
            let policy = governing.get(&self.bound.route);
            policy.map(RoutePolicy::policy_digest) == Some(self.bound.policy)
        })
    }
}

/// The right of a call, until it ends. A clone is the same.
#[derive(Clone, Debug)]
pub(super) struct Held(Arc<Mutex<Option<Right>>>);

impl Held {
    pub(super) fn new(right: Right) -> Self {
        Self(Arc::new(Mutex::new(Some(right))))
    }

    fn end(&self) {
        drop(self.right().take());
    }

    fn right(&self) -> MutexGuard<'_, Option<Right>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends a right with itself.
#[derive(Debug)]
struct Ends(Held);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Says to identity what people consented to, before egress hears of it: no other request gets their consent's credential.
#[derive(Debug)]
pub(super) struct Approving {
    pub(super) witness: Arc<dyn Witness>,
    pub(super) right: Held,
}

impl Witness for Approving {
    fn record(&self, crossing: Crossing) -> Pending<'_, Result<(), NotRecorded>> {
        self.witness.record(crossing)
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
            if let Some(Err(error)) = match approved {
                Some(approved) => Some(approved.await),
                None => None,
            } {
                // It will not get its credential, and says so in its record.
                let why = one_line(&error);
                report::line(&format!("{} has no credential: {why}", request.decision));
            }
            Ok(())
        })
    }
}

/// A way out whose call has a right to credentials. The right ends with it, when it is revoked, and when another policy is in
/// force than the one that allowed the call: whoever serves it loses its lease, whatever it does.
#[derive(Debug)]
pub(super) struct Lending {
    served: Box<dyn ServedWay>,
    right: Ends,
    /// Ends when it is dropped.
    _looks: JoinSet<()>,
}

impl Lending {
    /// Begins to look after `right`. Needs a tokio runtime.
    pub(super) fn start(served: Box<dyn ServedWay>, right: Held, still: Still) -> Self {
        let mut looks = JoinSet::new();
        let looked_after = right.clone();
        looks.spawn(async move {
            while still.holds() {
                sleep(LOOK).await;
            }
            looked_after.end();
        });
        Self {
            served,
            right: Ends(right),
            _looks: looks,
        }
    }
}

impl ServedWay for Lending {
    fn lost(&mut self) -> Pending<'_, EgressError> {
        self.served.lost()
    }

    fn revoke(&self) {
        self.right.0.end();
        self.served.revoke();
    }

    fn close(self: Box<Self>) -> Pending<'static, Result<(), EgressError>> {
        let Self {
            served,
            right,
            _looks,
        } = *self;
        // The call is over, however long it takes until its way out is closed.
        drop(right);
        served.close()
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use casemate_identity::RemoteIdentity;
    use tokio::io::{AsyncReadExt as _, duplex};

    use super::*;

    /// Serves for ever, whatever is said to it.
    #[derive(Debug)]
    struct Hangs;

    impl ServedWay for Hangs {
        fn lost(&mut self) -> Pending<'_, EgressError> {
            Box::pin(pending())
        }

        fn revoke(&self) {}

        fn close(self: Box<Self>) -> Pending<'static, Result<(), EgressError>> {
            Box::pin(pending())
        }
    }

    /// R76: a right ends with its call: whoever serves its way out keeps it neither by hanging, nor when nobody closes it.
    #[tokio::test]
    async fn a_right_ends_before_its_way_out_is_closed() {
        for is_closed in [true, false] {
            let (here, mut identity) = duplex(64 * 1024);
            let orders = RemoteIdentity::over(here).await.unwrap();
            let held = Held::new(Right::over(orders));
            let lending = Box::new(Lending {
                served: Box::new(Hangs),
                right: Ends(held.clone()),
                _looks: JoinSet::new(),
            });
            let _closing = match is_closed {
                true => Some(lending.close()),
                false => {
                    drop(lending);
                    None
                }
            };
            assert!(held.right().is_none());
            // Its connection is gone, too.
            identity.read_to_end(&mut Vec::new()).await.unwrap();
        }
    }
}
