//! The rights of calls to credentials, as long as their ways out are served.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use casemate_gateway::Policies;
use casemate_policy::RoutePolicy;
use casemate_ports::{EgressError, Pending, ServedWay, WayBound};
use tokio::{task::JoinSet, time::sleep};

use crate::way::Right;

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

/// A way out whose call has a right to credentials. The right ends with it, when it is revoked, and when another policy is in
/// force than the one that allowed the call: whoever serves it loses its lease, whatever it does.
#[derive(Debug)]
pub(super) struct Lending {
    served: Box<dyn ServedWay>,
    right: Arc<Mutex<Option<Right>>>,
    /// Ends when it is dropped.
    _looks: JoinSet<()>,
}

impl Lending {
    /// Begins to look after `right`. Needs a tokio runtime.
    pub(super) fn start(served: Box<dyn ServedWay>, right: Right, still: Still) -> Self {
        let right = Arc::new(Mutex::new(Some(right)));
        let mut looks = JoinSet::new();
        let looked_after = Arc::clone(&right);
        looks.spawn(async move {
            while still.holds() {
                sleep(LOOK).await;
            }
            end(&looked_after);
        });
        Self {
            served,
            right,
            _looks: looks,
        }
    }
}

fn end(right: &Mutex<Option<Right>>) {
    let mut right = right.lock().unwrap_or_else(PoisonError::into_inner);
    drop(right.take());
}

impl ServedWay for Lending {
    fn lost(&mut self) -> Pending<'_, EgressError> {
        self.served.lost()
    }

    fn revoke(&self) {
        end(&self.right);
        self.served.revoke();
    }

    fn close(self: Box<Self>) -> Pending<'static, Result<(), EgressError>> {
        let Self {
            served,
            right,
            _looks,
        } = *self;
        Box::pin(async move {
            // What was found in its answers is noted first.
            let closed = served.close().await;
            end(&right);
            closed
        })
    }
}
