//! The template interpreter's program: what it reads when it starts.

use std::{
    collections::BTreeMap,
    io,
    os::{fd::OwnedFd, unix::ffi::OsStrExt as _},
};

use casemate_confine::{LANDLOCK, seccomp};
use casemate_sys::LandlockRule;
use rustix::fs::{MemfdFlags, memfd_create};
use serde::Serialize;

use super::{c_string, first::Template};
use crate::{run::BASE_ENV, userland::Userland};

const WARM: &str = include_str!("../../python/warm.py");

/// The modules that run cells.
const MODULES: &[(&str, &str)] = &[
    ("casemate_cell", include_str!("../../python/cell.py")),
    ("casemate_figures", include_str!("../../python/figures.py")),
    ("casemate_forked", include_str!("../../python/forked.py")),
    ("casemate_hooks", include_str!("../../python/hooks.py")),
    ("casemate_results", include_str!("../../python/results.py")),
    ("casemate_sources", include_str!("../../python/sources.py")),
    ("casemate_streams", include_str!("../../python/streams.py")),
    (
        "casemate_template",
        include_str!("../../python/template.py"),
    ),
    ("casemate_traces", include_str!("../../python/traces.py")),
];

/// Reads the program from descriptor 4, and becomes it.
const BOOT: &str = "import json, os\n\
    with os.fdopen(4) as file: given = json.load(file)\n\
    exec(compile(given['warm'], 'casemate_warm', 'exec'), {'__name__': 'casemate_warm', 'given': given})\n";

/// Everything that the template is given.
#[derive(Serialize)]
struct Given<'a> {
    warm: &'static str,
    modules: BTreeMap<&'static str, &'static str>,
    preload: &'a [String],
    /// Kind of access and path, as in [`LandlockRule`].
    landlock: Vec<(&'static str, String)>,
    /// Instructions: operation, jump if true, jump if false, operand.
    seccomp: &'static [casemate_sys::Instruction],
}

/// The template of `userland`, if it has an interpreter.
pub(super) fn template(userland: &Userland) -> io::Result<Option<Template>> {
    let Some(python) = &userland.python else {
        return Ok(None);
    };
    let path = c_string(python.as_os_str().as_bytes())?;
    let mut env = Vec::new();
    for (name, value) in BASE_ENV {
        env.push(c_string(format!("{name}={value}"))?);
    }
    for (name, value) in &userland.env {
        env.push(c_string(format!("{name}={value}"))?);
    }
    Ok(Some(Template {
        argv: vec![path.clone(), c_string("-c")?, c_string(BOOT)?],
        path,
        env,
        program: program(&userland.preload)?,
    }))
}

fn program(preload: &[String]) -> io::Result<OwnedFd> {
    let rule = |rule: &LandlockRule<'_>| {
        let (kind, path) = match rule {
            LandlockRule::List(path) => ("list", path),
            LandlockRule::Execute(path) => ("execute", path),
            LandlockRule::Devices(path) => ("devices", path),
            LandlockRule::Write(path) => ("write", path),
        };
        (kind, path.to_string_lossy().into_owned())
    };
    let given = Given {
        warm: WARM,
        modules: MODULES.iter().copied().collect(),
        preload,
        landlock: LANDLOCK.iter().map(rule).collect(),
        seccomp: seccomp::PROGRAM,
    };
    let text = serde_json::to_vec(&given)?;
    let file = memfd_create(c"casemate-interpreter", MemfdFlags::CLOEXEC)?;
    let mut rest = text.as_slice();
    while !rest.is_empty() {
        let count = rustix::io::write(&file, rest)?;
        rest = rest.get(count..).unwrap_or_default();
    }
    rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(0))?;
    Ok(file)
}
