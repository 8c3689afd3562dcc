//! A program that is cvc5, or a Python that has it.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    process::Command,
    time::timeout,
};

use crate::SolverError;

/// The first version that answers as symcc expects.
const OLDEST: (u32, u32) = (1, 2);
/// How long a program may take to say what it is.
const PROBE_LIMIT: Duration = Duration::from_secs(10);
/// How much of what it says is read.
const MAX_PROBE_BYTES: u64 = 512;
/// The process that a Python with the package becomes.
const SHIM: &str = include_str!("../solver/cvc5_shim.py");
/// What the solver gets of the environment: what a launcher such as pyenv's needs.
const KEPT_VARIABLES: [&str; 4] = ["PATH", "HOME", "PYENV_ROOT", "PYENV_VERSION"];

/// A solver on disk.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    path: PathBuf,
    kind: Kind,
    version: String,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Executable,
    Python,
}

impl Program {
    /// Asks the program at `path` what it is.
    pub(crate) async fn identify(path: &Path) -> Result<Self, SolverError> {
        let mut said = first_line(path, ["--version"]).await?;
        let kind = if said.starts_with("Python 3.") {
            said = first_line(path, python_arguments("version")).await?;
            Kind::Python
        } else {
            Kind::Executable
        };
        let Some(version) = said.strip_prefix("This is cvc5 version ") else {
            let program = path.to_path_buf();
            return Err(SolverError::NotCvc5 { program, said });
        };
        let version = version.split_whitespace().next().unwrap_or_default();
        let solver = Self {
            path: path.to_path_buf(),
            kind,
            version: version.to_owned(),
        };
        if numbers(version) < OLDEST {
            let Self { path, version, .. } = solver;
            return Err(SolverError::TooOld {
                program: path,
                version,
            });
        }
        Ok(solver)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    /// The solver as a process that reads SMT-LIB; it gives an answer up after `limit` by itself, in case
    /// that nobody is left to kill it.
    pub(crate) fn command(&self, limit: Duration) -> Command {
        let limit_ms = limit.as_millis().to_string();
        match self.kind {
            Kind::Executable => bare(
                &self.path,
                ["--lang=smt2", &format!("--tlimit-per={limit_ms}")],
            ),
            Kind::Python => bare(&self.path, python_arguments(&limit_ms)),
        }
    }
}

/// Isolated: neither the environment nor the working directory adds a module.
fn python_arguments(argument: &str) -> [&str; 6] {
    ["-I", "-X", "utf8", "-c", SHIM, argument]
}

/// A command without our environment, whose process dies with the value.
fn bare<'a>(path: &Path, arguments: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = Command::new(path);
    command
        .args(arguments.into_iter().map(OsStr::new))
        .env_clear()
        .envs(
            KEPT_VARIABLES
                .iter()
                .filter_map(|name| Some((name, std::env::var_os(name)?))),
        )
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    command
}

async fn first_line<'a>(
    path: &Path,
    arguments: impl IntoIterator<Item = &'a str>,
) -> Result<String, SolverError> {
    let start = |source| SolverError::Start {
        program: path.to_path_buf(),
        source,
    };
    let mut child = bare(path, arguments).spawn().map_err(start)?;
    let mut said = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        let mut stdout = BufReader::new(stdout.take(MAX_PROBE_BYTES));
        timeout(PROBE_LIMIT, stdout.read_until(b'\n', &mut said))
            .await
            .map_err(|_| SolverError::Silent {
                program: path.to_path_buf(),
                waited_ms: crate::theorem::milliseconds(PROBE_LIMIT),
            })?
            .map_err(start)?;
    }
    Ok(String::from_utf8_lossy(&said).trim().to_owned())
}

/// Major and minor; what is no number counts as old.
fn numbers(version: &str) -> (u32, u32) {
    let mut parts = version
        .split(|c: char| !c.is_ascii_digit())
        .map(|part| part.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        for (version, is_new) in [
            ("1.4.2", true),
            ("1.2.0", true),
            ("1.10.0-dev", true),
            ("2.0", true),
            ("1.1.9", false),
            ("1.0.3", false),
            ("0.9", false),
            ("1", false),
            ("new", false),
            ("", false),
        ] {
            assert_eq!(numbers(version) >= OLDEST, is_new, "{version}");
        }
    }
}
