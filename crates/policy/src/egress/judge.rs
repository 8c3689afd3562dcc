//! The judgment of one request.

use casemate_model::{DestinationClass, check_path, has_escaped_slash, is_credential, is_header};

use super::{
    BaseUrl, DestinationFacts, EgressCode, EgressRule, Familiarity, LoginFacts, RequestBody,
    RequestFacts, RequestVerdict, RuleApproval, RuleEffect, RuleExport, RuleKind, RuleProtocol,
    Ruling, Scheme, WebSocket,
    body::{Says, says},
    form,
    hosts::Hosts,
    query,
    rule::READING,
    tenant::{Place, place_of},
};
use crate::{domain::DomainRule, profile::Profile};

/// The rules of one profile, ready to judge by.
#[derive(Debug)]
pub struct EgressPolicy {
    /// By name: nothing depends on the order in which they were written.
    rules: Vec<EgressRule>,
    hosts: Hosts,
    base_urls: Vec<BaseUrl>,
}

impl EgressPolicy {
    /// The rules of `profile`, and for each of its allowed destinations without a rule one that lets it be looked at.
    #[must_use]
    pub fn compile(profile: &Profile) -> Self {
        let network = &profile.sandbox.network;
        let rules = || {
            profile
                .egress
                .iter()
                .filter(|rule| rule.effect == RuleEffect::Allow)
        };
        let bare = network
            .allowed_domains
            .iter()
            .filter(|host| rules().all(|rule| rule.host != **host));
        // A host with a class of its own is looked at as one of that class.
        let classed = network.classes.keys().filter(|host| {
            !network.allowed_domains.contains(host) && !rules().any(|rule| rule.host.covers(host))
        });
        let implied = bare.chain(classed).map(|host| {
            EgressRule::implied(
                host,
                network
                    .class_of_all(host)
                    .unwrap_or(DestinationClass::Public),
            )
        });
        Self {
            base_urls: profile.base_urls.clone(),
            ..Self::of(profile.egress.iter().cloned().chain(implied))
        }
    }

    fn of(rules: impl Iterator<Item = EgressRule>) -> Self {
        let mut rules: Vec<_> = rules.collect();
        rules.sort_by(|left, right| left.name.cmp(&right.name));
        let mut hosts = Hosts::default();
        for (index, rule) in rules.iter().enumerate() {
            let level = hosts.level(&rule.host);
            match rule.effect {
                RuleEffect::Allow => level.allow.push(index),
                RuleEffect::Deny => level.deny.push(index),
            }
        }
        Self {
            rules,
            hosts,
            base_urls: Vec::new(),
        }
    }

    /// What becomes of a request.
    #[must_use]
    pub fn judge(&self, facts: &RequestFacts<'_>) -> Ruling<'_> {
        let refused = |code| Ruling {
            verdict: RequestVerdict::Deny,
            code: Some(code),
            rule: None,
            tenant: None,
            most_body_bytes: 0,
        };
        if !crate::domain::is_host(facts.host) {
            return refused(EgressCode::HostSyntax);
        }
        if check_path(facts.path).is_err() {
            return refused(EgressCode::PathSyntax);
        }
        if overrides_method(facts) {
            return refused(EgressCode::MethodRefused);
        }
        let levels = self.hosts.levels(facts.host);
        let denials = levels.iter().flat_map(|level| self.rules(&level.deny));
        for rule in denials {
            if is_denied(rule, facts) {
                return Ruling {
                    rule: Some(rule),
                    ..refused(EgressCode::RuleDenies)
                };
            }
        }
        if let Some(rule) = self.doubts(facts) {
            return Ruling {
                rule: Some(rule),
                ..refused(EgressCode::PathSyntax)
            };
        }
        // The closest that allow anything.
        let closest = levels.iter().rev().find(|level| !level.allow.is_empty());
        let rulings: Vec<_> = closest
            .into_iter()
            .flat_map(|level| self.rules(&level.allow))
            .map(|rule| judge(rule, facts))
            .collect();
        let passed = rulings
            .iter()
            .filter(|ruling| ruling.verdict > RequestVerdict::Deny);
        // Whatever one rule has to have approved is not sent because another does not care. Of several, the first by name.
        let strictest = passed.min_by_key(|ruling| ruling.verdict);
        let furthest = || rulings.iter().rev().max_by_key(|ruling| ruling.code);
        strictest
            .or_else(furthest)
            .cloned()
            .unwrap_or_else(|| refused(EgressCode::NotAllowed))
    }

    /// The rule by which there may be a login: the first by name that lets it through, as nobody can be shown what comes after one.
    ///
    /// # Errors
    /// Why there is none, and the rule that got furthest. A rule that denies something there denies all of it.
    pub fn login(
        &self,
        facts: &LoginFacts<'_>,
    ) -> Result<&EgressRule, (EgressCode, Option<&EgressRule>)> {
        let DestinationFacts {
            tool, host, port, ..
        } = facts.destination;
        if !crate::domain::is_host(host) {
            return Err((EgressCode::HostSyntax, None));
        }
        let levels = self.hosts.levels(host);
        let mut denials = levels.iter().flat_map(|level| self.rules(&level.deny));
        if let Some(rule) = denials.find(|rule| rule.has_tool(tool) && rule.has_port(port)) {
            return Err((EgressCode::RuleDenies, Some(rule)));
        }
        let closest = levels.iter().rev().find(|level| !level.allow.is_empty());
        let rules = closest
            .into_iter()
            .flat_map(|level| self.rules(&level.allow));
        let mut furthest = (EgressCode::NotAllowed, None);
        for rule in rules {
            let login = [
                (
                    rule.user.as_deref() != Some(facts.user)
                        || rule.databases.iter().all(|known| known != facts.database),
                    EgressCode::LoginRefused,
                ),
                (rule.side_effect > facts.ceiling, EgressCode::SideEffect),
            ];
            let mut checks = admits(rule, &facts.destination).into_iter().chain(login);
            match checks.find(|(is_wrong, _)| *is_wrong) {
                None => return Ok(rule),
                Some((_, code)) if code >= furthest.0 => furthest = (code, Some(rule)),
                Some(_) => {}
            }
        }
        Err(furthest)
    }

    /// The rule by which there may be a connection to a destination, before anything is known of a request: the first by
    /// name of those that could let one through.
    ///
    /// # Errors
    /// Why none could; of several rules, the one that got furthest says it.
    pub fn admit(&self, facts: &DestinationFacts<'_>) -> Result<&EgressRule, EgressCode> {
        if !crate::domain::is_host(facts.host) {
            return Err(EgressCode::HostSyntax);
        }
        let levels = self.hosts.levels(facts.host);
        let closest = levels.iter().rev().find(|level| !level.allow.is_empty());
        let rules = closest
            .into_iter()
            .flat_map(|level| self.rules(&level.allow));
        let mut furthest = EgressCode::NotAllowed;
        for rule in rules {
            let mut checks = admits(rule, facts).into_iter();
            match checks.find(|(is_wrong, _)| *is_wrong) {
                None => return Ok(rule),
                Some((_, code)) => furthest = furthest.max(code),
            }
        }
        Err(furthest)
    }

    /// Whether a name may be asked for: some request to it could be let through.
    ///
    /// # Errors
    /// Why none could.
    pub fn resolves(&self, tool: &str, host: &str) -> Result<(), EgressCode> {
        if !crate::domain::is_host(host) {
            return Err(EgressCode::HostSyntax);
        }
        let levels = self.hosts.levels(host);
        let closest = levels.iter().rev().find(|level| !level.allow.is_empty());
        let rules = closest
            .into_iter()
            .flat_map(|level| self.rules(&level.allow));
        let mut why = EgressCode::NotAllowed;
        for rule in rules.filter(|rule| rule.has_tool(tool)) {
            if rule.class != DestinationClass::Unknown {
                return Ok(());
            }
            why = EgressCode::ClassUnknown;
        }
        Err(why)
    }

    /// Whether the judgment of a request is about its body, which then has to be there as a whole. Where no rule could let
    /// it through whatever it says, it is not.
    #[must_use]
    pub fn wants_body(&self, facts: &RequestFacts<'_>) -> bool {
        let levels = self.hosts.levels(facts.host);
        let closest = levels.iter().rev().find(|level| !level.allow.is_empty());
        let meant = |rule: &&EgressRule| is_meant(rule, facts);
        let allow = closest
            .into_iter()
            .flat_map(|level| self.rules(&level.allow));
        let readable = |rule: &&EgressRule| !rule.is_ambiguous(facts.path);
        let mut allow = allow.filter(readable).filter(meant).peekable();
        let deny = levels.iter().flat_map(|level| self.rules(&level.deny));
        allow.peek().is_some()
            && self.doubts(facts).is_none()
            && (form::is_form(facts)
                || allow
                    .chain(deny.filter(meant))
                    .any(|rule| !rule.body.is_open()))
    }

    /// Whether a request may get a credential.
    #[must_use]
    pub fn lends(&self, facts: &RequestFacts<'_>) -> bool {
        let levels = self.hosts.levels(facts.host);
        let closest = levels.iter().rev().find(|level| !level.allow.is_empty());
        closest
            .into_iter()
            .flat_map(|level| self.rules(&level.allow))
            .filter(|rule| !rule.is_ambiguous(facts.path))
            .any(|rule| rule.credential.is_some() && is_meant(rule, facts))
            && self.doubts(facts).is_none()
    }

    /// The rule that would have a request approved, did an escaped `/` in its path not mean what it does not say: no other rule
    /// then sends it unasked.
    fn doubts(&self, facts: &RequestFacts<'_>) -> Option<&EgressRule> {
        if !has_escaped_slash(facts.path) {
            return None;
        }
        let levels = self.hosts.levels(facts.host);
        let closest = levels.iter().rev().find(|level| !level.allow.is_empty())?;
        self.rules(&closest.allow).find(|rule| {
            rule.has_tool(facts.tool)
                && rule.has_port(facts.port)
                && rule.has_method(facts.method)
                && rule.doubts(facts.path)
        })
    }

    /// The hosts to which some request could be let through.
    pub fn hosts(&self) -> impl Iterator<Item = &DomainRule> {
        let allow = |rule: &&EgressRule| rule.effect == RuleEffect::Allow;
        self.rules.iter().filter(allow).map(|rule| &rule.host)
    }

    /// The ports to which some request could be let through.
    pub fn ports(&self) -> impl Iterator<Item = u16> {
        let allow = |rule: &&EgressRule| rule.effect == RuleEffect::Allow;
        let rules = self.rules.iter().filter(allow);
        rules.flat_map(EgressRule::all_ports)
    }

    /// Whether some request could get a credential.
    #[must_use]
    pub fn has_credentials(&self) -> bool {
        let lends = |rule: &EgressRule| {
            rule.effect == RuleEffect::Allow
                && rule.protocol == RuleProtocol::Http
                && rule.credential.is_some()
        };
        self.rules.iter().any(lends)
    }

    /// The names of the proxy that stand for destinations.
    #[must_use]
    pub fn base_urls(&self) -> &[BaseUrl] {
        &self.base_urls
    }

    /// All rules.
    pub fn all(&self) -> impl Iterator<Item = &EgressRule> {
        self.rules.iter()
    }

    fn rules<'p>(&'p self, indices: &[usize]) -> impl Iterator<Item = &'p EgressRule> {
        indices.iter().filter_map(|index| self.rules.get(*index))
    }
}

/// Why a rule does not let anything through to a destination, if the first of each is so.
fn admits(rule: &EgressRule, facts: &DestinationFacts<'_>) -> [(bool, EgressCode); 5] {
    [
        (!rule.speaks(facts.scheme), EgressCode::NotAllowed),
        (!rule.has_tool(facts.tool), EgressCode::NotAllowed),
        (
            rule.class == DestinationClass::Unknown,
            EgressCode::ClassUnknown,
        ),
        (!rule.has_port(facts.port), EgressCode::PortRefused),
        (
            facts.scheme == Scheme::Http && !rule.plaintext,
            EgressCode::PlaintextDenied,
        ),
    ]
}

/// What one rule that allows says. The checks are in the order of [`EgressCode`].
fn judge<'p>(rule: &'p EgressRule, facts: &RequestFacts<'_>) -> Ruling<'p> {
    let place = place_of(facts.host);
    let mut ruling = Ruling {
        verdict: RequestVerdict::Deny,
        code: None,
        rule: Some(rule),
        tenant: place.and_then(|place| place.tenant(facts.host, facts.path)),
        most_body_bytes: 0,
    };
    let refusal = refusal(rule, facts, place, ruling.tenant.as_deref());
    if refusal.is_some() {
        ruling.code = refusal;
        return ruling;
    }
    ruling.most_body_bytes = match rule.export {
        RuleExport::Never => rule.max_body_bytes.min(rule.export_above_bytes),
        RuleExport::Approval | RuleExport::Allowed => rule.max_body_bytes,
    };
    // A body without a length may become an export.
    let is_export = facts
        .body
        .bytes()
        .is_none_or(|bytes| bytes > rule.export_above_bytes);
    ruling.code = match (rule.export, rule.approval, facts.destination) {
        (RuleExport::Never, _, _) if facts.body.bytes().is_some() && is_export => {
            Some(EgressCode::Export)
        }
        (RuleExport::Approval, _, _) if is_export => Some(EgressCode::Export),
        (_, RuleApproval::NewDestination, Familiarity::New) => Some(EgressCode::NewDestination),
        (_, RuleApproval::Always, _) => Some(EgressCode::ApprovalRequired),
        _ => None,
    };
    ruling.verdict = match ruling.code {
        Some(EgressCode::Export) if rule.export == RuleExport::Never => RequestVerdict::Deny,
        Some(_) => RequestVerdict::Hold,
        None => RequestVerdict::Allow,
    };
    ruling
}

/// Why a rule does not let a request through, even if a person approves.
fn refusal(
    rule: &EgressRule,
    facts: &RequestFacts<'_>,
    place: Option<Place>,
    tenant: Option<&str>,
) -> Option<EgressCode> {
    let scoped = |code| {
        if rule.credential.is_some() {
            EgressCode::CredScope
        } else {
            code
        }
    };
    let own = rule.credential.is_some() || rule.kind == RuleKind::Browse;
    let first = [
        (rule.is_ambiguous(facts.path), EgressCode::PathSyntax),
        (!rule.is_of_requests(), EgressCode::NotAllowed),
        (!rule.has_tool(facts.tool), EgressCode::NotAllowed),
        (
            rule.class == DestinationClass::Unknown,
            EgressCode::ClassUnknown,
        ),
        (!is_pinned(rule, place, tenant), EgressCode::TenantPin),
        (!rule.has_port(facts.port), EgressCode::PortRefused),
        (
            facts.scheme == Scheme::Http && !rule.plaintext,
            EgressCode::PlaintextDenied,
        ),
        (
            !rule.has_method(facts.method),
            scoped(EgressCode::MethodRefused),
        ),
        (!rule.has_path(facts.path), scoped(EgressCode::PathRefused)),
        // Only now: the body of what is refused by its head was not read.
        (form::overrides_method(facts), EgressCode::MethodRefused),
        (own && brings_credential(facts), EgressCode::CredScope),
        (
            !rule.has_query(facts.query.unwrap_or_default()),
            EgressCode::QueryRefused,
        ),
        (!has_headers(rule, facts), EgressCode::HeaderRefused),
        (
            facts.websocket && rule.websocket == WebSocket::Off,
            EgressCode::WebSocketRefused,
        ),
        (rule.side_effect > facts.ceiling, EgressCode::SideEffect),
        (has_stray_body(facts), EgressCode::BodyRefused),
        (
            facts
                .body
                .bytes()
                .is_some_and(|bytes| bytes > rule.max_body_bytes),
            EgressCode::BodyTooLarge,
        ),
    ];
    if let Some((_, code)) = first.into_iter().find(|(is_wrong, _)| *is_wrong) {
        return Some(code);
    }
    match says(&rule.body, facts) {
        Says::All => None,
        Says::Streamed => Some(EgressCode::BodyStreamed),
        Says::Unreadable => Some(EgressCode::BodyUnreadable),
        Says::Some | Says::None => Some(EgressCode::BodyCondition),
    }
}

/// Whether a rule denies a request. What cannot be said for certain is denied.
fn is_denied(rule: &EgressRule, facts: &RequestFacts<'_>) -> bool {
    is_meant(rule, facts) && says(&rule.body, facts) != Says::None
}

/// Whether a rule is about a request, by what its head says.
fn is_meant(rule: &EgressRule, facts: &RequestFacts<'_>) -> bool {
    rule.is_of_requests()
        && rule.has_tool(facts.tool)
        && rule.has_port(facts.port)
        && rule.has_method(facts.method)
        && rule.has_path(facts.path)
}

/// Whether a request means a place that the rule names, if strangers have some.
fn is_pinned(rule: &EgressRule, place: Option<Place>, tenant: Option<&str>) -> bool {
    match place {
        // Hosts without places are not meant by a rule that names some.
        None => rule.tenants.is_empty(),
        Some(Place::Credential) => rule.credential.is_some(),
        Some(Place::Nowhere) => false,
        Some(_) => tenant.is_some_and(|tenant| {
            rule.tenants
                .iter()
                .any(|known| known.eq_ignore_ascii_case(tenant))
        }),
    }
}

/// Whether a request has a body that others would not look at.
fn has_stray_body(facts: &RequestFacts<'_>) -> bool {
    READING.contains(&facts.method) && !matches!(facts.body, RequestBody::Empty)
}

fn has_headers(rule: &EgressRule, facts: &RequestFacts<'_>) -> bool {
    rule.headers.iter().all(|(name, value)| {
        let mut values = facts
            .headers
            .iter()
            .filter(|(other, _)| is_header(other, name))
            .map(|(_, value)| *value);
        values.next() == Some(value.as_bytes()) && values.next().is_none()
    })
}

/// Whether its head asks for another method, in whatever way some server would hear of it.
fn overrides_method(facts: &RequestFacts<'_>) -> bool {
    facts
        .headers
        .iter()
        .any(|(name, _)| casemate_model::overrides_method(name))
        || facts.query.is_some_and(query::overrides_method)
}

/// Whether it has a credential that is not the rule's.
fn brings_credential(facts: &RequestFacts<'_>) -> bool {
    facts.headers.iter().any(|(name, _)| is_credential(name))
        || facts.query.is_some_and(query::has_credential)
}
