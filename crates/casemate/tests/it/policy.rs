//! `casemate policy`, `casemate gate`, and calls under a bundle that is in force: by the command line, in real state directories.

mod bad;
mod crash;
mod decides;
mod gate;
mod lives;
mod widening;

use std::{
    collections::BTreeMap,
    env,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::{
    home::{Home, Ran},
    route::Route,
};

/// A policy that takes the shell away again.
const NO_SHELL: &str =
    "@id(\"no_shell\")\nforbid (principal, action, resource in Casemate::Tool::\"shell\");\n";

/// A small bundle: one route, on which a local user runs code.
#[derive(Clone, Debug)]
struct Sketch {
    version: u64,
    /// The tools of its route, as in its profile.
    tools: &'static str,
    /// More of its profile's section `sandbox`.
    sandbox: &'static str,
    /// All its files but those two, by path.
    files: BTreeMap<&'static str, String>,
}

impl Sketch {
    /// With Python and a shell.
    fn wide(version: u64) -> Self {
        Self::of(version, "\"python\", \"shell\"")
    }

    /// With Python.
    fn narrow(version: u64) -> Self {
        Self::of(version, "\"python\"")
    }

    fn of(version: u64, tools: &'static str) -> Self {
        let test = trial("allow", "allowed");
        Self {
            version,
            tools,
            sandbox: "",
            files: [("tests/work.toml", test)].into(),
        }
    }

    fn with(mut self, path: &'static str, text: impl Into<String>) -> Self {
        self.files.insert(path, text.into());
        self
    }

    fn without(mut self, path: &str) -> Self {
        self.files.remove(path);
        self
    }

    /// Writes it to a directory of the user's.
    fn write(&self, home: &Home, dir: &str) -> PathBuf {
        let Self {
            version,
            tools,
            sandbox,
            files,
        } = self;
        let route = Route {
            allowed: tools,
            sandbox,
            ..Route::default()
        };
        let root = home.path(dir);
        let put = |path: &str, text: &str| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put(
            "bundle.toml",
            &format!("name = \"small\"\nversion = {version}\n"),
        );
        put("profiles/work.toml", &route.profile());
        files.iter().for_each(|(path, text)| put(path, text));
        root
    }
}

/// A test of the bundle: Python on its route.
fn trial(expect: &str, reason: &str) -> String {
    format!(
        "[[test]]\nname = \"Python\"\nroute = \"work\"\ntool = \"python\"\narguments = {{ code = \"1\" }}\nexpect = \"{expect}\"\nreason = \"{reason}\"\n"
    )
}

/// `casemate policy`, which finds the solver that this machine has.
fn command<I: AsRef<OsStr>>(home: &Home, words: impl IntoIterator<Item = I>) -> Command {
    let mut command = home.casemate(["policy"]);
    command.args(words);
    for name in ["PATH", "HOME", "PYENV_ROOT", "CASEMATE_CVC5"] {
        if let Some(value) = env::var_os(name) {
            command.env(name, value);
        }
    }
    command
}

fn policy<I: AsRef<OsStr>>(home: &Home, words: impl IntoIterator<Item = I>) -> Ran {
    Ran(command(home, words).output().unwrap())
}

/// `casemate policy activate` of a bundle, with these options.
fn activate(home: &Home, bundle: &Path, options: &[&str]) -> Ran {
    let bundle = bundle.to_str().unwrap();
    policy(home, ["activate", bundle].iter().chain(options))
}

/// Brings a bundle into force without a proof, for tests of what comes after.
fn break_in(home: &Home, bundle: &Path) -> String {
    let options = ["--solver", "/nonexistent", "--break-glass", "a test"];
    let ran = activate(home, bundle, &options);
    let stdout = ran.exits(0).stdout();
    let line = stdout.lines().last().unwrap();
    line.split(' ').next().unwrap().to_owned()
}

/// The version in force.
fn in_force(home: &Home) -> Option<u64> {
    let ran = policy(home, ["list", "--json"]);
    let lines = ran.exits(0).stdout();
    let mut active = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|listed| listed["active"] == true);
    let found = active.next();
    assert!(active.next().is_none(), "{lines}");
    found.map(|listed| listed["version"].as_u64().unwrap())
}

/// What the log says of activations.
fn activations(home: &Home) -> Vec<Value> {
    if !home.path("state/ledger/log").exists() {
        return Vec::new();
    }
    let of_one = |record: &Value| record["summary"]["tool"] == "policy.activate";
    home.log().into_iter().filter(of_one).collect()
}

/// `casemate run` of a shell on the bundle's route.
fn shell(home: &Home) -> Ran {
    home.run(["run", "--quiet", "--route", "work", "--", "echo", "ran"])
}

/// The decision that the newest record is about.
fn newest_decision(home: &Home) -> String {
    let log = home.log();
    let record = log.last().unwrap();
    record["decision"].as_str().unwrap().to_owned()
}
