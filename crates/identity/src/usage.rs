//! For which requests a lease has a credential: what a rule of the profile that names it says.

use casemate_model::{check_path, has_escaped_slash};
use casemate_policy::{
    DomainRule, EgressRule, PathPattern, RuleApproval, RuleEffect, query_has_only,
};
use serde::{Deserialize, Serialize};

use crate::{Handle, Logins, Request, limits::MAX_KNOWN};

/// The methods of a rule that names none.
const READING: &[&str] = &["GET", "HEAD"];

/// What a rule of a profile lets a credential be used for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Usage {
    /// The credential.
    pub handle: Handle,
    /// The rule.
    pub rule: String,
    /// The host, or `*.` and a host.
    pub host: String,
    /// The ports.
    pub ports: Vec<u16>,
    /// The methods.
    pub methods: Vec<String>,
    /// The paths; any if there is no list.
    pub paths: Option<Vec<String>>,
    /// What a query may have: names, or pairs of one and its only value; anything if there is no list.
    pub query: Option<Vec<String>>,
    /// Whether a path may have an escaped `/`.
    pub escaped_slash: bool,
    /// The tools; all if there is no list.
    pub tools: Option<Vec<String>>,
    /// The logins, if it is for them and not for requests of HTTP.
    pub login: Option<Logins>,
    /// Hosts and ports where the agent has been, if a person approves what goes elsewhere.
    pub known: Option<Vec<(String, u16)>>,
    /// How many requests of one call, beside those that a person approved.
    pub most: u64,
}

impl Usage {
    /// What `rule` says, if it names a credential and lets anything through.
    #[must_use]
    pub fn of(rule: &EgressRule) -> Option<Self> {
        let handle = rule.credential.as_deref()?.parse().ok()?;
        if rule.effect != RuleEffect::Allow {
            return None;
        }
        let paths = rule.paths.as_ref();
        Some(Self {
            handle,
            rule: rule.name.clone(),
            host: rule.host.as_str().to_owned(),
            ports: rule.ports.clone().unwrap_or_else(|| vec![rule.own_port()]),
            methods: rule
                .methods
                .clone()
                .unwrap_or_else(|| READING.iter().map(|method| (*method).to_owned()).collect()),
            paths: paths.map(|paths| paths.iter().map(|path| path.as_str().to_owned()).collect()),
            query: rule.query.clone(),
            escaped_slash: rule.escaped_slash,
            tools: rule.tools.clone(),
            login: rule.user.clone().map(|user| Logins {
                user,
                databases: rule.databases.clone(),
            }),
            known: (rule.approval == RuleApproval::NewDestination).then(Vec::new),
            most: rule.lends(),
        })
    }

    /// Notes that the agent has been there, if that matters to the rule.
    pub fn learn(&mut self, host: &str, port: u16) {
        let is_meant = DomainRule::read(&self.host).is_some_and(|rule| rule.allows(host))
            && self.ports.contains(&port);
        let there = (host.to_owned(), port);
        if let Some(known) = &mut self.known
            && is_meant
            && known.len() < MAX_KNOWN
            && !known.contains(&there)
        {
            known.push(there);
        }
    }

    /// Whether nobody has to approve that it goes there.
    pub(crate) fn knows(&self, request: &Request) -> bool {
        let is_there =
            |(host, port): &(String, u16)| (host, *port) == (&request.host, request.port);
        self.known
            .as_ref()
            .is_none_or(|known| known.iter().any(is_there))
    }

    /// Whether `tool` may make such requests.
    pub(crate) fn has_tool(&self, tool: &str) -> bool {
        self.tools
            .as_ref()
            .is_none_or(|tools| tools.iter().any(|known| known == tool))
    }

    /// Whether it says where in the path of `request` something stands for a secret, and leaves that to no program: a path of its own has it written out.
    pub(crate) fn places(&self, request: &Request, stand_in: &str) -> bool {
        let paths = self.paths.iter().flatten();
        let mut placing = paths.filter(|path| path.contains(stand_in));
        placing.any(|path| is_at(path, request))
    }

    /// Whether `request` is one of those, and it was this rule that let it through. What cannot be read is none.
    pub(crate) fn covers(&self, request: &Request) -> bool {
        let path = |pattern: &String| is_at(pattern, request);
        let is_there = self.handle == request.handle
            && self.rule == request.rule
            && DomainRule::read(&self.host).is_some_and(|host| host.allows(&request.host))
            && self.ports.contains(&request.port);
        match (&self.login, &request.login) {
            (Some(logins), Some(login)) => return is_there && logins.cover(login),
            (None, None) => {}
            (Some(_), None) | (None, Some(_)) => return false,
        }
        is_there
            && self.methods.contains(&request.method)
            && check_path(&request.path).is_ok()
            && (self.escaped_slash || !has_escaped_slash(&request.path))
            && self
                .paths
                .as_ref()
                .is_none_or(|paths| paths.iter().any(path))
            && self.query.as_ref().is_none_or(|known| {
                query_has_only(request.query.as_deref().unwrap_or_default(), known)
            })
    }
}

fn is_at(pattern: &str, request: &Request) -> bool {
    PathPattern::read(pattern).is_some_and(|pattern| pattern.matches(&request.path))
}
