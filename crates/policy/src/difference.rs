//! What one policy permits that another does not: in words, and by example.
//!
//! The words come from comparing what both say, and err on one side only: whatever is not known to narrow counts as wider. The examples
//! are requests that were decided by both engines.

mod egress;

use std::collections::BTreeSet;

use casemate_model::{Digest, Limits, RunMode};
use serde::Serialize;

use crate::{
    decide::{Verdict, destination},
    engine::Engine,
    grant::{needed, needs_approval},
    inputs::{Approval, Inputs, Token, Wish},
    profile::Profile,
    tool::ToolFacts,
    trial::everything_enforced,
    visible::quoted,
};

/// When examples happen, in milliseconds since 1970.
const NOW_MS: u64 = 1_795_000_000_000;
/// The most examples that are given.
const MAX_EXAMPLES: usize = 20;

/// A change, in words.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Change {
    /// The route, or `*` for all of them.
    pub route: String,
    /// Whether more may happen.
    pub direction: Direction,
    /// What changed.
    pub what: String,
}

/// Whether a change lets more happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// More may happen, or it is not known that it may not.
    Wider,
    /// Less may happen.
    Narrower,
}

/// A call that becomes possible.
#[derive(Clone, Debug, Serialize)]
pub struct Example {
    /// What would be asked.
    pub inputs: Inputs,
    /// What the old policy answers.
    pub before: Verdict,
    /// Why.
    pub because: String,
    /// What the new one answers.
    pub after: Verdict,
}

/// What changes between two policies.
#[derive(Clone, Debug, Serialize)]
pub struct Difference {
    /// The old one, if there was one.
    pub old: Option<Digest>,
    /// The new one.
    pub new: Digest,
    /// In words.
    pub changes: Vec<Change>,
    /// Calls that become possible.
    pub examples: Vec<Example>,
}

impl Difference {
    /// What changes when `new` takes the place of `old`.
    #[must_use]
    pub fn between(old: Option<&Engine>, new: &Engine) -> Self {
        let mut changes = Vec::new();
        let routes = |engine: &Engine| engine.routes().map(str::to_owned).collect::<BTreeSet<_>>();
        let before = old.map(routes).unwrap_or_default();
        for route in &before {
            if new.profile(route).is_none() {
                changes.push(change(route, Direction::Narrower, "the route is gone"));
            }
        }
        for route in new.routes() {
            let Some(now) = new.profile(route) else {
                continue;
            };
            match old.and_then(|old| Some((old, old.profile(route)?))) {
                None => changes.push(change(
                    route,
                    Direction::Wider,
                    format!(
                        "the route is new, with the tools {}",
                        named(now.tools.listed())
                    ),
                )),
                Some((old, then)) => {
                    let mut compare = Compare {
                        route,
                        changes: &mut changes,
                    };
                    compare.profiles(then, now);
                    compare.tools((old, then), (new, now));
                }
            }
        }
        policies(old, new, &mut changes);
        changes.sort();
        Self {
            old: old.map(Engine::digest),
            new: new.digest(),
            changes,
            examples: examples(old, new),
        }
    }

    /// Whether more may happen, as far as words and examples show it.
    #[must_use]
    pub fn is_wider(&self) -> bool {
        let wider = |change: &Change| change.direction == Direction::Wider;
        !self.examples.is_empty() || self.changes.iter().any(wider)
    }

    /// Names what an approver is shown: the same difference has the same digest.
    ///
    /// # Errors
    /// Only if serialisation fails, which a value of this type does not cause.
    pub fn digest(&self) -> Result<Digest, serde_json::Error> {
        serde_json_canonicalizer::to_vec(self).map(|bytes| Digest::of(&bytes))
    }
}

fn change(route: &str, direction: Direction, what: impl Into<String>) -> Change {
    Change {
        route: route.to_owned(),
        direction,
        what: what.into(),
    }
}

fn named<'n>(names: impl Iterator<Item = &'n str>) -> String {
    let names: Vec<_> = names.map(quoted).collect();
    match names.as_slice() {
        [] => "none".to_owned(),
        names => names.join(", "),
    }
}

struct Compare<'c> {
    route: &'c str,
    changes: &'c mut Vec<Change>,
}

impl Compare<'_> {
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

    fn profiles(&mut self, then: &Profile, now: &Profile) {
        let (was, is) = (&then.identity, &now.identity);
        self.grants(
            "identity.allowed_issuers",
            &was.allowed_issuers,
            &is.allowed_issuers,
        );
        self.same(
            "identity.required_audience",
            &was.required_audience,
            &is.required_audience,
        );
        self.demands(
            "identity.required_scopes",
            &was.required_scopes,
            &is.required_scopes,
        );
        self.grants(
            "identity.allowed_tenants",
            &was.allowed_tenants,
            &is.allowed_tenants,
        );
        self.more("tier", &then.tier(), &now.tier());
        let (was, is) = (&then.sandbox, &now.sandbox);
        self.same("sandbox.filesystem", &was.filesystem, &is.filesystem);
        self.same("sandbox.workspace", &was.workspace, &is.workspace);
        // A weaker boundary lets more happen.
        self.more(
            "sandbox.tier",
            &std::cmp::Reverse(was.tier),
            &std::cmp::Reverse(is.tier),
        );
        let controls = |profile: &Profile| -> Vec<String> {
            let controls = profile.sandbox.require.iter();
            controls.map(ToString::to_string).collect()
        };
        self.demands("sandbox.require", &controls(then), &controls(now));
        self.optional(
            "sandbox.environment",
            was.environment.as_deref(),
            is.environment.as_deref(),
        );
        self.optional(
            "sandbox.input_file_types",
            was.input_file_types.as_deref(),
            is.input_file_types.as_deref(),
        );
        self.same("sandbox.session", &was.session, &is.session);
        self.same("sandbox.image", &was.image, &is.image);
        self.more(
            "sandbox.session_idle_ms",
            &was.session_idle_ms,
            &is.session_idle_ms,
        );
        self.more(
            "sandbox.session_max_ms",
            &was.session_max_ms,
            &is.session_max_ms,
        );
        let domains = |profile: &Profile| -> Vec<String> {
            let domains = profile.sandbox.network.allowed_domains.iter();
            domains.map(|domain| domain.as_str().to_owned()).collect()
        };
        self.grants(
            "sandbox.network.allowed_domains",
            &domains(then),
            &domains(now),
        );
        self.same(
            "sandbox.network.classes",
            &was.network.classes,
            &is.network.classes,
        );
        self.egress(then, now);
        self.limits(&was.limits, &is.limits);
        self.same("quotas", &then.quotas, &now.quotas);
        let (was, is) = (&then.observability, &now.observability);
        self.demands(
            "observability.required_trace_fields",
            &was.required_trace_fields,
            &is.required_trace_fields,
        );
        self.demands("observability.redact", &was.redact, &is.redact);
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

    fn limits(&mut self, then: &Limits, now: &Limits) {
        for ((name, then), (_, now)) in then.named().into_iter().zip(now.named()) {
            self.more(&format!("the limit `{name}`"), &then, &now);
        }
    }

    fn tools(&mut self, (old, then): (&Engine, &Profile), (new, now): (&Engine, &Profile)) {
        let all = |profile: &Profile| -> Vec<String> {
            profile.tools.listed().map(str::to_owned).collect()
        };
        self.grants("tools", &all(then), &all(now));
        for name in now.tools.listed() {
            if !then.tools.listed().any(|listed| listed == name) {
                continue;
            }
            let (was, is) = (facts(old, name), facts(new, name));
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
                &was.side_effect,
                &is.side_effect,
            );
            if was.idempotency && !is.idempotency {
                self.add(
                    Direction::Wider,
                    format!("{tool} needs no idempotency key any more"),
                );
            }
            self.same(
                &format!("the destinations of {tool}"),
                &was.destinations,
                &is.destinations,
            );
            let labels = |facts: &ToolFacts| (facts.private, facts.untrusted, facts.tier);
            self.same(
                &format!("the labels and tier of {tool}"),
                &labels(&was),
                &labels(&is),
            );
            let digest = |engine: &Engine| {
                engine
                    .manifest(name)
                    .map(|manifest| manifest.input().to_string())
            };
            if digest(old) != digest(new) {
                self.add(Direction::Wider, format!("{tool} takes other arguments"));
            }
        }
    }
}

fn facts(engine: &Engine, name: &str) -> ToolFacts {
    let known = engine.tool(name).cloned();
    known.unwrap_or_else(|| ToolFacts::undescribed(name))
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

/// Policies that forbid: one that is gone lets more happen, one that changed may.
fn policies(old: Option<&Engine>, new: &Engine, changes: &mut Vec<Change>) {
    let forbids = |engine: &Engine| {
        let policies = engine.policies().policies();
        let forbids = policies.filter(|policy| policy.effect() == cedar_policy::Effect::Forbid);
        forbids
            .map(|policy| {
                (
                    policy.id().to_string(),
                    policy.to_cedar().unwrap_or_default(),
                )
            })
            .collect::<std::collections::BTreeMap<_, _>>()
    };
    let (then, now) = (old.map(forbids).unwrap_or_default(), forbids(new));
    for (id, text) in &then {
        match now.get(id) {
            None => changes.push(change(
                "*",
                Direction::Wider,
                format!("the policy {} is gone", quoted(id)),
            )),
            Some(other) if other != text => {
                changes.push(change(
                    "*",
                    Direction::Wider,
                    format!("the policy {} is another one", quoted(id)),
                ));
            }
            Some(_) => {}
        }
    }
    for id in now.keys().filter(|id| !then.contains_key(*id)) {
        changes.push(change(
            "*",
            Direction::Narrower,
            format!("the policy {} is new", quoted(id)),
        ));
    }
}

/// Calls that the new policy lets happen, and the old one did not, or not without a person.
fn examples(old: Option<&Engine>, new: &Engine) -> Vec<Example> {
    let mut found = Vec::new();
    for route in new.routes() {
        let Some(profile) = new.profile(route) else {
            continue;
        };
        let mut shown: BTreeSet<(String, bool)> = BTreeSet::new();
        for mut inputs in probes(new, profile) {
            // One with and one without a person is enough to look at for each tool.
            let kind = (inputs.wish.name().to_owned(), inputs.approval.is_some());
            if shown.contains(&kind) {
                continue;
            }
            let after = new.judge(&inputs);
            let (before, because) = match old {
                None => (Verdict::Deny, "there was no policy".to_owned()),
                Some(old) => {
                    inputs.policy = old.digest();
                    let before = old.judge(&inputs);
                    (before.verdict, before.detail)
                }
            };
            inputs.policy = new.digest();
            if after.verdict > before {
                let after = after.verdict;
                shown.insert(kind);
                found.push(Example {
                    inputs,
                    before,
                    because,
                    after,
                });
                if found.len() == MAX_EXAMPLES {
                    return found;
                }
            }
        }
    }
    found
}

/// Calls that are worth asking about: as much as the profile gives, and each with a little less.
fn probes(engine: &Engine, profile: &Profile) -> Vec<Inputs> {
    let mut probes = Vec::new();
    let mut callers = Vec::new();
    for issuer in &profile.identity.allowed_issuers {
        for tenant in &profile.identity.allowed_tenants {
            callers.push((issuer, tenant));
        }
    }
    callers.truncate(8);
    for name in profile.tools.listed() {
        let facts = facts(engine, name);
        let scopes: BTreeSet<String> = needed(profile, name, Some(&facts))
            .map(str::to_owned)
            .collect();
        let hosts = profile.sandbox.network.allowed_domains.iter().take(8);
        let hosts = hosts.map(|rule| Some(rule.as_str().replace("*.", "any.")));
        for host in std::iter::once(None).chain(hosts) {
            for (issuer, tenant) in &callers {
                for approved in [false, true] {
                    let action = Digest::of(name.as_bytes());
                    probes.push(Inputs {
                        policy: engine.digest(),
                        route: profile.route.clone(),
                        wish: Wish::Tool(name.to_owned()),
                        side_effect: facts
                            .side_effect
                            .unwrap_or(casemate_model::SideEffect::Draft),
                        tenant: (*tenant).clone(),
                        user: "user".to_owned(),
                        agent: "agent".to_owned(),
                        token: Token {
                            issuer: (*issuer).clone(),
                            subject: "user".to_owned(),
                            tenant: (*tenant).clone(),
                            audience: profile.identity.required_audience.clone(),
                            scopes: scopes.clone(),
                            expires_at_ms: NOW_MS + 1,
                        },
                        delegated: None,
                        mode: RunMode::Autonomous,
                        now_ms: NOW_MS,
                        idempotency_key: true,
                        action_hash: Some(action),
                        destination: host.as_deref().map(|host| destination(Some(profile), host)),
                        approval: approved.then(|| Approval {
                            action_hash: action,
                            approver: "approver".to_owned(),
                            expires_at_ms: NOW_MS + 1,
                        }),
                        labels: None,
                        budget: None,
                        isolation: Some(everything_enforced(
                            profile.sandbox.tier,
                            &profile.sandbox.require,
                        )),
                        flaw: None,
                    });
                }
            }
        }
    }
    probes
}
