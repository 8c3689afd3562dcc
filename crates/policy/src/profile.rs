//! A route's security profile.

use std::{collections::BTreeMap, path::Path};

use casemate_model::{
    Capability, ControlName, DestinationClass, Digest, IsolationTier, Limits, Responses, RiskClass,
    RunMode, Text, Tier, Trigger,
};

use crate::{
    cedar::CedarError,
    diagnostic::{Diagnostic, Report, render_diagnostics},
    domain::DomainRule,
    egress::{BaseUrl, EgressRule},
    manifest::Cost,
    mcp::McpServer,
    session::{Image, PoolRules, QuotaRules, SessionMode},
    source::{Paper, SourceError},
    tool::ToolFacts,
    walk::walk,
};

/// The largest profile, in bytes.
pub const MAX_PROFILE_BYTES: usize = 256 << 10;

const PAPER: Paper = Paper {
    noun: "profile",
    max_bytes: MAX_PROFILE_BYTES,
    needs: "`route`, `risk_class` and the sections `identity`, `sandbox`, `tools` and `observability`",
};

const BUILTIN_NAME: &str = "the built-in profile";
const BUILTIN: &[u8] = include_bytes!("../profiles/run.toml");
const BUILTIN_SERVE_NAME: &str = "the built-in profile of `casemate serve`";
const BUILTIN_SERVE: &[u8] = include_bytes!("../profiles/serve.toml");
const BUILTIN_UP_NAME: &str = "the built-in profile of `casemate up`";
/// Whom the profile of `casemate serve` believes, and whom that of `casemate up` does.
const ONLY_LOCAL: &str = "[\"casemate:local\"]";
const LOCAL_AND_KEYS: &str = "[\"casemate:local\", \"casemate:api-keys\"]";

/// What one route may do. Every field is described in [`schema_reference`](crate::schema_reference).
#[derive(Clone, Debug)]
pub struct Profile {
    /// The route.
    pub route: String,
    /// How much harm it can do.
    pub risk_class: RiskClass,
    /// What kind of work it contains, if the profile says it.
    pub tier: Option<Tier>,
    /// Who may call.
    pub identity: IdentityRules,
    /// Where programs run.
    pub sandbox: SandboxRules,
    /// What calls may use together.
    pub quotas: QuotaRules,
    /// What may be called.
    pub tools: ToolRules,
    /// What may leave a sandbox, for each destination.
    pub egress: Vec<EgressRule>,
    /// Names of the proxy that stand for destinations.
    pub base_urls: Vec<BaseUrl>,
    /// Servers of the Model Context Protocol that run in its sandboxes.
    pub mcp: Vec<McpServer>,
    /// How calls are approved that need it.
    pub approvals: ApprovalRules,
    /// What calls may spend.
    pub budgets: BudgetRules,
    /// How much may happen without a person.
    pub modes: ModeRules,
    /// What is recorded, and what is not.
    pub observability: ObservabilityRules,
    pub(crate) source: Text,
    pub(crate) syntax: Syntax,
    pub(crate) digest: Digest,
}

/// Who may call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityRules {
    /// Issuers whose word counts.
    pub allowed_issuers: Vec<String>,
    /// The audience that claims must be for.
    pub required_audience: String,
    /// Scopes that every call needs.
    pub required_scopes: Vec<String>,
    /// Tenants that may call.
    pub allowed_tenants: Vec<String>,
}

/// Where programs run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SandboxRules {
    /// What programs may write to.
    pub filesystem: Filesystem,
    /// Where a run's files are; `${run_id}` stands for the run.
    pub workspace: String,
    /// Where programs may connect to.
    pub network: NetworkRules,
    /// What a call gets that asks for nothing, and the most that it can ask for.
    pub limits: Limits,
    /// The weakest boundary that will do.
    pub tier: IsolationTier,
    /// What must really be enforced.
    pub require: Vec<ControlName>,
    /// The variables that a caller may declare; any that is not reserved or a secret's if there is no list.
    pub environment: Option<Vec<String>>,
    /// How the names of input files may end; anyhow if there is no list.
    pub input_file_types: Option<Vec<String>>,
    /// How long a sandbox lives.
    pub session: SessionMode,
    /// What its userland is.
    pub image: Image,
    /// A session ends after so long without a call, in milliseconds.
    pub session_idle_ms: u64,
    /// A session ends when it is so old, in milliseconds.
    pub session_max_ms: u64,
    /// A paused session ends after so long, in milliseconds.
    pub session_paused_ms: u64,
    /// What all paused sessions of an agent may take, in bytes.
    pub session_paused_bytes: u64,
    /// How many unused sandboxes stand ready.
    pub pool: PoolRules,
    /// What follows when a program does what no ordinary program does.
    pub violations: Responses,
    /// What no source may do, as far as can be seen before it runs.
    pub scan_forbidden: Vec<Capability>,
}

/// What programs may write to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filesystem {
    /// Only the call's own scratch space.
    ReadOnly,
    /// The workspace too.
    Workspace,
}

impl Filesystem {
    /// Every value.
    pub const ALL: &'static [Self] = &[Self::ReadOnly, Self::Workspace];

    /// The word as it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ReadOnly => "read_only",
            Self::Workspace => "workspace",
        }
    }
}

/// Where programs may connect to. Private networks are blocked and TLS is required in every profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkRules {
    /// The hosts.
    pub allowed_domains: Vec<DomainRule>,
    /// Whom they belong to, where the profile says it.
    pub classes: BTreeMap<DomainRule, DestinationClass>,
}

impl NetworkRules {
    /// Whom a host belongs to: anybody, if it is allowed and the profile does not say; nobody knows, if it is not allowed.
    #[must_use]
    pub fn class_of(&self, host: &str) -> DestinationClass {
        if !self.allowed_domains.iter().any(|rule| rule.allows(host)) {
            return DestinationClass::Unknown;
        }
        self.closest(|rule| rule.allows(host))
            .unwrap_or(DestinationClass::Public)
    }

    /// Whom everything belongs to that `host` covers, where the profile says it for all of that.
    pub(crate) fn class_of_all(&self, host: &DomainRule) -> Option<DestinationClass> {
        self.closest(|rule| rule.covers(host))
    }

    /// The class of the closest rule that is meant: of the longest.
    fn closest(&self, is_meant: impl Fn(&DomainRule) -> bool) -> Option<DestinationClass> {
        let classes = self.classes.iter().filter(|(rule, _)| is_meant(rule));
        classes
            .max_by_key(|(rule, _)| (!rule.as_str().starts_with('*'), rule.as_str().len()))
            .map(|(_, class)| *class)
    }
}

/// What may be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolRules {
    /// Tools that need no approval.
    pub allowed: Vec<String>,
    /// Tools that need one for each call, whether or not they are in `allowed` too.
    pub approval_required: Vec<String>,
    /// The scope that a tool needs beside `identity.required_scopes`.
    pub scopes: BTreeMap<String, String>,
}

impl ToolRules {
    /// Every tool of the profile, each once.
    pub fn listed(&self) -> impl Iterator<Item = &str> {
        let allowed = self.allowed.iter();
        let others = self.approval_required.iter();
        allowed
            .chain(others.filter(|tool| !self.allowed.contains(tool)))
            .map(String::as_str)
    }
}

/// How calls are approved that need it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApprovalRules {
    /// How many people have to consent.
    pub needed: u64,
    /// In which of these roles each of them has to be; in any if there is none.
    pub roles: Vec<String>,
    /// How long a call waits for them, in milliseconds.
    pub wait_ms: u64,
    /// How long a consent counts at most, in milliseconds.
    pub grant_ms: u64,
}

/// What stands for no limit.
pub const UNLIMITED: u64 = 1 << 53;

/// What calls may spend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BudgetRules {
    /// Each call for itself.
    pub call: BudgetLimits,
    /// The calls of a thread, from its beginning.
    pub thread: BudgetLimits,
    /// Those of an agent, in a day (UTC).
    pub agent_day: BudgetLimits,
    /// Those of a tenant, in a day (UTC).
    pub tenant_day: BudgetLimits,
    /// What every call costs, beside what its tool's manifest says.
    pub cost: Cost,
    /// How often in a row the same call may fail the same way in a thread.
    pub equal_failures: u64,
}

/// What some calls may spend together; [`UNLIMITED`] stands for no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BudgetLimits {
    /// Calls that run.
    pub calls: u64,
    /// The time that they run, in milliseconds.
    pub time_ms: u64,
    /// What they write, in bytes.
    pub output_bytes: u64,
    /// Calls that people are asked about.
    pub approvals: u64,
    /// Tokens of models, as manifests say what a call costs.
    pub tokens: u64,
    /// Money, as manifests say it: millionths of the one currency that a deployment counts in.
    pub money_micros: u64,
}

impl BudgetLimits {
    /// Each with the name of its key.
    #[must_use]
    pub const fn named(&self) -> [(&'static str, u64); 6] {
        [
            ("calls", self.calls),
            ("time_ms", self.time_ms),
            ("output_bytes", self.output_bytes),
            ("approvals", self.approvals),
            ("tokens", self.tokens),
            ("money_micros", self.money_micros),
        ]
    }
}

/// How much may happen without a person. A call can ask for less, and never for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModeRules {
    /// The most, whatever made the agent act.
    pub ceiling: RunMode,
    /// When a clock did.
    pub schedule: RunMode,
    /// When a message from outside did.
    pub webhook: RunMode,
    /// When another agent did.
    pub agent: RunMode,
}

impl ModeRules {
    /// The mode of a call that `trigger` made, and that asks for `asked` at most.
    #[must_use]
    pub fn of(&self, trigger: Trigger, asked: Option<RunMode>) -> RunMode {
        let own = match trigger {
            Trigger::Interactive => self.ceiling,
            Trigger::Schedule => self.schedule,
            Trigger::Webhook => self.webhook,
            Trigger::Agent => self.agent,
        };
        asked.unwrap_or(own).at_most(own).at_most(self.ceiling)
    }
}

/// What is recorded, and what is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservabilityRules {
    /// Fields that every trace has.
    pub required_trace_fields: Vec<String>,
    /// Fields whose values are never shown.
    pub redact: Vec<String>,
}

/// The languages of profiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syntax {
    /// Strict JSON (RFC 8259).
    Json,
    /// TOML 1.1.
    Toml,
}

impl Syntax {
    /// The language that the name of a file promises.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()? {
            "json" => Some(Self::Json),
            "toml" => Some(Self::Toml),
            _ => None,
        }
    }
}

/// Why there is no profile. Each means [`InvalidProfile`](casemate_model::Reason::InvalidProfile).
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// The file could not be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// Cedar does not take what the profile comes to.
    #[error("the profile cannot be decided by")]
    Cedar(#[from] CedarError),
    /// The file was read and is wrong.
    #[error("the profile {name} has {} error{}", .diagnostics.len(), if .diagnostics.len() == 1 { "" } else { "s" })]
    Invalid {
        /// How the reader knows it.
        name: String,
        /// Its bytes.
        text: Vec<u8>,
        /// Everything that is wrong with it.
        diagnostics: Vec<Diagnostic>,
    },
}

impl ProfileError {
    /// The errors with their lines, as plain text, if the file could be read.
    #[must_use]
    pub fn rendered(&self) -> Option<String> {
        match self {
            Self::Invalid {
                name,
                text,
                diagnostics,
            } => Some(render_diagnostics(name, text, diagnostics)),
            _ => None,
        }
    }
}

impl Profile {
    /// Reads the file at `path`, which is called `*.json` or `*.toml`.
    ///
    /// # Errors
    /// When the file cannot be read or anything in it is wrong.
    pub fn load(path: &Path) -> Result<Self, ProfileError> {
        let (text, syntax) = PAPER.load(path)?;
        Self::parse_named(&path.to_string_lossy(), text, syntax)
    }

    /// The profile of `casemate run` when its caller names no other.
    ///
    /// # Errors
    /// Never in a build that passed its tests.
    pub fn builtin() -> Result<Self, ProfileError> {
        Self::parse_named(BUILTIN_NAME, BUILTIN.to_vec(), Syntax::Toml)
    }

    /// The profile of `casemate serve` when nobody names another: sessions of threads.
    ///
    /// # Errors
    /// Never in a build that passed its tests.
    pub fn builtin_serve() -> Result<Self, ProfileError> {
        Self::parse_named(BUILTIN_SERVE_NAME, BUILTIN_SERVE.to_vec(), Syntax::Toml)
    }

    /// The profile of `casemate up` when nobody names another: that of `casemate serve`, for the holders of this gateway's API
    /// keys too.
    ///
    /// # Errors
    /// Never in a build that passed its tests.
    pub fn builtin_up() -> Result<Self, ProfileError> {
        let text = String::from_utf8_lossy(BUILTIN_SERVE).replace(ONLY_LOCAL, LOCAL_AND_KEYS);
        Self::parse_named(BUILTIN_UP_NAME, text.into_bytes(), Syntax::Toml)
    }

    /// Reads a profile from its bytes.
    ///
    /// # Errors
    /// Everything that is wrong, in the order of the file; at most [`MAX_DIAGNOSTICS`](crate::MAX_DIAGNOSTICS)
    /// and a note that there are more.
    pub fn parse(source: &[u8], syntax: Syntax) -> Result<Self, Vec<Diagnostic>> {
        let mut report = Report::new(source);
        let mut profile = Self::blank();
        if let Some(root) = PAPER.tree(source, syntax, &mut report) {
            walk(&root, &mut profile, &mut report);
        }
        profile.source = source.to_vec().into();
        profile.syntax = syntax;
        profile.digest = Digest::of(source);
        report.finish(profile)
    }

    fn parse_named(name: &str, text: Vec<u8>, syntax: Syntax) -> Result<Self, ProfileError> {
        Self::parse(&text, syntax).map_err(|diagnostics| ProfileError::Invalid {
            name: name.to_owned(),
            text,
            diagnostics,
        })
    }

    /// What kind of work it contains: what the profile says, or as little as its tools need.
    #[must_use]
    pub fn tier(&self) -> Tier {
        let needed = self
            .tools
            .listed()
            .map(|tool| ToolFacts::of(self, tool, None).tier);
        self.tier.or_else(|| needed.max()).unwrap_or(Tier::ReadOnly)
    }

    /// The digest of the bytes that this profile was read from: its version.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// The bytes that this profile was read from, to keep with an incident.
    #[must_use]
    pub fn source(&self) -> &[u8] {
        self.source.as_bytes()
    }

    /// The language of those bytes.
    #[must_use]
    pub const fn syntax(&self) -> Syntax {
        self.syntax
    }

    /// Where a reader starts: nobody may do anything, behind the strongest boundary.
    pub(crate) fn blank() -> Self {
        Self {
            route: String::new(),
            risk_class: RiskClass::High,
            tier: None,
            identity: IdentityRules {
                allowed_issuers: Vec::new(),
                required_audience: String::new(),
                required_scopes: Vec::new(),
                allowed_tenants: Vec::new(),
            },
            sandbox: SandboxRules {
                filesystem: Filesystem::ReadOnly,
                workspace: String::new(),
                network: NetworkRules {
                    allowed_domains: Vec::new(),
                    classes: BTreeMap::new(),
                },
                limits: Limits::default(),
                tier: IsolationTier::Vm,
                require: ControlName::ALL.to_vec(),
                environment: None,
                input_file_types: None,
                session: SessionMode::Call,
                image: Image::Host,
                session_idle_ms: 0,
                session_max_ms: 0,
                session_paused_ms: 0,
                session_paused_bytes: 0,
                pool: PoolRules::default(),
                violations: Responses::STRICT,
                scan_forbidden: Vec::new(),
            },
            quotas: QuotaRules::default(),
            tools: ToolRules {
                allowed: Vec::new(),
                approval_required: Vec::new(),
                scopes: BTreeMap::new(),
            },
            egress: Vec::new(),
            base_urls: Vec::new(),
            mcp: Vec::new(),
            approvals: ApprovalRules::default(),
            budgets: BudgetRules::default(),
            modes: ModeRules {
                ceiling: RunMode::ReadOnly,
                schedule: RunMode::ReadOnly,
                webhook: RunMode::ReadOnly,
                agent: RunMode::ReadOnly,
            },
            observability: ObservabilityRules {
                required_trace_fields: Vec::new(),
                redact: Vec::new(),
            },
            source: Text::default(),
            syntax: Syntax::Json,
            digest: Digest::of(b""),
        }
    }
}
