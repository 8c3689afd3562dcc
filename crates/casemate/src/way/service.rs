//! The ways out of any number of calls, each with its own sockets, rules, records and origin.

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use casemate_egress::{
    Cidr, Code, Host, Origin, Parts, Pins, Proxy, Resolver, Room, Route, Scheme, Target, Trust,
    Vetting,
};
use casemate_model::{DecisionId, one_line};
use casemate_policy::EgressPolicy;
use casemate_ports::{EgressError, NewWay, ServedWay, WayRules, WaySockets, Witness};
use tokio::{sync::oneshot, time::timeout};

use super::{
    authorities::Authorities,
    call::{Call, Handed, OpenWay},
    credentials::Lent,
    judge::{Rules, Sender},
    known::Known,
    placeholders::{OfCall, Stamp},
    policies::Policies,
    recorder::Records,
    right::{Voucher, is_gone, lease, redeem},
    scrubs::Scrubs,
};
use crate::system::System;

/// Addresses are made up from here for whoever asks.
const MADE_UP: &str = casemate_ports::MADE_UP_ADDRESSES;
/// How long whoever decided about a call waits for its right to credentials: less than for its way out.
pub(crate) const ORDER_TIMEOUT: Duration = Duration::from_secs(6);
/// The most ways out that are open at once.
const MAX_WAYS: usize = 4_096;

/// Whoever keeps the records takes as many requests at once as there may be.
const _: () = assert!(casemate_egress::limits::MAX_REQUESTS <= casemate_gateway::MAX_OPEN_REQUESTS);

/// Serves ways out. A clone is the same service.
#[derive(Clone, Debug)]
pub(crate) struct Service(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    trust: Trust,
    resolver: Arc<dyn Resolver>,
    authorities: Authorities,
    room: Room,
    policies: Policies,
    /// Nothing if there was no chance: then each call has placeholders of its own.
    stamp: Option<Stamp>,
    /// Those whose sockets have not come yet.
    expected: Mutex<HashMap<DecisionId, oneshot::Sender<Handed>>>,
}

impl Service {
    /// One that believes destinations whom `trust` does, and asks `resolver` for their addresses.
    pub(crate) fn new(trust: Trust, resolver: Arc<dyn Resolver>) -> Self {
        Self(Arc::new(Inner {
            trust,
            resolver,
            authorities: Authorities::default(),
            room: Room::default(),
            policies: Policies::default(),
            stamp: Stamp::new(&System),
            expected: Mutex::default(),
        }))
    }

    /// The certificate, in PEM, by which destinations are vouched for under `rules`.
    ///
    /// # Errors
    /// When there are no such rules, or nobody can vouch for their destinations.
    pub(crate) fn authority(&self, rules: &WayRules) -> Result<String, EgressError> {
        let policy = self.0.policies.get(rules)?;
        let current = self.0.authorities.current(&policy);
        current.map_err(|error| EgressError::Refused(one_line(&error)))
    }

    /// Opens the way out of a call, for these sockets or for those that [`Service::take`] is given. Needs a tokio runtime.
    ///
    /// # Errors
    /// When the call believes in an authority that is not ours, or has a way out already.
    pub(crate) fn open(
        &self,
        way: NewWay,
        sockets: Option<WaySockets>,
        witness: Arc<dyn Witness>,
        lent: Arc<Lent>,
    ) -> Result<Box<dyn ServedWay>, EgressError> {
        let (decision, call) = (way.decision, self.call(way, witness, lent)?);
        let (hand, handed) = oneshot::channel();
        match sockets {
            Some(sockets) => {
                let (served, _) = oneshot::channel();
                // The other end is here.
                let _ = hand.send(Handed { sockets, served });
            }
            None => {
                let mut expected = lock(&self.0.expected);
                expected.retain(|_, hand| !hand.is_closed());
                if expected.contains_key(&decision) {
                    let why = format!("{decision} has a way out already");
                    return Err(EgressError::Refused(why));
                }
                if expected.len() >= MAX_WAYS {
                    let why = format!("{MAX_WAYS} calls wait for their sockets");
                    return Err(EgressError::Refused(why));
                }
                expected.insert(decision, hand);
            }
        }
        Ok(Box::new(OpenWay::start(call, handed)))
    }

    /// Serves the sockets of a call whose way out is open and has none yet. Says whether it is so: if not, nobody serves them.
    pub(crate) async fn take(&self, decision: DecisionId, sockets: WaySockets) -> bool {
        let hand = lock(&self.0.expected).remove(&decision);
        let (served, is_served) = oneshot::channel();
        let given = hand.map(|hand| hand.send(Handed { sockets, served }));
        matches!(given, Some(Ok(()))) && is_served.await.is_ok()
    }

    fn call(
        &self,
        way: NewWay,
        witness: Arc<dyn Witness>,
        lent: Arc<Lent>,
    ) -> Result<Call, EgressError> {
        let refused = |why: &str| EgressError::Refused(why.to_owned());
        let authority = self.0.authorities.get(&way.authority);
        let authority = authority
            .ok_or_else(|| refused("its programs believe in an authority that is not ours"))?;
        let policy = self.0.policies.get(&way.rules)?;
        let known = Arc::new(Known::new(way.known));
        let rules = Rules::new(
            Arc::clone(&policy),
            Sender {
                tool: way.tool,
                ceiling: way.ceiling,
                consults: way.consults,
            },
            Arc::clone(&known),
            Arc::clone(&witness),
        );
        let rules = Arc::new(rules.map_err(|error| EgressError::Refused(one_line(&error)))?);
        let (records, watch) = Records::new(witness, known);
        let made_up: Cidr = MADE_UP
            .parse()
            .map_err(|_| refused("no addresses to make up"))?;
        let session = self.0.stamp.as_ref().zip(way.bound.as_ref());
        let (lends, clock) = (policy.has_credentials(), Arc::new(System));
        let placeholders = OfCall::new(Arc::clone(&lent), lends, clock, &System, session);
        let proxy = Proxy::new(Parts {
            judge: Arc::clone(&rules) as _,
            resolver: Arc::clone(&self.0.resolver),
            injector: Arc::clone(&lent) as _,
            placeholders: placeholders.map(|placeholders| Arc::new(placeholders) as _),
            filters: Arc::new(Scrubs::of(Arc::clone(&lent), Arc::new(System))),
            recorder: Arc::new(records),
            clock: Arc::new(System),
            entropy: Arc::new(System),
            vetting: Vetting::default(),
            trust: self.0.trust.clone(),
            authority,
            routes: routes(&policy).map_err(|code| refused(code.hint()))?,
            pins: Pins::new(made_up).map_err(|error| EgressError::Refused(one_line(&error)))?,
            room: self.0.room.clone(),
        });
        Ok(Call {
            proxy: proxy.map_err(|error| EgressError::Refused(one_line(&error)))?,
            rules,
            origin: Origin {
                call: way.decision,
                trace: way.trace,
            },
            watch,
            lent,
        })
    }

    /// What a call may use of the credentials of the state directory at `root`. Needs a tokio runtime.
    ///
    /// # Errors
    /// When there are no such rules. That there are no credentials is said to the requests that want one.
    pub(super) async fn lend(&self, root: &Path, way: &NewWay) -> Result<Arc<Lent>, EgressError> {
        let policy = self.0.policies.get(&way.rules)?;
        let lease = timeout(ORDER_TIMEOUT, lease(root, way, &policy)).await;
        let lease = lease.unwrap_or_else(|_| Err(anyhow::anyhow!("identity is too slow")));
        Ok(match lease {
            Ok(Some((right, lease))) => Lent::of(Ok(lease), Some(right)),
            Ok(None) => Lent::nothing("no rule of the profile has a credential that can be one"),
            Err(error) => Lent::nothing(&one_line(error.as_ref())),
        })
    }

    /// What a call may use for which another process ordered this. Needs a tokio runtime.
    ///
    /// # Errors
    /// When identity has gone since: it may be ordered anew.
    pub(crate) async fn borrow(
        &self,
        way: &NewWay,
        voucher: Option<Voucher>,
    ) -> Result<Arc<Lent>, EgressError> {
        let Some(voucher) = voucher else {
            let why = "the gateway has none for this call; its log says why";
            return Ok(Lent::nothing(why));
        };
        match redeem(way, voucher).await {
            Err(error) if is_gone(&error) => Err(EgressError::Unlent(one_line(error.as_ref()))),
            redeemed => Ok(Lent::of(redeemed, None)),
        }
    }
}

/// The base URLs of a profile, as the proxy has them.
fn routes(policy: &EgressPolicy) -> Result<Vec<Route>, Code> {
    let urls = policy.base_urls().iter();
    urls.map(|url| {
        let target = Target {
            scheme: Scheme::Https,
            host: Host::parse(url.host.as_str())?,
            port: url.port,
        };
        Route::new(&url.name, target, &url.base)
    })
    .collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
