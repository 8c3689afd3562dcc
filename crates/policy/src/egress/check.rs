//! What has to be true of a rule as a whole, and beside the others of its profile.

use casemate_model::{DestinationClass, SideEffect};

use super::{
    EgressRule, PathPattern, RuleApproval, RuleEffect, RuleExport, RuleKind, RuleProtocol,
    WebSocket,
    rule::READING,
    tenant::{Place, is_public_suffix, places_of},
};
use crate::{
    diagnostic::{Fault, Report},
    profile::Profile,
    rules::{listed, nearest},
    tree::{Member, Node, Value},
    visible::quoted,
};

/// What a rule that denies can say.
const OF_DENIALS: &[&str] = &[
    "name", "effect", "host", "ports", "methods", "paths", "tools", "body",
];

/// What a rule for logins can say.
const OF_LOGINS: &[&str] = &[
    "name",
    "effect",
    "protocol",
    "host",
    "ports",
    "class",
    "cidr",
    "user",
    "databases",
    "credential",
    "credential_requests",
    "tools",
    "side_effect",
    "max_requests",
    "max_bytes",
    "max_answer_bytes",
];

/// Reports what is wrong with `rule`, which was read from `node`.
pub(super) fn check(rule: &EgressRule, profile: &Profile, node: &Node, report: &mut Report<'_>) {
    let mut check = Check { node, report };
    check.identity(rule, profile);
    match rule.effect {
        RuleEffect::Deny => check.only(OF_DENIALS, "a rule that denies has no such key"),
        RuleEffect::Allow => {
            check.destination(rule, profile);
            check.paths(rule);
            check.tenants(rule);
            check.kind(rule, profile);
            check.protocol(rule, profile);
        }
    }
    check.body(rule);
}

struct Check<'c, 's> {
    node: &'c Node,
    report: &'c mut Report<'s>,
}

impl Check<'_, '_> {
    fn members(&self) -> &[Member] {
        match &self.node.value {
            Value::Table(members) => members,
            _ => &[],
        }
    }

    /// Reports at the key, or at the rule if the key is not there.
    fn fault(&mut self, key: &str, message: impl Into<String>, hint: impl Into<String>) {
        let member = self.members().iter().find(|member| member.key == key);
        let at = member.map_or(self.node.at, |member| member.node.at);
        self.report.add(at, key, || Fault::new(message, hint));
    }

    fn identity(&mut self, rule: &EgressRule, profile: &Profile) {
        if !rule.name.is_empty() && profile.egress.iter().any(|other| other.name == rule.name) {
            let message = format!("another rule is called {}", quoted(&rule.name));
            self.fault("name", message, "give each its own name");
        }
        let tools = || profile.tools.listed();
        let strangers = rule
            .tools
            .iter()
            .flatten()
            .filter(|tool| tools().all(|known| known != tool.as_str()));
        for tool in strangers {
            let hint = match nearest(tool, tools()) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => "add it to one of the lists of `tools`, or leave it out".to_owned(),
            };
            self.fault(
                "tools",
                format!("{} is not a tool of the profile", quoted(tool)),
                hint,
            );
        }
    }

    fn only(&mut self, known: &[&str], message: &str) {
        let others: Vec<_> = self
            .members()
            .iter()
            .map(|member| member.key.clone())
            .filter(|key| !known.contains(&key.as_str()))
            .collect();
        for key in others {
            let hint = format!(
                "leave it out; it can have {}",
                listed(known.iter().copied())
            );
            self.fault(&key, message, hint);
        }
    }

    fn destination(&mut self, rule: &EgressRule, profile: &Profile) {
        let network = &profile.sandbox.network;
        let host = rule.host.as_str();
        if host.is_empty() {
            return;
        }
        if !network
            .allowed_domains
            .iter()
            .any(|allowed| allowed.covers(&rule.host))
        {
            self.fault(
                "host",
                format!(
                    "{} is not in `sandbox.network.allowed_domains`",
                    quoted(host)
                ),
                "add it there: rules only narrow what is there",
            );
        }
        if is_public_suffix(&rule.host) {
            self.fault(
                "host",
                format!("anybody can have a name below {}", quoted(host)),
                "name the hosts that are meant",
            );
        }
        let below = network
            .classes
            .iter()
            .filter(|(known, _)| rule.host.covers(known))
            .map(|(_, class)| *class);
        if let Some(class) = below
            .chain(network.class_of_all(&rule.host))
            .find(|class| *class != rule.class)
        {
            self.fault(
                "class",
                format!(
                    "`sandbox.network.classes` calls {} `{class}`, and the rule `{}`",
                    quoted(host),
                    rule.class
                ),
                "say the same in both",
            );
        }
        if rule.class == DestinationClass::Internal && rule.cidr.is_empty() {
            self.fault(
                "cidr",
                "an internal destination without networks",
                "say in which networks its addresses are, as in `[\"10.1.0.0/16\"]`",
            );
        }
        if rule.class != DestinationClass::Internal && !rule.cidr.is_empty() {
            self.fault(
                "cidr",
                format!("networks for a destination that is `{}`", rule.class),
                "leave them out, or make it `internal`",
            );
        }
    }

    fn paths(&mut self, rule: &EgressRule) {
        let mut paths = rule.paths.iter().flatten();
        if !rule.escaped_slash && paths.any(PathPattern::has_escaped_slash) {
            self.fault(
                "paths",
                "`%2F` in a path, and the rule refuses it",
                "if the destination keeps it apart from `/`, say `escaped_slash = \"allowed\"`",
            );
        }
    }

    fn tenants(&mut self, rule: &EgressRule) {
        let places = places_of(&rule.host);
        let host = quoted(rule.host.as_str());
        if places.contains(&Place::Nowhere) {
            self.fault(
                "host",
                format!("what is sent to {host} can be read by anybody who knows where"),
                "leave it out, or name other hosts",
            );
        }
        if places.contains(&Place::Credential) && rule.credential.is_none() {
            self.fault(
                "credential",
                format!(
                    "strangers have places on {host}, and only the credential says whose is meant"
                ),
                "give the rule a credential: then no other is sent",
            );
        }
        let named = places.iter().any(|place| place.is_named());
        if named && rule.tenants.is_empty() {
            self.fault(
                "tenants",
                format!("strangers have places on {host} too"),
                "say whose are meant: the reference page of profiles says how",
            );
        }
        if !named && !rule.tenants.is_empty() {
            self.fault(
                "tenants",
                format!("requests to {host} do not say whose place they mean"),
                "leave it out",
            );
        }
    }

    fn kind(&mut self, rule: &EgressRule, profile: &Profile) {
        if rule.plaintext && rule.class != DestinationClass::Internal {
            self.fault(
                "plaintext",
                format!("`http` to a destination that is `{}`", rule.class),
                "leave it out: only what stays in networks of your own may be readable on the way",
            );
        }
        if rule.plaintext && rule.credential.is_some() {
            self.fault(
                "plaintext",
                "a credential that others on the way could read",
                "leave out one of the two",
            );
        }
        if rule.credential_requests != 1 {
            let writes = rule.side_effect >= SideEffect::Write;
            if rule.credential.is_none() || !writes || rule.approval == RuleApproval::Always {
                self.fault(
                    "credential_requests",
                    "only writes with a credential, for which nobody is asked, are counted",
                    "leave it out: a rule that reads gives its credential to each request, and one whose `approval` is `always` to each that was approved",
                );
            }
        }
        if rule.kind == RuleKind::Browse {
            let reading = |methods: &Vec<String>| {
                methods
                    .iter()
                    .all(|method| READING.contains(&method.as_str()))
            };
            for (key, wrong) in [
                ("credential", rule.credential.is_some()),
                ("methods", !rule.methods.as_ref().is_none_or(reading)),
                ("websocket", rule.websocket != WebSocket::Off),
                ("body", !rule.body.is_open()),
            ] {
                if wrong {
                    self.fault(
                        key,
                        "looking at pages needs no such thing",
                        "leave it out, or make it an `api`",
                    );
                }
            }
        }
        let meet = |other: &&EgressRule| {
            other.effect == RuleEffect::Allow
                && (other.host.covers(&rule.host) || rule.host.covers(&other.host))
        };
        let apart = |other: &EgressRule| {
            (rule.kind == RuleKind::Browse && other.credential.is_some())
                || (other.kind == RuleKind::Browse && rule.credential.is_some())
        };
        if let Some(other) = profile
            .egress
            .iter()
            .filter(meet)
            .find(|other| apart(other))
        {
            self.fault(
                "host",
                format!("the rule {} is for the same host, and one of the two has a credential where the other looks at pages", quoted(&other.name)),
                "keep hosts that are looked at apart from hosts that are called with a credential",
            );
        }
    }

    fn protocol(&mut self, rule: &EgressRule, profile: &Profile) {
        let is_login = rule.protocol != RuleProtocol::Http;
        if is_login {
            self.only(OF_LOGINS, "a rule for logins has no such key");
        }
        for (key, is_there) in [
            ("user", rule.user.is_some()),
            ("databases", !rule.databases.is_empty()),
        ] {
            if is_there && !is_login {
                self.fault(
                    key,
                    "HTTP has no login",
                    "say `protocol = \"postgres\"`, or leave it out",
                );
            }
            if !is_there && is_login {
                self.fault(key, "a login has one", "say it: programs cannot choose it");
            }
        }
        if is_login && rule.credential.is_none() {
            self.fault(
                "credential",
                "a login without a credential",
                "name the one that logs in",
            );
        }
        let meets = |other: &&EgressRule| {
            other.effect == RuleEffect::Allow
                && other.protocol != rule.protocol
                && (other.host.covers(&rule.host) || rule.host.covers(&other.host))
                && rule.all_ports().any(|port| other.has_port(port))
        };
        if let Some(other) = profile.egress.iter().find(meets) {
            let message = format!(
                "the rule {} has another protocol at the same port",
                quoted(&other.name)
            );
            self.fault("protocol", message, "one port speaks one protocol");
        }
    }

    fn body(&mut self, rule: &EgressRule) {
        let body = &rule.body;
        let kinds = [
            body.sha256.is_some(),
            !body.json.is_empty(),
            body.has_graphql(),
            body.has_rpc(),
        ];
        if kinds.into_iter().filter(|kind| *kind).count() > 1 {
            self.fault(
                "body",
                "conditions for more than one kind of body",
                "make a rule for each",
            );
        }
        if !body.is_open() && rule.websocket != WebSocket::Off {
            self.fault(
                "body",
                "conditions for bodies, and a WebSocket, which has none",
                "make a rule for each",
            );
        }
        let waits = [
            ("approval", rule.approval != RuleApproval::Never),
            ("export", rule.export == RuleExport::Approval),
        ];
        for (key, waits) in waits {
            if waits && rule.websocket != WebSocket::Off {
                self.fault(
                    key,
                    "consent of a person, and a WebSocket, which nobody can be shown before",
                    "make a rule for each",
                );
            }
        }
        let calls = |methods: &Vec<String>| methods.iter().any(|method| method == "tools/call");
        if body.rpc_methods.as_ref().is_some_and(calls)
            && body.rpc_tools.is_none()
            && rule.effect == RuleEffect::Allow
        {
            self.fault(
                "body",
                "`tools/call` without the tools that may be called",
                "list them as `tools` beside `methods`",
            );
        }
    }
}
