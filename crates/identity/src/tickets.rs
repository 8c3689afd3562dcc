//! Rights to one signature each: got with a grant, and shown on the connection for signatures.

use std::collections::HashMap;

use casemate_authority::Epoch;
use casemate_model::Digest;

use crate::{
    Binding, Entropy, Handle, Holder, LeaseId, Secret,
    limits::{MAX_LEASE_TICKETS, MAX_TICKETS, TICKET_TTL_MS},
    render::hex,
};

/// What a ticket is good for.
#[derive(Debug)]
pub(crate) struct Ticket {
    pub(crate) handle: Handle,
    pub(crate) lease: LeaseId,
    pub(crate) holder: Holder,
    pub(crate) binding: Binding,
    pub(crate) since: Epoch,
}

/// Those that were not used yet, by the digest of what is shown.
#[derive(Debug, Default)]
pub(crate) struct Tickets(HashMap<Digest, (Ticket, u64)>);

impl Tickets {
    /// A new one; nothing if there are too many, or no chance.
    pub(crate) fn give(
        &mut self,
        ticket: Ticket,
        entropy: &dyn Entropy,
        now_ms: u64,
    ) -> Option<Secret> {
        self.0.retain(|_, (_, until_ms)| is_good(*until_ms, now_ms));
        let of_lease = |(other, _): &&(Ticket, u64)| other.lease == ticket.lease;
        let of_lease = self.0.values().filter(of_lease).count();
        if self.0.len() >= MAX_TICKETS || of_lease >= MAX_LEASE_TICKETS {
            return None;
        }
        let mut bytes = [0; 16];
        entropy.fill(&mut bytes).ok()?;
        let shown = hex(&bytes);
        let until_ms = now_ms.saturating_add(TICKET_TTL_MS);
        self.0
            .insert(Digest::of(shown.as_bytes()), (ticket, until_ms));
        Some(Secret::made(shown))
    }

    /// Forgets those of which this is so: their leases are over.
    pub(crate) fn end(&mut self, is_over: impl Fn(&Ticket) -> bool) {
        self.0.retain(|_, (ticket, _)| !is_over(ticket));
    }

    /// What this one is good for. It is gone with the first attempt.
    pub(crate) fn take(&mut self, shown: &Secret, now_ms: u64) -> Option<Ticket> {
        let digest = Digest::of(shown.expose().as_bytes());
        let (ticket, until_ms) = self.0.remove(&digest)?;
        is_good(until_ms, now_ms).then_some(ticket)
    }
}

/// One that was given in the future was given before a clock went back.
const fn is_good(until_ms: u64, now_ms: u64) -> bool {
    now_ms < until_ms && until_ms <= now_ms.saturating_add(TICKET_TTL_MS)
}
