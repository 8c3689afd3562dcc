//! Action tokens and leases: the right of one call to credentials.

use std::{
    collections::{BTreeSet, HashMap, hash_map::Entry},
    fmt, io,
};

use casemate_authority::Epoch;
use casemate_model::{DecisionId, Digest};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{
    Entropy, Handle, Request, Usage,
    limits::{
        MAX_APPROVED, MAX_BOUND_NAME_BYTES, MAX_LEASE_MS, MAX_LEASES, MAX_TOKENS, MAX_USAGES,
        TOKEN_TTL_MS,
    },
    render::hex,
};

/// What a token is bound to. Whoever redeems it has to say the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Binding {
    /// The call.
    pub call: DecisionId,
    /// Whose data it touches.
    pub tenant: String,
    /// The agent.
    pub agent: String,
    /// The thread of a session, if it is in one.
    pub thread: Option<String>,
    /// The route.
    pub route: String,
    /// The tool.
    pub tool: String,
    /// The digest of the policy that allowed it.
    pub policy: Digest,
    /// The digest of its arguments, and of all else that runs.
    pub arguments: Digest,
}

/// What a token is issued for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// The call.
    pub binding: Binding,
    /// What the policy lets it use.
    pub usages: Vec<Usage>,
    /// How long the call may take, in milliseconds.
    pub lease_ms: u64,
}

/// A right to one lease, once. It never goes into a sandbox.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ActionToken(Zeroizing<String>);

impl ActionToken {
    /// As whoever passes it on writes it.
    #[must_use]
    pub fn of(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// Its text, for whoever passes it on.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ActionToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ActionToken(..)")
    }
}

/// The name of a lease. Only its holder can use it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LeaseId(String);

/// A connection to identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Holder(pub u64);

/// Why there is no token or lease.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// It was never issued here, or redeemed already, or it expired.
    #[error(
        "the action token is not known: it was redeemed, it expired, or it was never issued here"
    )]
    Unknown,
    /// It is of another call. It is burnt.
    #[error("the action token is bound to another call")]
    Binding,
    /// Too much at once.
    #[error("there are too many calls at once with credentials")]
    Full,
    /// The order itself is too large.
    #[error(
        "a call can have {MAX_USAGES} rules with credentials and names of {MAX_BOUND_NAME_BYTES} bytes, and not more"
    )]
    TooLarge,
    /// There is no randomness.
    #[error("the kernel gave no random bytes")]
    Random(#[source] io::Error),
}

/// Why a lease does not cover a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoGrant {
    #[error("the lease is over, or somebody else's")]
    Lease,
    #[error("no rule of the call has this credential for this request")]
    Scope,
    #[error(
        "the rule has this credential for no more requests of the call, unless a person approves one"
    )]
    Spent,
    #[error("no call has such an approval: it is over, or waits for too many")]
    Approval,
}

/// Of which rule of a lease a request was taken.
#[derive(Debug)]
pub(crate) enum Taken {
    /// Counted, by this one.
    Counted(usize),
    /// Approved: exactly this.
    Approved(Box<Request>),
}

struct Pending {
    issuer: Holder,
    order: Order,
    epoch: Epoch,
    until_ms: u64,
}

/// The right of one call, until it ends.
pub(crate) struct Lease {
    /// Who asked for its token: it ends with either.
    issuer: Holder,
    holder: Holder,
    pub(crate) binding: Binding,
    pub(crate) epoch: Epoch,
    usages: Vec<(Usage, u64)>,
    /// What people approved, until it is taken.
    approved: Vec<Request>,
    from_ms: u64,
    until_ms: u64,
}

/// Every token and every lease. In memory only: what was issued before a restart is worth nothing after it.
#[derive(Default)]
pub(crate) struct Desk {
    /// By digest, so that a lookup says nothing of another token.
    tokens: HashMap<Digest, Pending>,
    leases: HashMap<LeaseId, Lease>,
    /// What connections had, until they are gone: what was in an answer may be seen when the lease is over.
    had: HashMap<Holder, BTreeSet<Handle>>,
}

impl Desk {
    /// Issues a token to `issuer`, as of an epoch of the switches.
    pub(crate) fn issue(
        &mut self,
        order: Order,
        issuer: Holder,
        epoch: Epoch,
        entropy: &dyn Entropy,
        now_ms: u64,
    ) -> Result<ActionToken, TokenError> {
        let Binding {
            tenant,
            agent,
            thread,
            route,
            tool,
            ..
        } = &order.binding;
        let thread = thread.as_deref().unwrap_or_default();
        if order.usages.len() > MAX_USAGES
            || [tenant, agent, thread, route, tool]
                .iter()
                .any(|name| name.len() > MAX_BOUND_NAME_BYTES)
        {
            return Err(TokenError::TooLarge);
        }
        self.tokens.retain(|_, pending| pending.until_ms > now_ms);
        if self.tokens.len() >= MAX_TOKENS {
            return Err(TokenError::Full);
        }
        let mut bytes = Zeroizing::new([0; 32]);
        entropy.fill(&mut *bytes).map_err(TokenError::Random)?;
        let token = ActionToken(Zeroizing::new(hex(&*bytes)));
        let until_ms = now_ms.saturating_add(TOKEN_TTL_MS);
        match self.tokens.entry(Digest::of(token.0.as_bytes())) {
            // The same 32 bytes twice are no randomness.
            Entry::Occupied(_) => Err(TokenError::Random(io::ErrorKind::AlreadyExists.into())),
            Entry::Vacant(place) => {
                place.insert(Pending {
                    issuer,
                    order,
                    epoch,
                    until_ms,
                });
                Ok(token)
            }
        }
    }

    /// Redeems a token: whatever comes of it, it is gone.
    pub(crate) fn redeem(
        &mut self,
        token: &ActionToken,
        binding: &Binding,
        holder: Holder,
        entropy: &dyn Entropy,
        now_ms: u64,
    ) -> Result<LeaseId, TokenError> {
        let Pending {
            issuer,
            order,
            epoch,
            until_ms,
        } = self
            .tokens
            .remove(&Digest::of(token.0.as_bytes()))
            .ok_or(TokenError::Unknown)?;
        // One that was issued in the future was issued before a clock went back.
        if until_ms <= now_ms || until_ms > now_ms.saturating_add(TOKEN_TTL_MS) {
            return Err(TokenError::Unknown);
        }
        if order.binding != *binding {
            return Err(TokenError::Binding);
        }
        self.leases.retain(|_, lease| lease.is_alive(now_ms));
        if self.leases.len() >= MAX_LEASES {
            return Err(TokenError::Full);
        }
        let mut bytes = [0; 16];
        entropy.fill(&mut bytes).map_err(TokenError::Random)?;
        let id = LeaseId(hex(&bytes));
        let lease = Lease {
            issuer,
            holder,
            epoch,
            usages: order
                .usages
                .into_iter()
                .filter(|usage| usage.has_tool(&order.binding.tool))
                .map(|usage| (usage, 0))
                .collect(),
            binding: order.binding,
            approved: Vec::new(),
            from_ms: now_ms,
            until_ms: now_ms.saturating_add(order.lease_ms.min(MAX_LEASE_MS)),
        };
        let had = self.had.entry(holder).or_default();
        had.extend(lease.handles().cloned());
        self.leases.insert(id.clone(), lease);
        Ok(id)
    }

    /// Takes one request from a lease; gives back what it is for, and of which rule it was taken.
    pub(crate) fn take(
        &mut self,
        id: &LeaseId,
        holder: Holder,
        request: &Request,
        now_ms: u64,
    ) -> Result<(Binding, Epoch, Taken), NoGrant> {
        let lease = self
            .leases
            .get_mut(id)
            .filter(|lease| lease.holder == holder && lease.is_alive(now_ms));
        let lease = lease.ok_or(NoGrant::Lease)?;
        // What a person saw is sent once, and as it was shown.
        let approved = lease.approved.iter().position(|seen| seen == request);
        let covered = lease.usages.iter().any(|(usage, _)| usage.covers(request));
        if let Some(seen) = approved.filter(|_| covered) {
            let seen = Box::new(lease.approved.swap_remove(seen));
            return Ok((lease.binding.clone(), lease.epoch, Taken::Approved(seen)));
        }
        let mut covering = lease
            .usages
            .iter_mut()
            .enumerate()
            .filter(|(_, (usage, _))| usage.covers(request))
            .peekable();
        if covering.peek().is_none() {
            return Err(NoGrant::Scope);
        }
        let left = covering.find(|(_, (usage, used))| usage.knows(request) && *used < usage.most);
        let (taken, (_, used)) = left.ok_or(NoGrant::Spent)?;
        *used = used.saturating_add(1);
        Ok((lease.binding.clone(), lease.epoch, Taken::Counted(taken)))
    }

    /// Whether a rule of the lease says where in the path of `request` something stands for a secret.
    pub(crate) fn places(&self, id: &LeaseId, request: &Request, stand_in: &str) -> bool {
        let usages = self
            .leases
            .get(id)
            .into_iter()
            .flat_map(|lease| &lease.usages);
        let mut covering = usages.filter(|(usage, _)| usage.covers(request));
        covering.any(|(usage, _)| usage.places(request, stand_in))
    }

    /// Gives a request back for which nothing was rendered.
    pub(crate) fn give_back(&mut self, id: &LeaseId, taken: Taken) {
        let Some(lease) = self.leases.get_mut(id) else {
            return;
        };
        match taken {
            Taken::Counted(taken) => {
                if let Some((_, used)) = lease.usages.get_mut(taken) {
                    *used = used.saturating_sub(1);
                }
            }
            Taken::Approved(seen) => lease.approved.push(*seen),
        }
    }

    /// Notes that a person approved a request of the call that `issuer` ordered for.
    pub(crate) fn approve(
        &mut self,
        issuer: Holder,
        request: Request,
        now_ms: u64,
    ) -> Result<(), NoGrant> {
        let lease = self
            .leases
            .values_mut()
            .find(|lease| lease.issuer == issuer && lease.is_alive(now_ms));
        let lease = lease.filter(|lease| lease.approved.len() < MAX_APPROVED);
        lease.ok_or(NoGrant::Approval)?.approved.push(request);
        Ok(())
    }

    /// Notes where the agent of the call has been that `issuer` ordered for.
    pub(crate) fn learn(&mut self, issuer: Holder, host: &str, port: u16) {
        let mine = self
            .leases
            .values_mut()
            .filter(|lease| lease.issuer == issuer);
        for (usage, _) in mine.flat_map(|lease| &mut lease.usages) {
            usage.learn(host, port);
        }
    }

    /// Whether a lease is still its holder's.
    pub(crate) fn has(&self, id: &LeaseId, holder: Holder, now_ms: u64) -> Option<&Lease> {
        self.leases
            .get(id)
            .filter(|lease| lease.holder == holder && lease.is_alive(now_ms))
    }

    /// Ends a lease of this holder.
    pub(crate) fn end(&mut self, id: &LeaseId, holder: Holder) {
        if self
            .leases
            .get(id)
            .is_some_and(|lease| lease.holder == holder)
        {
            self.leases.remove(id);
        }
    }

    /// Ends all leases that this connection has or asked the tokens for, and those tokens.
    pub(crate) fn leave(&mut self, who: Holder) {
        self.tokens.retain(|_, pending| pending.issuer != who);
        self.leases
            .retain(|_, lease| lease.holder != who && lease.issuer != who);
        self.had.remove(&who);
    }

    /// Whether a lease of this connection has the credential, or had.
    pub(crate) fn had(&self, holder: Holder, handle: &Handle) -> bool {
        self.had
            .get(&holder)
            .is_some_and(|handles| handles.contains(handle))
    }

    /// The credentials that some lease has.
    pub(crate) fn wanted(&self, now_ms: u64) -> Vec<Handle> {
        let alive = self.leases.values().filter(|lease| lease.is_alive(now_ms));
        let mut handles: Vec<_> = alive
            .flat_map(|lease| lease.usages.iter().map(|(usage, _)| usage.handle.clone()))
            .collect();
        handles.sort();
        handles.dedup();
        handles
    }
}

impl Lease {
    /// A clock that went back to before it began does not make it longer.
    const fn is_alive(&self, now_ms: u64) -> bool {
        self.from_ms <= now_ms && now_ms < self.until_ms
    }

    /// The credentials that it has.
    pub(crate) fn handles(&self) -> impl Iterator<Item = &Handle> {
        self.usages.iter().map(|(usage, _)| &usage.handle)
    }
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk")
            .field("tokens", &self.tokens.len())
            .field("leases", &self.leases.len())
            .finish()
    }
}
