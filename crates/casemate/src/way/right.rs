//! The right of a call to credentials: ordered by whoever decided about the call, redeemed by whoever serves its way out.

use std::{collections::BTreeMap, path::Path};

use casemate_identity::{
    ActionToken, Binding, Handle, LeaseId, Order, RemoteError, RemoteIdentity, Request, Side, Usage,
};
use casemate_model::{Digest, Text};
use casemate_policy::EgressPolicy;
use casemate_ports::{HeldRequest, NewWay};
use tokio::net::UnixStream;

use super::credentials::signed;
use crate::identity::connect_or_start;

/// How often it is ordered at most: an identity may have been about to end when it was found.
const MOST_ORDERS: usize = 2;

/// The right of one call. It ends when this is dropped, whoever redeemed it.
#[derive(Debug)]
pub(crate) struct Right {
    orders: RemoteIdentity,
    /// The credentials of the rules under which people are asked.
    handles: BTreeMap<String, Handle>,
}

impl Right {
    /// One that was ordered over this, of a call of whose requests none waits for people.
    #[cfg(test)]
    pub(crate) const fn over(orders: RemoteIdentity) -> Self {
        Self {
            orders,
            handles: BTreeMap::new(),
        }
    }

    /// Says to identity that a person consented to exactly this request; nothing if its rule has no credential.
    pub(crate) fn approve(
        &self,
        held: &HeldRequest,
    ) -> Option<impl Future<Output = Result<(), RemoteError>> + Send + use<>> {
        let handle = self.handles.get(&held.rule)?;
        let request = seen(held, handle.clone())?;
        let orders = self.orders.clone();
        Some(async move { orders.approve(request).await })
    }
}

/// What a person saw, as a grant is bound to it.
fn seen(held: &HeldRequest, handle: Handle) -> Option<Request> {
    let (host, port) = held.target.strip_prefix("https://")?.rsplit_once(':')?;
    let (path, query) = match held.path.split_once('?') {
        Some((path, query)) => (path, Some(query.to_owned())),
        None => (held.path.as_str(), None),
    };
    let fields = held.fields.iter();
    let fields = fields.map(|(name, value)| (name.as_str(), Some(value.as_str())));
    let body = held.body.as_ref().map_or(&b""[..], Text::as_bytes);
    Some(Request {
        handle,
        rule: held.rule.clone(),
        method: held.method.clone(),
        host: host.to_owned(),
        port: port.parse().ok()?,
        path: path.to_owned(),
        query,
        body: Some(Digest::of(body)),
        signed: signed(fields)?,
    })
}

/// What a right is redeemed by: the token, and the connection that is to have the lease.
#[derive(Debug)]
pub(crate) struct Voucher {
    pub(crate) token: ActionToken,
    pub(crate) connection: UnixStream,
}

/// A lease, and whom to ask.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) identity: RemoteIdentity,
    pub(super) id: LeaseId,
}

/// Orders what the call of `way` may use under `policy`, of the credentials of the state directory at `root`; nothing if none of its
/// rules has any. Needs a tokio runtime, which has to go on while the right is needed.
///
/// # Errors
/// When nothing was decided about the call, or identity does not give it.
pub(crate) async fn order(
    root: &Path,
    way: &NewWay,
    policy: &EgressPolicy,
) -> anyhow::Result<Option<(Right, Voucher)>> {
    let mut usages: Vec<_> = policy.all().filter_map(Usage::of).collect();
    if usages.is_empty() {
        return Ok(None);
    }
    for usage in &mut usages {
        for known in &way.known {
            usage.learn(&known.host, known.port);
        }
    }
    let bound = way.bound.as_ref().ok_or_else(undecided)?;
    let order = Order {
        binding: binding(way)?,
        usages: usages.clone(),
        lease_ms: bound.wall_ms,
    };
    let mut orders = 1;
    loop {
        let stream = connect_or_start(root, Side::Orders).await?;
        let identity = RemoteIdentity::over(stream).await?;
        match identity.issue(order.clone()).await {
            Ok(token) => {
                let connection = connect_or_start(root, Side::Redeems).await?;
                let handles = usages
                    .iter()
                    .map(|usage| (usage.rule.clone(), usage.handle.clone()));
                let right = Right {
                    handles: handles.collect(),
                    orders: identity,
                };
                return Ok(Some((right, Voucher { token, connection })));
            }
            Err(RemoteError::Http(_)) if orders < MOST_ORDERS => orders += 1,
            Err(error) => return Err(error.into()),
        }
    }
}

/// Redeems the right to credentials of the call of `way`.
pub(super) async fn redeem(
    way: &NewWay,
    Voucher { token, connection }: Voucher,
) -> anyhow::Result<Lease> {
    let identity = RemoteIdentity::over(connection).await?;
    let id = identity.redeem(token, binding(way)?).await?;
    Ok(Lease { identity, id })
}

fn binding(way: &NewWay) -> anyhow::Result<Binding> {
    let bound = way.bound.as_ref().ok_or_else(undecided)?;
    Ok(Binding {
        call: way.decision,
        tenant: bound.tenant.clone(),
        agent: bound.agent.clone(),
        thread: bound.session.map(|session| session.to_string()),
        route: bound.route.clone(),
        tool: way.tool.clone(),
        policy: bound.policy,
        arguments: bound.action,
    })
}

fn undecided() -> anyhow::Error {
    anyhow::anyhow!("nothing was decided about the call")
}
