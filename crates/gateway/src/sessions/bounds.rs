//! To what authority that was given on is restricted: tools, agents and threads.
//!
//! What is named and out of bounds is as unknown as what never was; what is asked for anew and out of bounds is refused.

use casemate_model::{Reason, Within};
use casemate_policy::{Access, Claims, RoutePolicy};
use casemate_ports::{Owner, SessionKeeper};

use super::{Live, SessionStores, Sessions, access::Intent};
use crate::Facts;

/// The tool that contexts are interpreters of.
const PYTHON: &str = "python";

/// Whether a session is one that its owner's caller may touch.
pub(super) fn reaches(claims: &Claims, live: &Live) -> bool {
    let bounds = &claims.bounds;
    bounds.has_agent(&live.owner.agent) && bounds.has_thread(live.thread.as_deref())
}

/// Whether something may be done with a session, as far as the bounds say; otherwise why not.
pub(super) fn access(intent: &Intent<'_>) -> Result<(), String> {
    let bounds = &intent.caller.claims.get().bounds;
    if !bounds.has_agent(&intent.caller.agent) {
        return Err(outside("agent", &intent.caller.agent));
    }
    match intent.access {
        Access::OpenSession | Access::CopySession
            if !bounds.has_thread(intent.subject.thread.as_deref()) =>
        {
            let thread = intent.subject.thread.as_deref();
            Err(outside("thread", thread.unwrap_or_default()))
        }
        Access::OpenContext if !bounds.has_tool(PYTHON) => Err(outside("tool", PYTHON)),
        _ => Ok(()),
    }
}

fn outside(what: &str, name: &str) -> String {
    let name = name.escape_debug();
    format!("the {what} `{name}` is not among those to which the caller's envelope is restricted")
}

impl<K: SessionKeeper, P: SessionStores> Sessions<K, P> {
    /// The thread that a call touches: the one that it names, or that of the session or context that it names.
    #[must_use]
    pub fn thread_of(&self, owner: &Owner, within: Option<&Within>) -> Option<String> {
        let within = within?;
        match &within.thread {
            Some(thread) => Some(thread.clone()),
            None => self.named_by(owner, within)?.thread.clone(),
        }
    }

    fn named_by(&self, owner: &Owner, within: &Within) -> Option<std::sync::Arc<Live>> {
        let live = match (within.session, within.context) {
            (Some(session), _) => self.table.get(session),
            (None, Some(context)) => self.table.with_context(owner, context),
            (None, None) => None,
        };
        live.filter(|live| live.owner == *owner)
    }

    /// The policy of a call that is within the bounds of its caller; otherwise the reason, and why for people. What is out of
    /// bounds is not looked at: nobody learns which policy it has.
    pub(super) fn policy_of(
        &self,
        owner: &Owner,
        facts: &Facts,
        route: Option<&str>,
    ) -> Result<RoutePolicy, (Reason, String)> {
        self.call_is_within(owner, facts)?;
        let policy = self.policy_for(owner, route, facts.ask.within.as_ref());
        policy.ok_or_else(|| self.no_policy(route))
    }

    /// Whether a call is within the bounds of its caller; otherwise the reason, and why for people.
    fn call_is_within(&self, owner: &Owner, facts: &Facts) -> Result<(), (Reason, String)> {
        let Some(bounds) = facts.claims.as_ref().map(|claims| &claims.bounds) else {
            return Ok(());
        };
        if bounds.is_open() {
            return Ok(());
        }
        let refuse = |what, name: &str| Err((Reason::MissingScope, outside(what, name)));
        let ask = &facts.ask;
        if !bounds.has_agent(&ask.agent) {
            return refuse("agent", &ask.agent);
        }
        if !bounds.has_tool(&ask.tool) {
            return refuse("tool", &ask.tool);
        }
        let thread = self.thread_of(owner, ask.within.as_ref());
        if bounds.has_thread(thread.as_deref()) {
            return Ok(());
        }
        match ask.within.as_ref() {
            Some(Within {
                session: Some(session),
                ..
            }) => Err((
                Reason::SessionUnknown,
                format!("there is no session {session}"),
            )),
            Some(Within {
                context: Some(context),
                ..
            }) => Err((
                Reason::ContextUnknown,
                format!("there is no context {context}"),
            )),
            _ => refuse("thread", thread.as_deref().unwrap_or_default()),
        }
    }
}
