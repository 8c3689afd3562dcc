//! What rules of egress newly let through.

use super::{Compare, Direction};
use crate::{
    egress::{BodyRule, EgressRule, RuleEffect},
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
        self.same(&of("host"), &then.host, &now.host);
        self.same(&of("class"), &then.class, &now.class);
        self.same(&of("credential"), &then.credential, &now.credential);
        self.same(&of("kind"), &then.kind, &now.kind);
        self.grants(&of("cidr"), &texts(&then.cidr), &texts(&now.cidr));
        self.grants(&of("tenants"), &then.tenants, &now.tenants);
        // What a missing list stands for.
        let ports = |rule: &EgressRule| texts(rule.ports.as_deref().unwrap_or(&[443]));
        self.grants(&of("ports"), &ports(then), &ports(now));
        let methods = |rule: &EgressRule| {
            rule.methods
                .clone()
                .unwrap_or_else(|| ["GET", "HEAD"].map(str::to_owned).to_vec())
        };
        self.grants(&of("methods"), &methods(then), &methods(now));
        let paths = |rule: &EgressRule| -> Option<Vec<String>> {
            let paths = rule.paths.as_ref()?;
            Some(paths.iter().map(|path| path.as_str().to_owned()).collect())
        };
        self.optional(&of("paths"), paths(then).as_deref(), paths(now).as_deref());
        self.optional(&of("query"), then.query.as_deref(), now.query.as_deref());
        self.optional(&of("tools"), then.tools.as_deref(), now.tools.as_deref());
        let headers = |rule: &EgressRule| -> Vec<String> {
            rule.headers
                .iter()
                .map(|(name, value)| format!("{name}: {value}"))
                .collect()
        };
        self.demands(&of("headers"), &headers(then), &headers(now));
        self.more(
            &of("max_query_bytes"),
            &then.max_query_bytes,
            &now.max_query_bytes,
        );
        self.more(
            &of("max_body_bytes"),
            &then.max_body_bytes,
            &now.max_body_bytes,
        );
        self.more(
            &of("export_above_bytes"),
            &then.export_above_bytes,
            &now.export_above_bytes,
        );
        self.more(&of("export"), &then.export, &now.export);
        self.more(&of("side_effect"), &then.side_effect, &now.side_effect);
        self.more(&of("max_requests"), &then.max_requests, &now.max_requests);
        self.more(&of("max_bytes"), &then.max_bytes, &now.max_bytes);
        self.more(&of("plaintext"), &then.plaintext, &now.plaintext);
        self.more(&of("websocket"), &then.websocket, &now.websocket);
        self.bodies(&of("body"), &then.body, &now.body);
    }

    fn bodies(&mut self, what: &str, then: &BodyRule, now: &BodyRule) {
        let json = |rule: &BodyRule| -> Vec<String> {
            rule.json
                .iter()
                .map(|(pointer, value)| format!("{pointer} = {value}"))
                .collect()
        };
        self.demands(&format!("json in {what}"), &json(then), &json(now));
        let kinds = |rule: &BodyRule| rule.graphql_kinds.as_deref().map(texts);
        for (name, then, now) in [
            ("graphql.kinds", &kinds(then), &kinds(now)),
            ("graphql.fields", &then.graphql_fields, &now.graphql_fields),
            (
                "graphql.operations",
                &then.graphql_operations,
                &now.graphql_operations,
            ),
            ("rpc.tools", &then.rpc_tools, &now.rpc_tools),
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
            &then.rpc_methods,
            &now.rpc_methods,
        );
    }
}

fn texts<T: ToString>(all: &[T]) -> Vec<String> {
    all.iter().map(ToString::to_string).collect()
}
