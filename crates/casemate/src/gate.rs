//! `casemate gate`: what must hold before code execution is switched on.

use std::{
    collections::BTreeSet,
    env,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Command, Stdio},
};

use casemate_gateway::{Operation, Policies as _};
use casemate_model::{ControlName, Isolation, Reason, SandboxId, Strength};
use casemate_policy::{
    GateDemands, GateFacts, GateFailure, Governing, Manifest, Outbound, Profile, RoutePolicy, gate,
};
use casemate_ports::{Keeper, Sandbox as _, SandboxSpec};
use casemate_sandbox::{GvisorKeeper, NamespaceKeeper};
use serde_json::json;

use crate::{
    activation::keep_from,
    cli::GateArgs,
    exit::Exit,
    policy::{ActivePolicies, operate},
    profile::explain,
    report::{self, Failure},
    run::local_claims,
    state,
    system::System,
    tier::{self, Tier},
};

/// Checks a profile, or a route of the bundle in force.
pub(crate) fn run(args: &GateArgs) -> Result<Exit, Failure> {
    let policy = named(&args.profile)?;
    let scopes = if args.scopes.is_empty() {
        local_claims().scopes
    } else {
        args.scopes.iter().cloned().collect()
    };
    let sandboxes = if args.sessions {
        Sandboxes::OfSessions
    } else {
        Sandboxes::OfCalls
    };
    let failures = check(&policy, scopes, sandboxes);
    for failure in &failures {
        report::print(format_args!("{failure}\n"))?;
    }
    if failures.is_empty() {
        report::print(format_args!(
            "the gate of {} is open: every check passed\n",
            policy.route
        ))?;
        return Ok(Exit::Success);
    }
    Ok(Exit::Invalid)
}

fn named(name: &str) -> Result<RoutePolicy, Failure> {
    let path = Path::new(name);
    if path.exists() {
        let profile = Profile::load(path).map_err(|error| {
            explain(&error);
            Failure::invalid(error)
        })?;
        return RoutePolicy::of(profile).map_err(Failure::invalid);
    }
    let nothing = Some(Governing::new());
    let active = ActivePolicies::open(&state::path()?, nothing, |_, _| Ok(()));
    let governing = active.map_err(Failure::failed)?.current();
    let governing = governing.map_err(|why| Failure::failed(anyhow::anyhow!("{why}")))?;
    governing.get(name).cloned().ok_or_else(|| {
        Failure::usage(anyhow::anyhow!(
            "`{}` is neither a file nor a route of the bundle in force",
            name.escape_debug()
        ))
    })
}

/// Whether every route of the bundle in force in the state directory at `root` that runs code may start. Each is checked by a process of its own, because a sandbox is only made and measured
/// where nothing else runs.
///
/// # Errors
/// What fails, in one line.
pub(crate) fn all_open(root: &Path, governing: &Governing) -> Result<(), String> {
    for policy in governing.values().filter(|policy| policy.runs_code()) {
        let route = &policy.route;
        let mut command = Command::new("/proc/self/exe");
        let checked = keep_from(&mut command)
            .arg0("casemate")
            .args(["gate", "--sessions", "--", route])
            // It may have been named otherwise than by our environment.
            .env("CASEMATE_STATE_DIR", root)
            .stdin(Stdio::null())
            .output();
        let checked =
            checked.map_err(|error| format!("the gate of {route} cannot be checked: {error}"))?;
        if !checked.status.success() {
            let mut said = checked.stdout;
            said.extend(checked.stderr);
            let said = String::from_utf8_lossy(&said);
            let failures: Vec<_> = said.lines().collect();
            return Err(format!(
                "the gate of {route} is closed: {}",
                failures.join("; ")
            ));
        }
    }
    Ok(())
}

/// In which sandboxes code is to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sandboxes {
    /// Those of `casemate run`, each made as its profile demands.
    OfCalls,
    /// Those of a server's sessions, which are all of the tier `namespace`.
    OfSessions,
}

/// Every check that fails. What could not be found out fails.
pub(crate) fn check(
    policy: &RoutePolicy,
    scopes: BTreeSet<String>,
    sandboxes: Sandboxes,
) -> Vec<GateFailure> {
    let manifests = manifests(policy);
    let demands = GateDemands::of(policy, &manifests);
    let isolation = measure(policy, sandboxes);
    let facts = GateFacts {
        environment: Some(
            env::vars_os()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
        ),
        outbound: match &isolation {
            Some(isolation) => outbound(isolation),
            None => Outbound::Unknown,
        },
        scopes: Some(scopes),
        isolation,
        manifests: manifests
            .iter()
            .map(|manifest| manifest.name.clone())
            .collect(),
        log_writable: recorded(policy),
    };
    gate(&demands, &facts)
}

/// What the policy says of its tools; those that every build has are described.
fn manifests(policy: &RoutePolicy) -> Vec<Manifest> {
    let builtin = Manifest::builtin().unwrap_or_default();
    let described = |tool: &str| {
        let engine = policy.engine().ok();
        engine
            .and_then(|engine| engine.manifest(tool))
            .or_else(|| builtin.iter().find(|manifest| manifest.name == tool))
            .cloned()
    };
    policy.tools.listed().filter_map(described).collect()
}

/// A program without a way out has a network namespace of its own, with nothing in it.
fn outbound(isolation: &Isolation) -> Outbound {
    match isolation.strength(ControlName::NetworkNamespace) {
        Strength::Enforced => Outbound::None,
        Strength::Partial | Strength::Absent => Outbound::Open,
    }
}

/// What a sandbox really enforces here: one is made, measured, and destroyed before anything runs in it.
fn measure(policy: &RoutePolicy, sandboxes: Sandboxes) -> Option<Isolation> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .ok()?;
    let mut random = casemate_model::Entropy::default();
    casemate_gateway::Entropy::fill(&System, &mut random).ok()?;
    let id = SandboxId::new(casemate_gateway::Clock::now_ms(&System), random);
    runtime.block_on(async {
        let keeper = NamespaceKeeper::new().ok()?;
        let spec = SandboxSpec {
            id,
            limits: policy.sandbox.limits,
            inputs: Vec::new(),
            way_out: None,
            violations: None,
        };
        let tier = match sandboxes {
            Sandboxes::OfCalls => tier::of(policy).ok()?,
            Sandboxes::OfSessions => Tier::Namespace,
        };
        match tier {
            Tier::Namespace => isolation_of(&keeper, spec).await,
            Tier::Gvisor(runsc) => isolation_of(&GvisorKeeper::new(keeper, runsc), spec).await,
        }
    })
}

async fn isolation_of(keeper: &impl Keeper, spec: SandboxSpec) -> Option<Isolation> {
    let mut sandbox = keeper.create(spec).await.ok()?;
    Some(sandbox.ready().await.ok()?.isolation)
}

/// Whether a record comes to disk: this very check is one.
fn recorded(policy: &RoutePolicy) -> bool {
    let operation = Operation {
        what: "gate.check",
        reason: Reason::Allowed,
        detail: format!("the gate of {} is checked", policy.route),
        alert: false,
        subject: json!({ "route": policy.route, "policy": policy.policy_digest() }),
    };
    operate(operation, || Ok(())).is_ok()
}
