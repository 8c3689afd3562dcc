//! Profiles and the decision.
//!
//! A [`Profile`] says what one route may do, a [`Manifest`] what one tool is and takes; [`decide`] says whether one call may run under it, and
//! [`decide_access`] whether something else may be done with a session. [`EgressPolicy`] judges what leaves a sandbox, request by request.
//!
//! Invariants:
//! - [`decide`] is a pure function: the same profile and request give the same decision, in the one
//!   order that a table fixes. The first check that fails gives the reason; nothing after it is asked.
//! - A profile is read whole or not at all: an unknown key, a missing section or an unreadable file is an
//!   error with its place, never a default.
//! - What the caller is comes from [`Verified`] claims. Nothing deserialises into them, so text that a
//!   model wrote cannot become a principal, a tenant or a scope (I14).
//! - No detail, message or rendered line carries the value of an argument or an environment variable.
//!
//! - What a manifest leaves out is read as what risks more, and [`Arguments`] that two readers could take
//!   for different things are refused.
//!
//! Deliberately absent: clocks, and I/O other than reading one profile or manifest. A schema's references
//! are never fetched.

mod arguments;
mod bundle;
mod cedar;
mod claims;
mod decide;
mod diagnostic;
mod difference;
mod domain;
mod egress;
mod engine;
mod environment;
mod explain;
mod gate;
mod grant;
mod index;
mod inputs;
mod key;
mod manifest;
mod mcp;
mod offer;
mod profile;
mod reference;
mod route;
mod rules;
mod schema;
mod secrets;
mod session;
mod showing;
mod source;
mod theorem;
mod tool;
mod tree;
mod trial;
mod visible;
mod walk;

pub use casemate_model::Authenticator;

pub use self::{
    arguments::{
        ArgumentFault, Arguments, MAX_ARGUMENT_BYTES, MAX_ARGUMENT_DEPTH, MAX_ARGUMENT_MEMBERS,
    },
    bundle::{BundleFault, BundleParts, MAX_POLICIES, MAX_POLICY_BYTES, PolicyFile},
    cedar::CedarError,
    claims::{Claims, Verified},
    decide::{Access, AccessRequest, Check, CheckName, Decision, Request, Verdict},
    diagnostic::{Diagnostic, MAX_DIAGNOSTICS, render_diagnostics},
    difference::{Change, Difference, Direction, Example},
    domain::DomainRule,
    egress::{
        BaseUrl, BodyRule, DestinationFacts, EgressCode, EgressPolicy, EgressRule, Familiarity,
        GraphqlKind, LoginFacts, MAX_BASE_URLS, MAX_EGRESS_RULES, PathPattern, RequestBody,
        RequestFacts, RequestVerdict, RuleApproval, RuleEffect, RuleExport, RuleKind, RuleProtocol,
        Ruling, Scheme, WebSocket, query_has_only,
    },
    engine::Engine,
    gate::{GateCode, GateDemands, GateFacts, GateFailure, Outbound, gate},
    inputs::{Approval, Budget, Destination, Flaw, Inputs, Labels, Token, Wish},
    manifest::{
        ApprovalRule, Cost, Flows, Idempotency, MAX_INPUT_SCHEMA_BYTES, MAX_INPUT_SCHEMA_DEPTH,
        MAX_MANIFEST_BYTES, Manifest, ManifestError, Reads, Redaction, Returns,
    },
    mcp::{
        Descriptor, DescriptorFault, MAX_DESCRIPTOR_BYTES, MAX_MCP_SERVERS, MAX_MCP_TOOLS,
        McpServer, McpTool,
    },
    profile::{
        ApprovalRules, BudgetLimits, BudgetRules, Filesystem, IdentityRules, MAX_PROFILE_BYTES,
        ModeRules, NetworkRules, ObservabilityRules, Profile, ProfileError, SandboxRules, Syntax,
        ToolRules, UNLIMITED,
    },
    reference::{manifest_reference, schema_reference},
    route::{Governing, RoutePolicy},
    session::{Image, PoolRules, QuotaRule, QuotaRules, SessionMode},
    showing::Shown,
    source::SourceError,
    theorem::Claim,
    tree::MAX_DEPTH,
    trial::{MAX_TESTS, Trial, Tried},
};
