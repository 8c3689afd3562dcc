//! What rules of egress newly let through.

use std::{cmp::Reverse, collections::BTreeMap};

use serde_json::Value;

use super::{Compare, Direction};
use crate::{
    egress::{BodyRule, EgressRule, GraphqlKind, PathPattern, RuleEffect},
    profile::Profile,
    visible::quoted,
};

impl Compare<'_> {
    /// Rules are the same rule if they have the same name.
    pub(super) fn egress(&mut self, then: &Profile, now: &Profile) {
        let find = |profile: &Profile, name: &str| -> Option<EgressRule> {
            profile
                .egress
                .iter()
                .find(|rule| rule.name == name)
                .cloned()
        };
        for rule in &now.egress {
            match find(then, &rule.name) {
                None => self.added(rule),
                Some(before) if before == *rule => {}
                // Where a rule keeps something back, saying less in it lets more happen, and so may saying more.
                Some(before) if before.restrains() || rule.restrains() => {
                    self.add(
                        Direction::Wider,
                        format!(
                            "the egress rule {}, which keeps something back, is another one",
                            quoted(&rule.name)
                        ),
                    );
                }
                Some(before) => self.changed(&before, rule),
            }
        }
        for rule in then
            .egress
            .iter()
            .filter(|rule| find(now, &rule.name).is_none())
        {
            self.gone(rule, now);
        }
    }

    fn added(&mut self, rule: &EgressRule) {
        let direction = match rule.effect {
            RuleEffect::Allow => Direction::Wider,
            RuleEffect::Deny => Direction::Narrower,
        };
        self.add(
            direction,
            format!(
                "the egress rule {} is new, for {}",
                quoted(&rule.name),
                quoted(rule.host.as_str())
            ),
        );
    }

    /// Without a rule for it, a host falls to those for more hosts.
    fn gone(&mut self, rule: &EgressRule, now: &Profile) {
        let name = quoted(&rule.name);
        let mut others = now
            .egress
            .iter()
            .filter(|other| other.effect == RuleEffect::Allow);
        let domains = &now.sandbox.network.allowed_domains;
        if rule.restrains() {
            self.add(
                Direction::Wider,
                format!("the egress rule {name}, which keeps something back, is gone"),
            );
        } else if let Some(other) = others.find(|other| other.host.covers(&rule.host)) {
            self.add(
                Direction::Wider,
                format!(
                    "the egress rule {name} is gone, and {} holds for its host",
                    quoted(&other.name)
                ),
            );
        } else if domains.iter().any(|domain| domain.covers(&rule.host)) {
            self.add(
                Direction::Wider,
                format!(
                    "the egress rule {name} is gone, and its host is one that may be looked at"
                ),
            );
        } else {
            self.add(
                Direction::Narrower,
                format!("the egress rule {name} is gone"),
            );
        }
    }

    /// Of rules that only let through.
    fn changed(&mut self, then: &EgressRule, now: &EgressRule) {
        let of = |key: &str| format!("{key} of the egress rule {}", quoted(&now.name));
        let EgressRule {
            name: _,
            // Neither denies, and neither waits for approval.
            effect: _,
            approval: _,
            protocol,
            host,
            // What it comes to is compared.
            ports: _,
            class,
            cidr,
            tenants,
            methods,
            paths,
            escaped_slash,
            query,
            max_query_bytes,
            headers,
            max_body_bytes,
            export_above_bytes,
            export,
            side_effect,
            credential,
            kind,
            tools,
            // What it comes to is compared.
            credential_requests: _,
            max_requests,
            max_bytes,
            max_answer_bytes,
            plaintext,
            websocket,
            body,
            user,
            databases,
        } = then;
        self.same(&of("protocol"), protocol, &now.protocol);
        self.same(&of("host"), host, &now.host);
        self.same(&of("user"), user, &now.user);
        self.grants(&of("databases"), databases, &now.databases);
        self.same(&of("class"), class, &now.class);
        self.same(&of("credential"), credential, &now.credential);
        self.same(&of("kind"), kind, &now.kind);
        self.grants(&of("cidr"), &texts(cidr), &texts(&now.cidr));
        self.grants(&of("tenants"), tenants, &now.tenants);
        // What a missing list stands for.
        let all_ports = |rule: &EgressRule| texts(&rule.all_ports().collect::<Vec<_>>());
        self.grants(&of("ports"), &all_ports(then), &all_ports(now));
        let reading = || ["GET", "HEAD"].map(str::to_owned).to_vec();
        let all_methods = |methods: &Option<Vec<String>>| methods.clone().unwrap_or_else(reading);
        self.grants(
            &of("methods"),
            &all_methods(methods),
            &all_methods(&now.methods),
        );
        let patterns = |paths: &Option<Vec<PathPattern>>| -> Option<Vec<String>> {
            let paths = paths.as_ref()?.iter();
            Some(paths.map(|path| path.as_str().to_owned()).collect())
        };
        self.optional(
            &of("paths"),
            patterns(paths).as_deref(),
            patterns(&now.paths).as_deref(),
        );
        self.optional(
            &of("query"),
            query.as_deref(),
            news_of(query, &now.query).as_deref(),
        );
        self.optional(&of("tools"), tools.as_deref(), now.tools.as_deref());
        let lines = |headers: &BTreeMap<String, String>| -> Vec<String> {
            let headers = headers.iter();
            headers
                .map(|(name, value)| format!("{name}: {value}"))
                .collect()
        };
        self.demands(&of("headers"), &lines(headers), &lines(&now.headers));
        let (lent, lends) = (then.lends(), now.lends());
        for (key, then, now) in [
            ("credential_requests", &lent, lends),
            ("max_query_bytes", max_query_bytes, now.max_query_bytes),
            ("max_body_bytes", max_body_bytes, now.max_body_bytes),
            (
                "export_above_bytes",
                export_above_bytes,
                now.export_above_bytes,
            ),
            ("max_requests", max_requests, now.max_requests),
            ("max_bytes", max_bytes, now.max_bytes),
            ("max_answer_bytes", max_answer_bytes, now.max_answer_bytes),
        ] {
            self.more(&of(key), then, &now);
        }
        self.more(&of("export"), export, &now.export);
        // What is said to do less can be sent by more tools.
        self.more(
            &of("side_effect"),
            &Reverse(*side_effect),
            &Reverse(now.side_effect),
        );
        self.more(&of("escaped_slash"), escaped_slash, &now.escaped_slash);
        self.more(&of("plaintext"), plaintext, &now.plaintext);
        self.more(&of("websocket"), websocket, &now.websocket);
        self.bodies(&of("body"), body, &now.body);
    }

    fn bodies(&mut self, what: &str, then: &BodyRule, now: &BodyRule) {
        let BodyRule {
            sha256,
            json,
            graphql_kinds,
            graphql_fields,
            graphql_operations,
            rpc_methods,
            rpc_tools,
        } = then;
        let values = |json: &BTreeMap<String, Value>| -> Vec<String> {
            let json = json.iter();
            json.map(|(pointer, value)| format!("{pointer} = {value}"))
                .collect()
        };
        self.demands(
            &format!("json in {what}"),
            &values(json),
            &values(&now.json),
        );
        let digests = |all: &Option<Vec<_>>| all.as_deref().map(texts);
        self.optional(
            &format!("sha256 in {what}"),
            digests(sha256).as_deref(),
            digests(&now.sha256).as_deref(),
        );
        let kinds = |kinds: &Option<Vec<GraphqlKind>>| kinds.as_deref().map(texts);
        for (name, then, now) in [
            (
                "graphql.kinds",
                &kinds(graphql_kinds),
                &kinds(&now.graphql_kinds),
            ),
            ("graphql.fields", graphql_fields, &now.graphql_fields),
            (
                "graphql.operations",
                graphql_operations,
                &now.graphql_operations,
            ),
            ("rpc.tools", rpc_tools, &now.rpc_tools),
        ] {
            self.optional(
                &format!("{name} in {what}"),
                then.as_deref(),
                now.as_deref(),
            );
        }
        // Without methods, tools alone say which messages are meant: only calls.
        self.same(
            &format!("rpc.methods in {what}"),
            rpc_methods,
            &now.rpc_methods,
        );
    }
}

/// The pairs that a query may have now, but for those whose names it could have with any value.
fn news_of(then: &Option<Vec<String>>, now: &Option<Vec<String>>) -> Option<Vec<String>> {
    let names = then.as_deref().unwrap_or_default();
    let had = |pair: &String| {
        let name = pair.split_once('=').map(|(name, _)| name);
        name.is_some_and(|name| names.iter().any(|known| known == name))
    };
    let now = now.as_ref()?.iter();
    Some(now.filter(|pair| !had(pair)).cloned().collect())
}

fn texts<T: ToString>(all: &[T]) -> Vec<String> {
    all.iter().map(ToString::to_string).collect()
}
