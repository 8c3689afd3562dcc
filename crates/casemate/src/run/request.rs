//! A whole request: the command line, read and opened.

use std::{collections::BTreeMap, ffi::OsString, os::unix::ffi::OsStringExt as _, path::PathBuf};

use anyhow::{Context as _, bail};
use casemate_gateway::{Ask, Key, Policies as _, way};
use casemate_model::{Limits, Reason, Text, one_line};
use casemate_policy::{Profile, ProfileError, RoutePolicy};
use casemate_ports::{Command, InputFile};

use crate::{
    cli::RunArgs,
    gate::{self, Sandboxes},
    policy::ActivePolicies,
    run::{
        local_claims,
        program::{Program, StdinUse},
        voice::Voice,
    },
    state,
};

/// A request to run a program.
#[derive(Debug)]
pub(crate) struct Request {
    /// What is asked for.
    pub(crate) ask: Ask,
    /// Its files.
    pub(crate) inputs: Vec<InputFile>,
    /// Under which policy.
    pub(crate) policy: Result<RoutePolicy, NoPolicy>,
    /// Whose standard input ours is.
    pub(crate) stdin: StdinUse,
    /// Where its artefacts go.
    pub(crate) out: Option<PathBuf>,
    /// How its caller is told.
    pub(crate) voice: Voice,
}

/// Why there is no policy to decide by: no error of the command line, but a refusal.
#[derive(Debug)]
pub(crate) enum NoPolicy {
    /// The profile cannot be used.
    Profile(ProfileError),
    /// The route may not be used, or nobody can tell.
    Refused(Reason, String),
}

impl NoPolicy {
    fn unreadable(why: &str) -> Self {
        Self::Refused(
            Reason::PolicyError,
            format!("the policy cannot be read: {why}"),
        )
    }
}

impl Request {
    /// Reads and opens everything that the command line names.
    ///
    /// # Errors
    /// When something of it cannot be used. A profile that cannot be used is no error here: it denies.
    pub(crate) fn read(args: RunArgs) -> anyhow::Result<Self> {
        let env = environment(&args.env)?;
        let program = Program::read(&args)?;
        let policy = match &args.route {
            Some(route) => of_route(route),
            None => args
                .profile
                .as_deref()
                .map_or_else(Profile::builtin, Profile::load)
                .map(RoutePolicy::later)
                .map_err(NoPolicy::Profile),
        };
        let env = match &policy {
            Ok(policy) if way::is_wanted(policy) => with_way_out(env, policy)?,
            _ => env,
        };
        let ceiling = policy.as_ref().map(|policy| policy.sandbox.limits);
        let given = ceiling.map(|ceiling| Limits::default().at_most(&ceiling));
        let ask = Ask {
            limits: limits(&args, given.unwrap_or_default()),
            agent: args.agent,
            tool: program.tool.to_owned(),
            command: Command {
                argv: program.argv,
                env,
                ..Command::default()
            },
            code: program.code,
            within: None,
            destination: None,
            key: args.idempotency_key.map_or(Key::Own, Key::Given),
            trace_id: None,
        };
        Ok(Self {
            ask,
            inputs: program.inputs,
            policy,
            stdin: program.stdin,
            out: args.out,
            voice: Voice::new(args.json, args.quiet),
        })
    }
}

/// The policy of a route of the bundle in force, if its gate is open.
fn of_route(route: &str) -> Result<RoutePolicy, NoPolicy> {
    let root = state::path().map_err(|failure| NoPolicy::unreadable(&failure.to_string()))?;
    let active = ActivePolicies::open(&root, None, |_, _| Ok(()));
    let active = active.map_err(|error| NoPolicy::unreadable(&one_line(error.as_ref())))?;
    let governing = active.current().map_err(|why| NoPolicy::unreadable(&why))?;
    let Some(policy) = governing.get(route).cloned() else {
        let routes: Vec<_> = governing.keys().map(String::as_str).collect();
        let (route, routes) = (route.escape_debug(), routes.join(", "));
        let why = format!("there is no route `{route}`: there are {routes}");
        return Err(NoPolicy::Refused(Reason::InvalidCall, why));
    };
    match gate::check(&policy, local_claims().scopes, Sandboxes::OfCalls).first() {
        None => Ok(policy),
        Some(failure) => {
            let why = format!("the gate of {} is closed: {failure}", policy.route);
            Err(NoPolicy::Refused(Reason::GateClosed, why))
        }
    }
}

/// What a call gets that asks for nothing, but for what this one asks.
fn limits(args: &RunArgs, given: Limits) -> Limits {
    Limits {
        wall_ms: args.timeout.unwrap_or(given.wall_ms),
        cpu_milli: args.cpu.unwrap_or(given.cpu_milli),
        memory_bytes: args.memory.unwrap_or(given.memory_bytes),
        processes: args.processes.unwrap_or(given.processes),
        disk_bytes: args.disk.unwrap_or(given.disk_bytes),
        output_bytes: args.max_output.unwrap_or(given.output_bytes),
        ..given
    }
}

/// The variables by which the program finds its way out, which are no caller's to choose. They are part of the call, so
/// that they are decided on and recorded.
fn with_way_out(
    mut env: BTreeMap<String, Text>,
    policy: &Profile,
) -> anyhow::Result<BTreeMap<String, Text>> {
    if let Some(name) = env.keys().find(|name| way::is_reserved(name)) {
        bail!(
            "the variable `{}` leads programs to their way out: leave it to casemate",
            Text::from(name.clone())
        );
    }
    env.extend(way::variables(&policy.base_urls));
    Ok(env)
}

fn environment(variables: &[OsString]) -> anyhow::Result<BTreeMap<String, Text>> {
    let mut env = BTreeMap::new();
    for variable in variables {
        let bytes = variable.clone().into_vec();
        let expected = || "--env takes NAME=VALUE, with a name in UTF-8".to_owned();
        let mut parts = bytes.splitn(2, |byte| *byte == b'=');
        let (Some(name), Some(value)) = (parts.next(), parts.next()) else {
            // It may be a value without its name: it is not shown.
            bail!(expected());
        };
        let name = String::from_utf8(name.to_vec())
            .ok()
            .filter(|name| !name.is_empty());
        let name = name.with_context(expected)?;
        if env.insert(name.clone(), value.to_vec().into()).is_some() {
            bail!("the variable `{}` is given twice", Text::from(name));
        }
    }
    Ok(env)
}
