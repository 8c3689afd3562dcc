//! What must hold before code execution is switched on: facts against demands, one line for each that fails.

use std::collections::BTreeSet;

use casemate_model::{ControlName, Isolation, IsolationTier, Strength, Text};

use crate::{
    manifest::Manifest,
    profile::Profile,
    secrets::{is_secret_name, secret_in},
    visible::quoted,
};

/// The most things that one failure names.
const MAX_NAMED: usize = 10;

/// Where programs can connect to without the egress process, as far as was found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outbound {
    /// Nowhere.
    None,
    /// Somewhere.
    Open,
    /// Nobody knows: as bad as open.
    Unknown,
}

/// What a route needs, and no more.
#[derive(Clone, Debug)]
pub struct GateDemands {
    /// Every scope that some call of it needs.
    pub scopes: BTreeSet<String>,
    /// The weakest boundary that will do.
    pub tier: IsolationTier,
    /// What must really be enforced.
    pub controls: Vec<ControlName>,
    /// Its tools.
    pub tools: BTreeSet<String>,
}

impl GateDemands {
    /// What `profile` needs with the tools of `manifests`.
    #[must_use]
    pub fn of(profile: &Profile, manifests: &[Manifest]) -> Self {
        let rules = &profile.tools;
        let listed = rules.allowed.iter().chain(&rules.approval_required);
        let tools: BTreeSet<String> = listed.cloned().collect();
        let described = manifests
            .iter()
            .filter(|manifest| tools.contains(&manifest.name));
        let scopes = described
            .flat_map(|manifest| &manifest.scopes)
            .chain(rules.scopes.values())
            .chain(&profile.identity.required_scopes);
        Self {
            scopes: scopes.cloned().collect(),
            tier: profile.sandbox.tier,
            controls: profile.sandbox.require.clone(),
            tools,
        }
    }
}

/// What was found. The default is that nothing was, with which no gate opens.
#[derive(Clone, Debug)]
pub struct GateFacts {
    /// The environment of the process that would run calls; nothing if nobody looked.
    pub environment: Option<Vec<(Text, Text)>>,
    /// Where programs in a sandbox can connect to.
    pub outbound: Outbound,
    /// The scopes of the identity under which the route runs; nothing if nobody knows.
    pub scopes: Option<BTreeSet<String>>,
    /// What a sandbox on this host enforces, measured; nothing if none could be made.
    pub isolation: Option<Isolation>,
    /// The tools that have a manifest.
    pub manifests: BTreeSet<String>,
    /// Whether a record was written to the audit log and is on disk.
    pub log_writable: bool,
}

impl Default for GateFacts {
    fn default() -> Self {
        Self {
            environment: None,
            outbound: Outbound::Unknown,
            scopes: None,
            isolation: None,
            manifests: BTreeSet::new(),
            log_writable: false,
        }
    }
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $check:path;)+) => {
        /// What failed, for machines: a closed set.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum GateCode { $($(#[$doc])* $name),+ }

        impl GateCode {
            /// Every code, in the order in which the checks are made.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The code as it is written.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text),+ }
            }
        }

        const CHECKS: &[(GateCode, Check)] = &[$((GateCode::$name, $check)),+];
    };
}

type Check = fn(&GateDemands, &GateFacts) -> Option<String>;

codes! {
    /// A secret is in the environment.
    SecretInEnvironment = "secret_in_environment", environment;
    /// Programs can connect past the egress process.
    OutboundOpen = "outbound_open", outbound;
    /// The identity may do more than the tools need.
    ScopeTooBroad = "scope_too_broad", scopes;
    /// This host does not enforce what the profile demands.
    IsolationUnavailable = "isolation_unavailable", isolation;
    /// Nobody has said what a tool is.
    ToolWithoutManifest = "tool_without_manifest", tools;
    /// What happens could not be recorded.
    LogNotWritable = "log_not_writable", log;
}

/// A check that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {line}", .code.as_str())]
pub struct GateFailure {
    /// Which.
    pub code: GateCode,
    /// Why, in one line that holds no secret.
    pub line: String,
}

/// Every check that fails; the gate is open if there is none.
///
/// Pure: the same demands and facts give the same answer.
#[must_use]
pub fn gate(demands: &GateDemands, facts: &GateFacts) -> Vec<GateFailure> {
    CHECKS
        .iter()
        .filter_map(|(code, check)| {
            let line = check(demands, facts)?;
            Some(GateFailure { code: *code, line })
        })
        .collect()
}

/// No secret waits in the environment for whatever inherits it (R98).
fn environment(_: &GateDemands, facts: &GateFacts) -> Option<String> {
    let Some(environment) = &facts.environment else {
        return Some("nobody looked at the environment".to_owned());
    };
    let found = environment.iter().filter_map(|(name, value)| {
        let name = String::from_utf8_lossy(name.as_bytes());
        if is_secret_name(&name) {
            return Some(quoted(&name));
        }
        let what = secret_in(value.as_bytes())?;
        Some(format!("{} ({what})", quoted(&name)))
    });
    named("the environment holds secrets", found)
}

/// Nothing reaches the network past the egress process (R118).
fn outbound(_: &GateDemands, facts: &GateFacts) -> Option<String> {
    match facts.outbound {
        Outbound::None => None,
        Outbound::Open => Some("programs in a sandbox can reach the network".to_owned()),
        Outbound::Unknown => Some("nobody knows whether programs can reach the network".to_owned()),
    }
}

/// The identity can do what its tools need, and nothing else (R99).
fn scopes(demands: &GateDemands, facts: &GateFacts) -> Option<String> {
    let Some(granted) = &facts.scopes else {
        return Some("nobody knows the scopes of the identity".to_owned());
    };
    let more = granted.difference(&demands.scopes);
    named("no tool needs the scopes", more.map(|scope| quoted(scope)))
}

/// The boundary is a fact (I7).
fn isolation(demands: &GateDemands, facts: &GateFacts) -> Option<String> {
    let Some(isolation) = &facts.isolation else {
        return Some("this host cannot make a sandbox".to_owned());
    };
    let (is, wanted) = (isolation.tier, demands.tier);
    let tier = (is < wanted).then(|| format!("the tier `{wanted}` (this is `{is}`)"));
    let controls =
        demands
            .controls
            .iter()
            .filter_map(|control| match isolation.strength(*control) {
                Strength::Enforced => None,
                Strength::Partial => Some(format!("`{control}` (only in part)")),
                Strength::Absent => Some(format!("`{control}`")),
            });
    named(
        "this host does not enforce",
        tier.into_iter().chain(controls),
    )
}

/// Nothing runs of which nobody has said what it does.
fn tools(demands: &GateDemands, facts: &GateFacts) -> Option<String> {
    let without = demands.tools.difference(&facts.manifests);
    named(
        "there is no manifest of the tools",
        without.map(|tool| quoted(tool)),
    )
}

fn log(_: &GateDemands, facts: &GateFacts) -> Option<String> {
    (!facts.log_writable).then(|| "the audit log cannot be written".to_owned())
}

/// `what` with the things it is about, if there are any.
fn named(what: &str, things: impl Iterator<Item = String>) -> Option<String> {
    let mut things = things.peekable();
    things.peek()?;
    let shown: Vec<_> = things.by_ref().take(MAX_NAMED).collect();
    let more = things.count();
    let mut line = format!("{what} {}", shown.join(", "));
    if more > 0 {
        line.push_str(&format!(" and {more} more"));
    }
    Some(line)
}
