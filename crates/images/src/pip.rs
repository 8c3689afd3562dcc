//! Pip: which one is there, and what it means by what it says.
//!
//! Pip knows indexes, proxies and certificates from its own configuration, which is honoured when wheels are fetched and
//! ignored when they are unpacked.

use std::{env, ffi::OsString, path::Path, process::Command};

use crate::{BuildError, Recipe, program, program::Ended, staging::Staging};

/// Variables that say where packages come from and how they are reached. Others could change what is fetched or where
/// it goes.
const KEPT: [&str; 34] = [
    "HOME",
    "XDG_CONFIG_HOME",
    "XDG_CONFIG_DIRS",
    "NETRC",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "PIP_CONFIG_FILE",
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "PIP_NO_INDEX",
    "PIP_FIND_LINKS",
    "PIP_CERT",
    "PIP_CLIENT_CERT",
    "PIP_TRUSTED_HOST",
    "PIP_PROXY",
    "PIP_TIMEOUT",
    "PIP_DEFAULT_TIMEOUT",
    "PIP_RETRIES",
    "PIP_KEYRING_PROVIDER",
    "PIP_USE_FEATURE",
    "PIP_USE_DEPRECATED",
    "PIP_RESUME_RETRIES",
    "PYENV_ROOT",
    "PYENV_VERSION",
];

/// A pip that installs for a recipe's interpreter.
#[derive(Debug)]
pub(crate) struct Pip {
    program: OsString,
    words: Vec<OsString>,
}

impl Pip {
    /// The interpreter's own, else that of the `python3` in `PATH`, told to run under the interpreter.
    pub(crate) fn find(staging: &Staging, recipe: &Recipe) -> Result<Self, BuildError> {
        let start = |program: &Path, rest: &[&Path]| Self {
            program: program.into(),
            words: ["-I", "-B", "-m", "pip"]
                .into_iter()
                .map(OsString::from)
                .chain(rest.iter().map(|word| word.as_os_str().to_owned()))
                .collect(),
        };
        let own = start(&recipe.python, &[]);
        let other = start(
            Path::new("python3"),
            &[Path::new("--python"), &recipe.python],
        );
        for pip in [own, other] {
            let mut command = pip.command(staging, Configuration::None)?;
            command.arg("--version");
            let answer = program::run(staging, "pip", &mut command, "pip.log");
            if answer.is_ok_and(|ended| ended.status.success()) {
                return Ok(pip);
            }
        }
        Err(BuildError::NoPip {
            path: recipe.python.clone(),
        })
    }

    /// A command of this pip. It has no cache, asks nothing, and looks for no newer pip.
    pub(crate) fn command(
        &self,
        staging: &Staging,
        configuration: Configuration,
    ) -> Result<Command, BuildError> {
        let mut command = program::command(staging, Path::new(&self.program))?;
        match configuration {
            Configuration::Users => {
                let kept = KEPT
                    .iter()
                    .filter_map(|name| Some((name, env::var_os(name)?)));
                command.envs(kept);
                // What some users make pip ask for; nothing is installed where that would matter.
                command.env("PIP_REQUIRE_VIRTUALENV", "0");
            }
            Configuration::None => {
                command.env("PIP_CONFIG_FILE", "/dev/null");
            }
        }
        command.args(&self.words);
        command.args([
            "--no-cache-dir",
            "--disable-pip-version-check",
            "--no-input",
            "--no-color",
        ]);
        Ok(command)
    }
}

/// Which configuration a command of pip sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Configuration {
    /// The user's and the host's.
    Users,
    /// None.
    None,
}

/// What it means that fetching failed.
pub(crate) fn explain(ended: &Ended) -> BuildError {
    let log = ended.log();
    let says = |words: &str| ended.said.contains(words);
    if says("DO NOT MATCH THE HASHES") {
        BuildError::HashMismatch { log }
    } else if says("In --require-hashes mode") || says("ResolutionImpossible") {
        BuildError::NotLocked { log }
    } else if says("connection broken by") || says("Max retries exceeded") {
        BuildError::Unreachable { log }
    } else if says("No matching distribution found") {
        BuildError::NoWheel { log }
    } else {
        BuildError::Failed {
            program: "pip",
            log,
        }
    }
}
