//! What a caller is shown of a route: the tools that it could call there.

use casemate_model::SideEffect;

use crate::{claims::Claims, grant::needed, route::RoutePolicy};

/// A tool that a caller could call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    /// What it does to the world, if its manifest says so.
    pub side_effect: Option<SideEffect>,
    /// Whether its sandbox reaches anything outside.
    pub reaches_out: bool,
}

impl RoutePolicy {
    /// What this caller is shown of a tool: nothing, if the route or what is known of the caller rules every call out. What is
    /// shown may still be refused: only [`RoutePolicy::decide`] decides.
    #[must_use]
    pub fn shows(&self, tool: &str, claims: &Claims) -> Option<Shown> {
        let engine = self.engine().ok()?;
        let identity = &self.identity;
        let known = identity.allowed_issuers.contains(&claims.issuer)
            && identity.required_audience == claims.audience
            && identity.allowed_tenants.contains(&claims.tenant)
            && claims.bounds.has_tool(tool);
        if !known || !self.tools.listed().any(|listed| listed == tool) {
            return None;
        }
        let mut scopes = needed(self, tool, engine.tool(tool)).peekable();
        // As a grant has it: what needs no scope is for nobody.
        scopes.peek()?;
        let shown = Shown {
            side_effect: engine.manifest(tool).map(|manifest| manifest.side_effect),
            reaches_out: !self.sandbox.network.allowed_domains.is_empty(),
        };
        scopes
            .all(|scope| claims.scopes.contains(scope))
            .then_some(shown)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::Profile;

    fn claims() -> Claims {
        Claims {
            issuer: "casemate:local".into(),
            subject: "uid:1000".into(),
            tenant: "local".into(),
            audience: "casemate-run".into(),
            scopes: BTreeSet::from(["code:execute".to_owned()]),
            expires_at_ms: 1,
            credential: "uid:1000".into(),
            behalf: Vec::new(),
            bounds: Default::default(),
        }
    }

    /// A tool is shown to whoever could call it, and to nobody else.
    #[test]
    fn whoever_cannot_call_a_tool_is_not_shown_it() {
        let policy = RoutePolicy::of(Profile::builtin_serve().unwrap()).unwrap();
        let shown = policy.shows("python", &claims()).unwrap();
        assert_eq!(shown.side_effect, None);
        assert!(!shown.reaches_out);
        assert_eq!(policy.shows("refunds.issue_refund", &claims()), None);
        let changes: [fn(&mut Claims); 5] = [
            |claims| claims.issuer = "https://elsewhere.example".into(),
            |claims| claims.audience = "another".into(),
            |claims| claims.tenant = "acme".into(),
            |claims| claims.scopes.clear(),
            |claims| claims.bounds.tools = Some(BTreeSet::from(["shell".to_owned()])),
        ];
        for (number, change) in changes.into_iter().enumerate() {
            let mut claims = claims();
            change(&mut claims);
            assert_eq!(policy.shows("python", &claims), None, "{number}");
        }
        let mut bounded = claims();
        bounded.bounds.tools = Some(BTreeSet::from(["shell".to_owned()]));
        assert!(policy.shows("shell", &bounded).is_some());
    }
}
