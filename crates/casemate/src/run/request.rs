//! A whole request: the command line, read and opened.

use std::{collections::BTreeMap, ffi::OsString, os::unix::ffi::OsStringExt as _, path::PathBuf};

use anyhow::{Context as _, bail};
use casemate_gateway::{Ask, Key};
use casemate_model::{Limits, Text};
use casemate_policy::{Profile, ProfileError, RoutePolicy};
use casemate_ports::{Command, InputFile};

use crate::{
    cli::RunArgs,
    run::{
        program::{Program, StdinUse},
        voice::Voice,
    },
};

/// A request to run a program.
#[derive(Debug)]
pub(crate) struct Request {
    /// What is asked for.
    pub(crate) ask: Ask,
    /// Its files.
    pub(crate) inputs: Vec<InputFile>,
    /// Under which policy.
    pub(crate) policy: Result<RoutePolicy, ProfileError>,
    /// Whose standard input ours is.
    pub(crate) stdin: StdinUse,
    /// Where its artefacts go.
    pub(crate) out: Option<PathBuf>,
    /// How its caller is told.
    pub(crate) voice: Voice,
}

impl Request {
    /// Reads and opens everything that the command line names.
    ///
    /// # Errors
    /// When something of it cannot be used. A profile that cannot be used is no error here: it denies.
    pub(crate) fn read(args: RunArgs) -> anyhow::Result<Self> {
        let env = environment(&args.env)?;
        let program = Program::read(&args)?;
        let profile = args
            .profile
            .as_deref()
            .map_or_else(Profile::builtin, Profile::load);
        let ceiling = profile.as_ref().map(|profile| profile.sandbox.limits);
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
            policy: profile.and_then(RoutePolicy::of),
            stdin: program.stdin,
            out: args.out,
            voice: Voice::new(args.json, args.quiet),
        })
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
