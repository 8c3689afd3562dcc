//! What may leave a sandbox: rules for each destination, and their judgment of one request.
//!
//! Invariants:
//! - Nothing is allowed that no rule allows. The order of rules means nothing: whatever a rule denies is denied, and of rules that allow only those for
//!   the closest host count.
//! - What two readers could take for different things is denied, never interpreted: spellings of hosts and paths, JSON that says something twice, a body that is not there as a whole.
//! - On a host where strangers have a place too, a rule says whose place it means.
//! - [`EgressPolicy::judge`] is a pure function, and looks at the rules of the host alone.

mod base_url;
mod body;
mod check;
mod facts;
mod form;
mod hosts;
mod judge;
mod keys;
mod path;
mod pattern;
mod query;
mod rule;
mod tenant;
mod words;

pub use self::{
    base_url::{BaseUrl, MAX_BASE_URLS},
    facts::{
        DestinationFacts, EgressCode, LoginFacts, RequestBody, RequestFacts, RequestVerdict, Ruling,
    },
    judge::EgressPolicy,
    path::PathPattern,
    query::query_has_only,
    rule::{BodyRule, EgressRule},
    words::{
        Familiarity, GraphqlKind, RuleApproval, RuleEffect, RuleExport, RuleKind, RuleProtocol,
        Scheme, WebSocket,
    },
};
pub(crate) use self::{
    base_url::{VARIABLE as BASE_URL_VARIABLE, read_base_url},
    keys::read_rule,
    tenant::known_tenants,
};

/// The most rules of one profile.
pub const MAX_EGRESS_RULES: usize = 1_024;
