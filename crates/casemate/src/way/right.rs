//! The right of a call to credentials: ordered by whoever decided about the call, redeemed by whoever serves its way out.

use std::{io, path::Path, sync::Arc};

use casemate_identity::{
    ActionToken, Binding, Handle, Issued, LeaseId, Order, RemoteError, RemoteIdentity, Request,
    Side, Signatures, Usage,
};
use casemate_model::{Digest, Text};
use casemate_policy::EgressPolicy;
use casemate_ports::{HeldRequest, KnownDestination, NewWay, Pending};
use tokio::net::UnixStream;

use super::credentials::signed;
use crate::identity::connect_or_start;

/// How often it is ordered at most: an identity may have been about to end when it was found.
pub(crate) const MOST_ORDERS: usize = 2;

/// The right of one call. It ends when this is dropped, whoever redeemed it.
#[derive(Debug)]
pub(crate) struct Right {
    orders: RemoteIdentity,
    usages: Vec<Usage>,
}

impl Right {
    /// One that was ordered over this.
    pub(super) const fn new(orders: RemoteIdentity, usages: Vec<Usage>) -> Self {
        Self { orders, usages }
    }

    /// One that was ordered over this, of a call of whose requests none waits for people.
    #[cfg(test)]
    pub(crate) const fn over(orders: RemoteIdentity) -> Self {
        Self::new(orders, Vec::new())
    }

    /// Says to identity that a person consented to exactly this request; nothing if its rule has no credential.
    pub(super) fn approve(
        &self,
        held: &HeldRequest,
    ) -> Option<impl Future<Output = Result<(), RemoteError>> + Send + use<>> {
        let usage = self.usages.iter().find(|usage| usage.rule == held.rule)?;
        let request = seen(held, usage.handle.clone())?;
        let orders = self.orders.clone();
        Some(async move { orders.approve(request).await })
    }

    /// Whether a rule with a credential asks where the agent has been.
    pub(super) fn asks_known(&self) -> bool {
        self.usages.iter().any(|usage| usage.known.is_some())
    }

    /// Says to identity that the agent has been at a destination.
    pub(super) fn learn(
        &self,
        there: KnownDestination,
    ) -> impl Future<Output = Result<(), RemoteError>> + Send + use<> {
        let orders = self.orders.clone();
        async move { orders.learn(there.host, there.port).await }
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
        login: None,
        signed: signed(fields)?,
    })
}

/// What a right is redeemed by: the token, and the connection that is to have the lease.
#[derive(Debug)]
pub(crate) struct Voucher {
    pub(crate) token: ActionToken,
    pub(crate) connection: UnixStream,
    /// Where handshakes are signed, if the call may have any.
    pub(crate) signs: Option<UnixStream>,
}

/// A lease, and whom to ask.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) identity: RemoteIdentity,
    pub(super) id: LeaseId,
    /// The credentials that are presented when a connection is made.
    pub(super) presents: Vec<Handle>,
    /// Where handshakes are signed, if it has such credentials.
    pub(super) signatures: Option<Arc<Signatures>>,
}

/// A connection to identity that is being made.
type Connecting<'a> = Pending<'a, anyhow::Result<UnixStream>>;
/// Connects to it, as one side.
type Connect<'a> = dyn Fn(Side) -> Connecting<'a> + Send + Sync + 'a;

/// Identity ended while it was asked.
#[derive(Debug, thiserror::Error)]
#[error("identity ended while it was asked")]
struct Ended;

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
    let connect = |side| -> Connecting<'_> { Box::pin(connect_or_start(root, side)) };
    order_by(&connect, way, policy).await
}

/// The same, over these connections.
async fn order_by(
    connect: &Connect<'_>,
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
        usages,
        lease_ms: bound.wall_ms,
    };
    let mut orders = 1;
    loop {
        match ordered(connect, &order).await {
            Ok((orders, voucher)) => return Ok(Some((Right::new(orders, order.usages), voucher))),
            // From the beginning: another identity knows nothing of what this one gave.
            Err(error) if is_gone(&error) && orders < MOST_ORDERS => orders += 1,
            Err(error) => return Err(error),
        }
    }
}

/// Orders once, of one identity.
async fn ordered(
    connect: &Connect<'_>,
    order: &Order,
) -> anyhow::Result<(RemoteIdentity, Voucher)> {
    let identity = RemoteIdentity::over(connect(Side::Orders).await?).await?;
    let Issued { token, presents } = identity.issue(order.clone()).await?;
    let connection = connect(Side::Redeems).await?;
    let signs = match presents {
        true => Some(connect(Side::Signs).await?),
        false => None,
    };
    match identity.is_gone() {
        // The other connections are to another one.
        true => Err(Ended.into()),
        false => {
            let voucher = Voucher {
                token,
                connection,
                signs,
            };
            Ok((identity, voucher))
        }
    }
}

/// Whether identity went away, so that another one may do what was asked.
pub(super) fn is_gone(error: &anyhow::Error) -> bool {
    error.is::<Ended>()
        || error.is::<io::Error>()
        || matches!(error.downcast_ref(), Some(RemoteError::Http(_)))
}

/// Orders and redeems here what the call of `way` may use, as [`order`] does.
pub(super) async fn lease(
    root: &Path,
    way: &NewWay,
    policy: &EgressPolicy,
) -> anyhow::Result<Option<(Right, Lease)>> {
    let mut orders = 1;
    loop {
        let Some((right, voucher)) = order(root, way, policy).await? else {
            return Ok(None);
        };
        match redeem(way, voucher).await {
            Ok(lease) => return Ok(Some((right, lease))),
            Err(error) if is_gone(&error) && orders < MOST_ORDERS => orders += 1,
            Err(error) => return Err(error),
        }
    }
}

/// Redeems the right to credentials of the call of `way`.
pub(super) async fn redeem(way: &NewWay, voucher: Voucher) -> anyhow::Result<Lease> {
    let Voucher {
        token,
        connection,
        signs,
    } = voucher;
    let signs = signs.map(UnixStream::into_std).transpose()?;
    let signatures = signs.map(Signatures::over).transpose()?;
    let identity = RemoteIdentity::over(connection).await?;
    let redeemed = identity.redeem(token, binding(way)?).await?;
    Ok(Lease {
        identity,
        id: redeemed.lease,
        presents: redeemed.presents,
        signatures: signatures.map(Arc::new),
    })
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

#[cfg(test)]
mod tests;

fn undecided() -> anyhow::Error {
    anyhow::anyhow!("nothing was decided about the call")
}
