//! The certificates by which destinations are vouched for: made when they are first asked for, and anew long before they end.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use casemate_egress::{Authority, AuthorityError, Clock as _, Name, Subtree};
use casemate_model::Digest;
use casemate_policy::EgressPolicy;

use crate::system::System;

/// From this age on an authority is given to no more calls: those that have it may go on for a day.
const RENEW_AFTER_MS: u64 = 3_600_000;
/// How long one is kept for calls that have it: longer than it lives.
const KEPT_MS: u64 = 25 * 3_600_000;
/// The most authorities; the oldest goes first.
const MAX_AUTHORITIES: usize = 1_024;

/// The authorities of one agent. Their keys are in the memory of this process, and nowhere else.
#[derive(Debug, Default)]
pub(super) struct Authorities(Mutex<BTreeMap<Digest, Made>>);

#[derive(Debug)]
struct Made {
    at_ms: u64,
    /// For which names it may vouch.
    names: Vec<String>,
    authority: Arc<Authority>,
}

impl Authorities {
    /// The certificate, in PEM, of one that vouches for the destinations of `policy`.
    ///
    /// # Errors
    /// When none can be made.
    pub(super) fn current(&self, policy: &EgressPolicy) -> Result<String, AuthorityError> {
        let now_ms = System.now_ms();
        let names = names(policy);
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        made.retain(|_, one| now_ms.saturating_sub(one.at_ms) < KEPT_MS);
        let is_fresh =
            |one: &&Made| now_ms.saturating_sub(one.at_ms) < RENEW_AFTER_MS && one.names == names;
        if let Some(one) = made.values().find(is_fresh) {
            return Ok(one.authority.pem());
        }
        let subtrees: Vec<_> = names
            .iter()
            .filter_map(|name| Name::parse(name).ok().map(Subtree::Name))
            .collect();
        let authority = Authority::new(&subtrees, &System, Arc::new(System))?;
        let pem = authority.pem();
        if made.len() >= MAX_AUTHORITIES
            && let Some(oldest) = made.iter().min_by_key(|(_, one)| one.at_ms)
        {
            let oldest = *oldest.0;
            made.remove(&oldest);
        }
        let one = Made {
            at_ms: now_ms,
            names,
            authority: Arc::new(authority),
        };
        made.insert(Digest::of(pem.as_bytes()), one);
        Ok(pem)
    }

    /// The one with this certificate, if it is known here.
    pub(super) fn get(&self, certificate: &Digest) -> Option<Arc<Authority>> {
        let made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        made.get(certificate).map(|one| Arc::clone(&one.authority))
    }
}

/// The names that rules are about, without the stars in front of them.
fn names(policy: &EgressPolicy) -> Vec<String> {
    let mut names: Vec<_> = policy
        .hosts()
        .map(|host| host.as_str().trim_start_matches("*.").to_owned())
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}
