//! What two profiles of a route say, and two manifests of a tool, entry by entry.
//!
//! Both are taken apart whole: a field that is new does not compile until it is said here what a change of it means.

mod egress;

use std::cmp::Reverse;

use casemate_model::{Capability, ControlName};

use super::{Change, Direction, change, facts};
use crate::{
    domain::DomainRule,
    egress::BaseUrl,
    engine::Engine,
    grant::{needed, needs_approval},
    manifest::Manifest,
    mcp::McpServer,
    profile::{
        ApprovalRules, BudgetRules, IdentityRules, ModeRules, NetworkRules, ObservabilityRules,
        Profile, SandboxRules,
    },
    tool::ToolFacts,
    visible::quoted,
};

pub(super) struct Compare<'c> {
    route: &'c str,
    changes: &'c mut Vec<Change>,
}

impl<'c> Compare<'c> {
    pub(super) const fn of(route: &'c str, changes: &'c mut Vec<Change>) -> Self {
        Self { route, changes }
    }

    fn add(&mut self, direction: Direction, what: impl Into<String>) {
        self.changes.push(change(self.route, direction, what));
    }

    /// A list of which each entry lets more happen.
    fn grants(&mut self, what: &str, then: &[String], now: &[String]) {
        self.lists(what, then, now, Direction::Wider);
    }

    /// A list of which each entry lets less happen.
    fn demands(&mut self, what: &str, then: &[String], now: &[String]) {
        self.lists(what, then, now, Direction::Narrower);
    }

    fn lists(&mut self, what: &str, then: &[String], now: &[String], added: Direction) {
        let removed = match added {
            Direction::Wider => Direction::Narrower,
            Direction::Narrower => Direction::Wider,
        };
        for entry in now.iter().filter(|entry| !then.contains(entry)) {
            self.add(added, format!("{what}: {} is added", quoted(entry)));
        }
        for entry in then.iter().filter(|entry| !now.contains(entry)) {
            self.add(removed, format!("{what}: {} is gone", quoted(entry)));
        }
    }

    /// Something of which nobody knows whether a change lets more happen.
    fn same<T: PartialEq + std::fmt::Debug>(&mut self, what: &str, then: &T, now: &T) {
        if then != now {
            self.add(
                Direction::Wider,
                format!("{what} changes from {} to {}", plain(then), plain(now)),
            );
        }
    }

    /// Something that lets more happen the greater it is.
    fn more<T: PartialOrd + std::fmt::Debug>(&mut self, what: &str, then: &T, now: &T) {
        let direction = if now > then {
            Direction::Wider
        } else if now < then {
            Direction::Narrower
        } else {
            return;
        };
        self.add(
            direction,
            format!("{what} changes from {} to {}", plain(then), plain(now)),
        );
    }

    pub(super) fn profiles(&mut self, then: &Profile, now: &Profile) {
        let Profile {
            route: _,
            risk_class,
            tier: _,
            identity,
            sandbox,
            quotas,
            // Tool by tool.
            tools: _,
            // Rule by rule.
            egress: _,
            base_urls,
            mcp,
            approvals,
            budgets,
            modes,
            observability,
            source: _,
            syntax: _,
            digest: _,
        } = then;
        // A route that is called more harmful is watched closer.
        self.more(
            "risk_class",
            &Reverse(*risk_class),
            &Reverse(now.risk_class),
        );
        self.identity(identity, &now.identity);
        self.more("tier", &then.tier(), &now.tier());
        self.sandbox(sandbox, &now.sandbox);
        self.egress(then, now);
        // What they name is judged by the rules; but a program that means one destination must not find another.
        let shown = |urls: &[BaseUrl]| urls.iter().map(BaseUrl::shown).collect::<Vec<_>>();
        self.same(
            "egress.base_urls",
            &shown(base_urls),
            &shown(&now.base_urls),
        );
        // Another program is another tool, and so is another descriptor, whatever it says.
        let shown =
            |servers: &[McpServer]| servers.iter().map(McpServer::shown).collect::<Vec<_>>();
        self.same("mcp.servers", &shown(mcp), &shown(&now.mcp));
        self.same("quotas", quotas, &now.quotas);
        self.approvals(approvals, &now.approvals);
        self.budgets(budgets, &now.budgets);
        self.modes(modes, &now.modes);
        let ObservabilityRules {
            required_trace_fields,
            redact,
        } = observability;
        self.demands(
            "observability.required_trace_fields",
            required_trace_fields,
            &now.observability.required_trace_fields,
        );
        self.demands("observability.redact", redact, &now.observability.redact);
    }

    fn identity(&mut self, then: &IdentityRules, now: &IdentityRules) {
        let IdentityRules {
            allowed_issuers,
            required_audience,
            required_scopes,
            allowed_tenants,
        } = then;
        self.grants(
            "identity.allowed_issuers",
            allowed_issuers,
            &now.allowed_issuers,
        );
        self.same(
            "identity.required_audience",
            required_audience,
            &now.required_audience,
        );
        self.demands(
            "identity.required_scopes",
            required_scopes,
            &now.required_scopes,
        );
        self.grants(
            "identity.allowed_tenants",
            allowed_tenants,
            &now.allowed_tenants,
        );
    }

    fn sandbox(&mut self, then: &SandboxRules, now: &SandboxRules) {
        let SandboxRules {
            filesystem,
            workspace,
            network,
            limits,
            tier,
            require,
            environment,
            input_file_types,
            session,
            image,
            session_idle_ms,
            session_max_ms,
            session_paused_ms,
            session_paused_bytes,
            // How soon a sandbox is ready, and not what it may do.
            pool: _,
            violations,
            scan_forbidden,
        } = then;
        let forbidden =
            |all: &[Capability]| -> Vec<String> { all.iter().map(ToString::to_string).collect() };
        self.demands(
            "sandbox.scan.forbidden",
            &forbidden(scan_forbidden),
            &forbidden(&now.scan_forbidden),
        );
        for (name, then, now) in [
            (
                "system_calls",
                violations.system_calls,
                now.violations.system_calls,
            ),
            (
                "honey_files",
                violations.honey_files,
                now.violations.honey_files,
            ),
        ] {
            // What is only recorded goes on.
            let key = format!("sandbox.violations.{name}");
            self.more(&key, &Reverse(then), &Reverse(now));
        }
        self.same("sandbox.filesystem", filesystem, &now.filesystem);
        self.same("sandbox.workspace", workspace, &now.workspace);
        // A weaker boundary lets more happen.
        self.more("sandbox.tier", &Reverse(*tier), &Reverse(now.tier));
        let controls = |controls: &[ControlName]| -> Vec<String> {
            controls.iter().map(ToString::to_string).collect()
        };
        self.demands(
            "sandbox.require",
            &controls(require),
            &controls(&now.require),
        );
        self.optional(
            "sandbox.environment",
            environment.as_deref(),
            now.environment.as_deref(),
        );
        self.optional(
            "sandbox.input_file_types",
            input_file_types.as_deref(),
            now.input_file_types.as_deref(),
        );
        self.same("sandbox.session", session, &now.session);
        self.same("sandbox.image", image, &now.image);
        for (what, then, now) in [
            ("idle_ms", session_idle_ms, now.session_idle_ms),
            ("max_ms", session_max_ms, now.session_max_ms),
            ("paused_ms", session_paused_ms, now.session_paused_ms),
            (
                "paused_bytes",
                session_paused_bytes,
                now.session_paused_bytes,
            ),
        ] {
            self.more(&format!("sandbox.session_{what}"), then, &now);
        }
        let NetworkRules {
            allowed_domains,
            classes,
        } = network;
        let domains = |domains: &[DomainRule]| -> Vec<String> {
            let domains = domains.iter();
            domains.map(|domain| domain.as_str().to_owned()).collect()
        };
        self.grants(
            "sandbox.network.allowed_domains",
            &domains(allowed_domains),
            &domains(&now.network.allowed_domains),
        );
        self.same("sandbox.network.classes", classes, &now.network.classes);
        for ((name, then), (_, now)) in limits.named().into_iter().zip(now.limits.named()) {
            self.more(&format!("the limit `{name}`"), &then, &now);
        }
    }

    fn approvals(&mut self, then: &ApprovalRules, now: &ApprovalRules) {
        let ApprovalRules {
            needed,
            roles,
            wait_ms,
            grant_ms,
        } = then;
        self.more("approvals.needed", &Reverse(*needed), &Reverse(now.needed));
        match (roles.is_empty(), now.roles.is_empty()) {
            (false, true) => self.add(Direction::Wider, "approvals.roles: any will do"),
            (true, false) => self.add(Direction::Narrower, "approvals.roles is a list now"),
            _ => self.grants("approvals.roles", roles, &now.roles),
        }
        self.more("approvals.wait_ms", wait_ms, &now.wait_ms);
        self.more("approvals.grant_ms", grant_ms, &now.grant_ms);
    }

    fn budgets(&mut self, then: &BudgetRules, now: &BudgetRules) {
        let BudgetRules {
            call,
            thread,
            agent_day,
            tenant_day,
            cost,
            equal_failures,
        } = then;
        for (spender, then, now) in [
            ("call", call, &now.call),
            ("thread", thread, &now.thread),
            ("agent_day", agent_day, &now.agent_day),
            ("tenant_day", tenant_day, &now.tenant_day),
        ] {
            for ((name, then), (_, now)) in then.named().into_iter().zip(now.named()) {
                self.more(&format!("budgets.{spender}.{name}"), &then, &now);
            }
        }
        // What is said to cost less can be done more often.
        self.same("budgets.cost", cost, &now.cost);
        self.more(
            "budgets.equal_failures",
            equal_failures,
            &now.equal_failures,
        );
    }

    fn modes(&mut self, then: &ModeRules, now: &ModeRules) {
        let ModeRules {
            ceiling,
            schedule,
            webhook,
            agent,
        } = then;
        self.more("modes.ceiling", ceiling, &now.ceiling);
        self.more("modes.schedule", schedule, &now.schedule);
        self.more("modes.webhook", webhook, &now.webhook);
        self.more("modes.agent", agent, &now.agent);
    }

    /// A list without which everything is allowed.
    fn optional(&mut self, what: &str, then: Option<&[String]>, now: Option<&[String]>) {
        match (then, now) {
            (None, None) => {}
            (Some(then), Some(now)) => self.grants(what, then, now),
            (None, Some(_)) => self.add(Direction::Narrower, format!("{what} is a list now")),
            (Some(_), None) => self.add(Direction::Wider, format!("{what} is no list any more")),
        }
    }

    pub(super) fn tools(
        &mut self,
        (old, then): (&Engine, &Profile),
        (new, now): (&Engine, &Profile),
    ) {
        let all = |profile: &Profile| -> Vec<String> {
            profile.tools.listed().map(str::to_owned).collect()
        };
        self.grants("tools", &all(then), &all(now));
        for name in now.tools.listed() {
            if !then.tools.listed().any(|listed| listed == name) {
                continue;
            }
            let (was, is) = (facts(old, then, name), facts(new, now, name));
            let ToolFacts {
                side_effect,
                tier: _,
                // With those of the profile.
                scopes: _,
                destinations,
                approval: _,
                idempotency,
                private: _,
                untrusted: _,
            } = &was;
            let tool = quoted(name);
            let approval =
                |profile: &Profile, facts: &ToolFacts| needs_approval(profile, name, facts);
            match (approval(then, &was), approval(now, &is)) {
                (true, false) => self.add(
                    Direction::Wider,
                    format!("{tool} needs no approval any more"),
                ),
                (false, true) => {
                    self.add(Direction::Narrower, format!("{tool} needs approval now"))
                }
                _ => {}
            }
            let scopes = |profile, facts| -> Vec<String> {
                needed(profile, name, Some(facts))
                    .map(str::to_owned)
                    .collect()
            };
            self.demands(
                &format!("the scopes of {tool}"),
                &scopes(then, &was),
                &scopes(now, &is),
            );
            self.more(
                &format!("the side effect of {tool}"),
                side_effect,
                &is.side_effect,
            );
            if *idempotency && !is.idempotency {
                self.add(
                    Direction::Wider,
                    format!("{tool} needs no idempotency key any more"),
                );
            }
            self.same(
                &format!("the destinations of {tool}"),
                destinations,
                &is.destinations,
            );
            let labels = |facts: &ToolFacts| (facts.private, facts.untrusted, facts.tier);
            self.same(
                &format!("the labels and tier of {tool}"),
                &labels(&was),
                &labels(&is),
            );
            self.manifests(name, old.manifest(name), new.manifest(name));
        }
    }

    /// What the facts of a tool do not say.
    fn manifests(&mut self, name: &str, then: Option<&Manifest>, now: Option<&Manifest>) {
        let tool = quoted(name);
        let (Some(then), Some(now)) = (then, now) else {
            if then.is_some() || now.is_some() {
                self.add(Direction::Wider, format!("{tool} is described otherwise"));
            }
            return;
        };
        let Manifest {
            name: _,
            // For people.
            version: _,
            description,
            // What the facts of a tool say.
            side_effect: _,
            tier: _,
            scopes: _,
            destinations: _,
            approval: _,
            idempotency: _,
            labels: _,
            credential,
            timeout_ms,
            redact,
            cost,
            input,
            // The values are compared, whoever chose them.
            assumed: _,
            digest: _,
        } = then;
        let mut same = |what: &str, same: bool| {
            if !same {
                self.add(Direction::Wider, format!("{tool} {what}"));
            }
        };
        same("takes other arguments", input.written() == now.input());
        same("uses another credential", *credential == now.credential);
        // Models read it.
        same(
            "is described in other words",
            *description == now.description,
        );
        same("hides other fields", *redact == now.redact);
        self.more(
            &format!("the timeout of {tool}"),
            timeout_ms,
            &now.timeout_ms,
        );
        self.same(&format!("the cost of {tool}"), cost, &now.cost);
    }
}

/// A value on one line, without the words of this language.
fn plain(value: &impl std::fmt::Debug) -> String {
    let text = format!("{value:?}");
    let text = text
        .strip_prefix("Reverse(")
        .and_then(|text| text.strip_suffix(')'))
        .unwrap_or(&text);
    crate::visible::shown(text)
}
