//! Random bundles, made once, and random questions about them.

use std::{collections::BTreeSet, sync::Arc};

use casemate_model::{
    ControlName, DestinationClass, Digest, IsolationTier, Reach, Reason, RunMode, SideEffect,
    Strength, Tier,
};
use casemate_policy::{
    Approval, Budget, BundleParts, CheckName, Destination, Engine, Flaw, Inputs, Labels, Manifest,
    PolicyFile, Profile, Syntax, Token, Wish,
};
use proptest::{
    prelude::*,
    sample::{select, subsequence},
    strategy::ValueTree,
    test_runner::TestRunner,
};

use crate::build::{NOW_MS, isolation};

pub(crate) const TOOLS: &[&str] = &["python", "shell", "mail.send", "orders.lookup", "notes"];
pub(crate) const USERS: &[&str] = &["ada", "bob", "eve"];
const TENANTS: &[&str] = &["acme", "globex"];
const SCOPES: &[&str] = &["code", "mail", "orders"];
const ISSUERS: &[&str] = &["https://a.example", "https://b.example"];
const DOMAINS: &[&str] = &["api.example.com", "*.example.org", "x.y.example.org"];
const HOSTS: &[&str] = &[
    "api.example.com",
    "x.y.example.org",
    "z.example.org",
    "example.org",
    "API.example.com",
    ".example.org",
    "a..example.org",
    "evil.net",
    "10.0.0.1",
    "169.254.169.254",
    "db.internal",
    "",
];
const ACCESSES: &[&str] = &[
    "session.open",
    "session.destroy",
    "session.pause",
    "session.resume",
    "session.copy",
    "context.open",
    "context.close",
    "file.write",
    "file.read",
    "file.list",
    "file.remove",
    "port.connect",
];

/// Mostly the usual value, sometimes any other.
pub(crate) fn mostly<T: Clone + std::fmt::Debug + 'static>(
    usual: T,
    any: &[T],
) -> impl Strategy<Value = T> + use<T> {
    prop_oneof![6 => Just(usual), 1 => select(any.to_vec())]
}

fn list(words: &[&str]) -> String {
    format!("{words:?}")
}

prop_compose! {
    fn profile(route: &'static str, described: bool)(
        issuers in subsequence(ISSUERS, 1..=2),
        tenants in subsequence(TENANTS, 1..=2),
        required in subsequence(SCOPES, 0..=1),
        allowed in subsequence(TOOLS, 1..=4),
        approval in subsequence(TOOLS, 0..=2),
        scoped in subsequence(TOOLS, 0..=5),
        scope in select(SCOPES),
        domains in subsequence(DOMAINS, 0..=3),
        class in proptest::option::of(select(&["internal", "partner", "customer"][..])),
        tier in proptest::option::weighted(0.6, select(Tier::ALL)),
        boundary in mostly(IsolationTier::Namespace, IsolationTier::ALL),
        require in proptest::option::of(subsequence(ControlName::ALL, 0..=4)),
    ) -> Option<Profile> {
        let tier = if described { Some(Tier::Code) } else { tier };
        let tier = tier.map_or_else(String::new, |tier| format!("tier = \"{tier}\"\n"));
        let scoped = scoped.iter().filter(|tool| allowed.contains(tool) || approval.contains(tool));
        let scoped: String = scoped.map(|tool| format!("\"{tool}\" = \"{scope}\"\n")).collect();
        let classed = class.zip(domains.first());
        let classes = classed.map_or_else(String::new, |(class, host)| {
            format!("[sandbox.network.classes]\n\"{host}\" = \"{class}\"\n")
        });
        let require = require.map_or_else(String::new, |controls| {
            let names: Vec<_> = controls.iter().map(|control| control.as_str()).collect();
            format!("require = {}\n", list(&names))
        });
        let text = format!(
            "route = \"{route}\"\nrisk_class = \"low\"\n{tier}\
             [identity]\nallowed_issuers = {}\nrequired_audience = \"us\"\nrequired_scopes = {}\nallowed_tenants = {}\n\
             [sandbox]\nfilesystem = \"workspace\"\nworkspace = \"/workspace\"\ntier = \"{boundary}\"\n{require}\
             [sandbox.network]\nallowed_domains = {}\nblock_private_networks = true\nrequire_tls = true\n{classes}\
             [sandbox.limits]\nmax_runtime_ms = 1000\nmax_output_bytes = 1000\n\
             [tools]\nallowed = {}\napproval_required = {}\n[tools.scopes]\n{scoped}\
             [observability]\nrequired_trace_fields = []\nredact = []\n",
            list(&issuers), list(&required), list(&tenants), list(&domains), list(&allowed), list(&approval),
        );
        Profile::parse(text.as_bytes(), Syntax::Toml).ok()
    }
}

prop_compose! {
    fn manifest(name: &'static str)(
        side_effect in select(SideEffect::ALL),
        tier in select(Tier::ALL),
        scopes in subsequence(SCOPES, 0..=2),
        destinations in subsequence(DOMAINS, 0..=3),
        approval in mostly("profile", &["required"]),
        idempotency in select(&["required", "none"][..]),
    ) -> Manifest {
        let reads = side_effect == SideEffect::Read;
        let tier = if reads { tier } else { tier.max(Tier::ToolLimited) };
        let idempotency = if reads { idempotency } else { "required" };
        let text = format!(
            "name = \"{name}\"\nside_effect = \"{side_effect}\"\ntier = \"{tier}\"\nscopes = {}\ndestinations = {}\n\
             approval = \"{approval}\"\nidempotency = \"{idempotency}\"\n",
            list(&scopes), list(&destinations),
        );
        Manifest::parse(text.as_bytes(), Syntax::Toml).unwrap()
    }
}

prop_compose! {
    /// A bundle's parts. Some do not compile, because a tool has no scope.
    fn parts()(
        desk in profile("desk", true),
        lab in profile("lab", true),
        mail in manifest("mail.send"),
        orders in manifest("orders.lookup"),
        notes in manifest("notes"),
    ) -> (Vec<Profile>, Vec<Manifest>) {
        (desk.into_iter().chain(lab).collect(), vec![mail, orders, notes])
    }
}

/// An engine of these parts, if they fit together.
pub(crate) fn compile(
    (profiles, manifests): &(Vec<Profile>, Vec<Manifest>),
    policies: &[String],
) -> Option<Engine> {
    Engine::compile(BundleParts {
        digest: Digest::of(b"world"),
        profiles: profiles.clone(),
        manifests: manifests.clone(),
        policies: vec![PolicyFile {
            name: "policies".to_owned(),
            text: policies.concat().into_bytes(),
        }],
    })
    .ok()
}

/// So many bundles with two routes.
pub(crate) fn bundles(count: usize) -> Vec<(Vec<Profile>, Vec<Manifest>)> {
    let mut runner = TestRunner::deterministic();
    let mut found = Vec::new();
    while found.len() < count {
        let parts = parts().new_tree(&mut runner).unwrap().current();
        if parts.0.len() == 2 && compile(&parts, &[]).is_some() {
            found.push(parts);
        }
    }
    found
}

/// So many profiles that are used by themselves.
pub(crate) fn alone(count: usize) -> Vec<Engine> {
    let mut runner = TestRunner::deterministic();
    let mut found = Vec::new();
    while found.len() < count {
        let profile = profile("desk", false).new_tree(&mut runner).unwrap();
        if let Some(profile) = profile.current() {
            found.push(Engine::of_profile(Arc::new(profile)).unwrap());
        }
    }
    found
}

/// Numbers that turn into a question: mostly one that `engine` would allow.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    route: &'static str,
    nth: usize,
    access: Option<&'static str>,
    side_effect: Option<SideEffect>,
    user: &'static str,
    tenant: Option<&'static str>,
    called: Option<&'static str>,
    issuer: Option<&'static str>,
    audience: &'static str,
    without: Option<&'static str>,
    delegated: Option<Vec<&'static str>>,
    expires_at_ms: u64,
    mode: RunMode,
    key: bool,
    host: Option<&'static str>,
    approval: Option<Approval>,
    labels: Option<Labels>,
    budget: Option<u64>,
    boundary: Option<IsolationTier>,
    weak: Option<ControlName>,
    flaw: bool,
}

prop_compose! {
    pub(crate) fn question()(
        (route, nth, access, side_effect) in (
            mostly("desk", &["lab", "desk", "nowhere"]),
            0_usize..8,
            proptest::option::weighted(0.2, select(ACCESSES)),
            proptest::option::weighted(0.2, select(SideEffect::ALL)),
        ),
        (user, tenant, called, issuer, audience, without, delegated, expires_at_ms) in (
            select(USERS),
            proptest::option::weighted(0.1, select(TENANTS)),
            proptest::option::weighted(0.1, select(TENANTS)),
            proptest::option::weighted(0.1, select(ISSUERS)),
            mostly("us", &["them"]),
            proptest::option::weighted(0.15, select(SCOPES)),
            proptest::option::weighted(0.15, subsequence(SCOPES, 0..=3)),
            mostly(NOW_MS + 1, &[0, NOW_MS, u64::MAX]),
        ),
        (mode, key, host) in (
            mostly(RunMode::Autonomous, RunMode::ALL),
            proptest::bool::weighted(0.9),
            proptest::option::weighted(0.3, prop_oneof![3 => select(&HOSTS[..3]), 1 => select(HOSTS)]),
        ),
        approval in proptest::option::weighted(0.3, approval()),
        labels in proptest::option::weighted(0.4, (any::<bool>(), any::<bool>())),
        budget in proptest::option::weighted(0.2, select(&[1, 9, 0, u64::MAX][..])),
        boundary in proptest::option::weighted(0.95, mostly(IsolationTier::Vm, IsolationTier::ALL)),
        weak in proptest::option::weighted(0.1, select(ControlName::ALL)),
        flaw in proptest::bool::weighted(0.05),
    ) -> Question {
        let labels = labels.map(|(private, untrusted)| Labels { private, untrusted });
        Question {
            route, nth, access, side_effect, user, tenant, called, issuer, audience, without, delegated,
            expires_at_ms, mode, key, host, approval, labels, budget, boundary, weak, flaw,
        }
    }
}

prop_compose! {
    fn approval()(
        hash in mostly("action", &["another"]),
        approver in mostly("zoe", USERS),
        expires_at_ms in mostly(NOW_MS + 1, &[NOW_MS, 0]),
    ) -> Approval {
        Approval { action_hash: Digest::of(hash.as_bytes()), approver: approver.to_owned(), expires_at_ms }
    }
}

impl Question {
    /// What a decision about it is made from.
    pub(crate) fn inputs(&self, engine: &Engine) -> Inputs {
        let profile = engine.profile(self.route);
        let profile = profile.or_else(|| engine.profile("desk")).unwrap();
        let listed: Vec<_> = profile.tools.listed().collect();
        // The last is one that the profile may not list.
        let tool = *listed
            .get(self.nth)
            .unwrap_or(&TOOLS[self.nth % TOOLS.len()]);
        let wish = match self.access {
            Some(access) => Wish::Access(access.to_owned()),
            None => Wish::Tool(tool.to_owned()),
        };
        let own = match self.access {
            Some("file.read" | "file.list") => Some(SideEffect::Read),
            Some(_) => Some(SideEffect::Draft),
            None => engine.manifest(tool).map(|manifest| manifest.side_effect),
        };
        let side_effect = match self.access {
            Some(_) => own,
            None => self.side_effect.or(own),
        };
        let first = |words: &[String]| words[0].clone();
        let tenant = self.tenant.map(str::to_owned);
        let tenant = tenant.unwrap_or_else(|| first(&profile.identity.allowed_tenants));
        let host = self.host.filter(|_| self.access.is_none());
        let owned = |scopes: &[&str]| scopes.iter().map(|scope| (*scope).to_owned()).collect();
        let mut scopes: BTreeSet<String> = owned(SCOPES);
        if let Some(without) = self.without {
            scopes.remove(without);
        }
        let mut boundary = self
            .boundary
            .filter(|_| self.access.is_none())
            .map(|tier| isolation(tier, Strength::Enforced));
        for control in boundary
            .iter_mut()
            .flat_map(|boundary| &mut boundary.controls)
        {
            if Some(control.name) == self.weak {
                control.strength = Strength::Partial;
            }
        }
        Inputs {
            policy: engine.digest(),
            route: self.route.to_owned(),
            wish,
            side_effect: side_effect.unwrap_or(SideEffect::Write),
            tenant: self.called.map_or_else(|| tenant.clone(), str::to_owned),
            user: self.user.to_owned(),
            agent: "agent".to_owned(),
            token: Token {
                issuer: self
                    .issuer
                    .map_or_else(|| first(&profile.identity.allowed_issuers), str::to_owned),
                subject: self.user.to_owned(),
                tenant,
                audience: self.audience.to_owned(),
                scopes,
                expires_at_ms: self.expires_at_ms,
                credential: String::new(),
                behalf: Vec::new(),
                bounds: Default::default(),
            },
            delegated: self.delegated.as_deref().map(owned),
            mode: self.mode,
            now_ms: NOW_MS,
            idempotency_key: self.key,
            action_hash: self.access.is_none().then(|| Digest::of(b"action")),
            destination: host.map(|host| destination(profile, host)),
            approval: self.approval.clone().filter(|_| self.access.is_none()),
            labels: self.labels.filter(|_| self.access.is_none()),
            budget: self.budget.map(|left| Budget { left }),
            isolation: boundary,
            flaw: self.flaw.then(|| Flaw {
                // Of a session's accesses, only files that are brought in have a form.
                check: if self.access.is_some() {
                    CheckName::Inputs
                } else {
                    CheckName::Limits
                },
                reason: Reason::LimitExceeded,
                detail: "too much".to_owned(),
            }),
        }
    }
}

/// As whoever makes inputs would: names of private networks and of metadata services are such, other odd ones are unknown.
fn destination(profile: &Profile, host: &str) -> Destination {
    let reach = match host {
        "169.254.169.254" => Reach::Metadata,
        "db.internal" => Reach::Private,
        "api.example.com" | "x.y.example.org" | "z.example.org" | "example.org" | "evil.net" => {
            Reach::Global
        }
        _ => Reach::Unknown,
    };
    let class = profile.sandbox.network.class_of(host);
    assert!(
        reach == Reach::Global || class == DestinationClass::Unknown,
        "{host}"
    );
    Destination {
        host: host.to_owned(),
        class,
        reach,
    }
}
