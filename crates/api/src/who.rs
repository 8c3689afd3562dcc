//! Who sends a request, as it was proven when the request came in.

use std::sync::Arc;

use axum::{extract::FromRequestParts, http::request::Parts};
use casemate_callers::{Caller, Permission, Refusal};
use casemate_policy::{Claims, Verified};
use casemate_ports::Owner;

use crate::problem::Problem;

/// Who sends a request. Only the door makes one; a handler takes it from its request, and has no other way to learn who
/// calls.
#[derive(Clone, Debug)]
pub(crate) struct Who(Arc<Caller>);

impl Who {
    pub(crate) fn new(caller: Caller) -> Self {
        Self(Arc::new(caller))
    }

    /// The proven caller.
    pub(crate) fn get(&self) -> &Caller {
        &self.0
    }

    /// What policy is asked with.
    pub(crate) fn claims(&self) -> Verified<Claims> {
        let caller = &self.0;
        let claims = Claims {
            issuer: caller.issuer().to_owned(),
            subject: caller.subject().to_owned(),
            tenant: caller.tenant().to_owned(),
            audience: caller.audience().to_owned(),
            scopes: caller.scopes().clone(),
            expires_at_ms: caller.expires_at_ms(),
            credential: caller.credential().to_owned(),
            behalf: caller.behalf().to_vec(),
            bounds: caller.bounds().clone(),
        };
        Verified::vouch(claims, caller.authority())
    }

    pub(crate) fn tenant(&self) -> &str {
        self.0.tenant()
    }

    /// Whether one of the caller's roles may do one of these.
    pub(crate) fn may_any(&self, permissions: &[Permission]) -> bool {
        permissions.iter().any(|permission| self.0.may(*permission))
    }

    /// Whether what is in this thread of this agent is within the caller's bounds.
    pub(crate) fn reaches(&self, agent: &str, thread: Option<&str>) -> bool {
        let bounds = self.0.bounds();
        bounds.has_agent(agent) && bounds.has_thread(thread)
    }

    /// Whose sessions an agent's are.
    pub(crate) fn owner(&self, agent: String) -> Owner {
        let tenant = self.tenant().to_owned();
        Owner { tenant, agent }
    }

    /// The caller, in the name of an agent.
    pub(crate) fn caller(&self, agent: String) -> casemate_gateway::Caller {
        casemate_gateway::Caller {
            claims: self.claims(),
            agent,
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Who {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        // Whatever came past the door has it.
        let who = parts.extensions.get::<Self>().cloned();
        who.ok_or_else(|| Problem::of_refusal(&Refusal::Missing))
    }
}
