//! The rights of calls to credentials, as long as their ways out are served.

use std::{sync::Arc, time::Duration};

use casemate_gateway::Policies;
use casemate_policy::RoutePolicy;
use casemate_ports::{EgressError, Pending, ServedWay, WayBound};
use tokio::{task::JoinSet, time::sleep};

use crate::way::Held;

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

/// Ends a right with itself.
#[derive(Debug)]
struct Ends(Held);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.end();
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
    use crate::way::Right;

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
            assert!(held.has_ended());
            // Its connection is gone, too.
            identity.read_to_end(&mut Vec::new()).await.unwrap();
        }
    }
}
