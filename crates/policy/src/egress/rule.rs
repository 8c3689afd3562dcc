//! One rule.

use std::collections::BTreeMap;

use casemate_model::{DestinationClass, Digest, SideEffect, has_escaped_slash};
use ipnet::IpNet;
use serde_json::Value;

use super::{
    GraphqlKind, PathPattern, RuleApproval, RuleEffect, RuleExport, RuleKind, RuleProtocol, Scheme,
    WebSocket, query::query_has_only,
};
use crate::{domain::DomainRule, profile::UNLIMITED};

/// What may be sent to some hosts, or may not. Every field is described in [`schema_reference`](crate::schema_reference).
#[derive(Clone, Debug, PartialEq)]
pub struct EgressRule {
    /// Its name, which records have.
    pub name: String,
    /// What it is for.
    pub effect: RuleEffect,
    /// What is spoken there.
    pub protocol: RuleProtocol,
    /// The hosts.
    pub host: DomainRule,
    /// The ports; 443 if there is no list, and any for a rule that denies.
    pub ports: Option<Vec<u16>>,
    /// Whom they belong to.
    pub class: DestinationClass,
    /// The networks in which the addresses of an internal host are.
    pub cidr: Vec<IpNet>,
    /// Whose places are meant, on hosts where strangers have some too.
    pub tenants: Vec<String>,
    /// The methods; `GET` and `HEAD` if there is no list, and any for a rule that denies.
    pub methods: Option<Vec<String>>,
    /// The paths; any if there is no list.
    pub paths: Option<Vec<PathPattern>>,
    /// Whether the destination keeps an escaped `/` apart from one that separates, so that it may be sent one.
    pub escaped_slash: bool,
    /// The names of a query, or pairs of a name and its only value; any if there is no list.
    pub query: Option<Vec<String>>,
    /// The longest query, in bytes.
    pub max_query_bytes: u64,
    /// What a request has to have in these headers.
    pub headers: BTreeMap<String, String>,
    /// The largest body, in bytes.
    pub max_body_bytes: u64,
    /// A larger body than this is an export, in bytes.
    pub export_above_bytes: u64,
    /// What becomes of one.
    pub export: RuleExport,
    /// What a request does.
    pub side_effect: SideEffect,
    /// The handle of the credential that is put in.
    pub credential: Option<String>,
    /// What is behind the destination.
    pub kind: RuleKind,
    /// The tools to which it applies; all if there is no list.
    pub tools: Option<Vec<String>>,
    /// Requests of one call that get the credential, if they are given out one by one: see [`EgressRule::lends`].
    pub credential_requests: u64,
    /// Requests of one call.
    pub max_requests: u64,
    /// Bytes that one call sends.
    pub max_bytes: u64,
    /// Bytes that one call is answered.
    pub max_answer_bytes: u64,
    /// When a request waits for a person.
    pub approval: RuleApproval,
    /// Whether `http` is allowed, and not only `https`.
    pub plaintext: bool,
    /// What may be sent through a WebSocket.
    pub websocket: WebSocket,
    /// What a body has to say.
    pub body: BodyRule,
    /// As whom there is a login, if that is spoken which has one.
    pub user: Option<String>,
    /// To which databases.
    pub databases: Vec<String>,
}

/// What a body has to say. Each list that is there is a condition.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BodyRule {
    /// The digests of which it has one.
    pub sha256: Option<Vec<Digest>>,
    /// Pointers (RFC 6901) and what is there.
    pub json: BTreeMap<String, Value>,
    /// The kinds of GraphQL operations.
    pub graphql_kinds: Option<Vec<GraphqlKind>>,
    /// The fields that they ask for.
    pub graphql_fields: Option<Vec<String>>,
    /// Their names.
    pub graphql_operations: Option<Vec<String>>,
    /// The methods of JSON-RPC.
    pub rpc_methods: Option<Vec<String>>,
    /// The tools of MCP.
    pub rpc_tools: Option<Vec<String>>,
}

impl BodyRule {
    /// Whether it says anything about GraphQL.
    pub(super) fn has_graphql(&self) -> bool {
        self.graphql_kinds.is_some()
            || self.graphql_fields.is_some()
            || self.graphql_operations.is_some()
    }

    /// Whether it says anything about JSON-RPC.
    pub(super) fn has_rpc(&self) -> bool {
        self.rpc_methods.is_some() || self.rpc_tools.is_some()
    }

    /// Whether it says anything.
    pub(super) fn is_open(&self) -> bool {
        self.sha256.is_none() && self.json.is_empty() && !self.has_graphql() && !self.has_rpc()
    }
}

/// A body up to so many bytes is a question, not an export, if a rule does not say otherwise.
pub(super) const QUESTION_BYTES: u64 = 64 * 1024;
/// A longer query is not a question either.
pub(super) const QUERY_BYTES: u64 = 2 * 1024;
/// The port of `https`.
const HTTPS: u16 = 443;
/// The port of PostgreSQL.
const POSTGRES: u16 = 5432;
/// What looks, and changes nothing.
pub(super) const READING: &[&str] = &["GET", "HEAD"];

impl EgressRule {
    /// To how many requests of one call the credential goes, beside those that a person approved.
    #[must_use]
    pub fn lends(&self) -> u64 {
        match self.approval {
            _ if self.credential.is_none() => 0,
            // Each of them is approved.
            RuleApproval::Always => 0,
            _ if self.side_effect >= SideEffect::Write => {
                self.credential_requests.min(self.max_requests)
            }
            _ => self.max_requests,
        }
    }

    /// Where a reader starts: nothing is known of the destination, and a request does the worst.
    pub(super) fn blank() -> Self {
        Self {
            name: String::new(),
            effect: RuleEffect::Allow,
            protocol: RuleProtocol::Http,
            host: DomainRule::nowhere(),
            ports: None,
            class: DestinationClass::Unknown,
            cidr: Vec::new(),
            tenants: Vec::new(),
            methods: None,
            paths: None,
            escaped_slash: false,
            query: None,
            max_query_bytes: QUERY_BYTES,
            headers: BTreeMap::new(),
            max_body_bytes: QUESTION_BYTES,
            export_above_bytes: QUESTION_BYTES,
            export: RuleExport::Never,
            side_effect: SideEffect::ExternalSend,
            credential: None,
            credential_requests: 1,
            kind: RuleKind::Api,
            tools: None,
            max_requests: UNLIMITED,
            max_bytes: UNLIMITED,
            max_answer_bytes: UNLIMITED,
            approval: RuleApproval::Never,
            plaintext: false,
            websocket: WebSocket::Off,
            body: BodyRule::default(),
            user: None,
            databases: Vec::new(),
        }
    }

    /// What a host of `allowed_domains` gets for which there is no rule: to be looked at.
    pub(super) fn implied(host: &DomainRule, class: DestinationClass) -> Self {
        Self {
            name: format!("allowed_domains:{}", host.as_str()),
            host: host.clone(),
            class,
            // No credential: neither ours nor the program's own.
            kind: RuleKind::Browse,
            max_body_bytes: 0,
            side_effect: SideEffect::Read,
            ..Self::blank()
        }
    }

    /// Whether what is spoken is meant; a rule that denies means all.
    pub(super) fn speaks(&self, scheme: Scheme) -> bool {
        self.effect == RuleEffect::Deny || self.protocol == scheme.protocol()
    }

    /// Whether it is about requests of HTTP; a rule that denies is about them, too.
    pub(super) fn is_of_requests(&self) -> bool {
        self.effect == RuleEffect::Deny || self.protocol == RuleProtocol::Http
    }

    /// Whether a request to `port` is meant.
    pub(super) fn has_port(&self, port: u16) -> bool {
        match (&self.ports, self.effect) {
            (Some(ports), _) => ports.contains(&port),
            (None, RuleEffect::Allow) => port == self.own_port(),
            (None, RuleEffect::Deny) => true,
        }
    }

    /// The only port if it names none.
    #[must_use]
    pub const fn own_port(&self) -> u16 {
        match self.protocol {
            RuleProtocol::Http => HTTPS,
            RuleProtocol::Postgres => POSTGRES,
        }
    }

    /// The ports that it names; for a rule that allows these are all.
    pub(crate) fn all_ports(&self) -> impl Iterator<Item = u16> {
        let own = self.ports.is_none().then(|| self.own_port());
        self.ports.iter().flatten().copied().chain(own)
    }

    /// Whether a request with `method` is meant.
    pub(super) fn has_method(&self, method: &str) -> bool {
        match (&self.methods, self.effect) {
            (Some(methods), _) => methods.iter().any(|known| known == method),
            (None, RuleEffect::Allow) => READING.contains(&method),
            (None, RuleEffect::Deny) => true,
        }
    }

    /// Whether a request to `path` is meant. What is denied is denied however the destination reads an escaped `/`.
    pub(super) fn has_path(&self, path: &str) -> bool {
        let is_meant = |pattern: &PathPattern| match self.effect {
            RuleEffect::Allow => pattern.matches(path),
            RuleEffect::Deny => pattern.matches_somewhere(path),
        };
        let paths = self.paths.as_ref();
        paths.is_none_or(|paths| paths.iter().any(is_meant))
    }

    /// Whether it leaves open what an escaped `/` in `path` means.
    pub(super) fn is_ambiguous(&self, path: &str) -> bool {
        !self.escaped_slash && has_escaped_slash(path)
    }

    /// Whether it keeps back what `path`, with an escaped `/`, may be to the destination, and not for certain what it is: it leaves
    /// open what that means, or only the other reading is its own.
    pub(super) fn doubts(&self, path: &str) -> bool {
        let may_be = |pattern: &PathPattern| pattern.matches_somewhere(path);
        let paths = self.paths.as_ref();
        self.restrains()
            && paths.is_none_or(|paths| paths.iter().any(may_be))
            && !(self.escaped_slash && self.has_path(path))
    }

    /// Whether a query has nothing but what it names.
    pub(super) fn has_query(&self, query: &str) -> bool {
        let names = self.query.as_ref();
        query.len() as u64 <= self.max_query_bytes
            && names.is_none_or(|known| query_has_only(query, known))
    }

    /// Whether a request of `tool` is meant.
    pub(super) fn has_tool(&self, tool: &str) -> bool {
        let tools = self.tools.as_ref();
        tools.is_none_or(|tools| tools.iter().any(|known| known == tool))
    }

    /// Whether it keeps something back, so that saying less in it lets more happen.
    pub(crate) fn restrains(&self) -> bool {
        self.effect == RuleEffect::Deny
            || self.approval != RuleApproval::Never
            || self.export == RuleExport::Approval
    }
}
