//! A file and a process of the host's, each with a secret.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use super::{open_to_all, random};

/// How long the process lives if nobody ends it, in seconds.
const LIFE_SECONDS: &str = "120";

/// The canaries. They die with this value.
#[derive(Debug)]
pub(super) struct Canary {
    path: PathBuf,
    in_file: String,
    in_process: String,
    process: Child,
}

impl Canary {
    pub(super) fn lay(directory: &Path) -> io::Result<Self> {
        let path = directory.join("canary");
        let (in_file, in_process) = (random::text(), random::text());
        fs::write(&path, &in_file)?;
        open_to_all(&path, 0o666)?;
        let process = Command::new("sleep")
            .arg(LIFE_SECONDS)
            .env("CANARY_SECRET", &in_process)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Self {
            path,
            in_file,
            in_process,
            process,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn pid(&self) -> u32 {
        self.process.id()
    }

    pub(super) fn secrets(&self) -> [(&'static str, String); 2] {
        [
            ("the canary file", self.in_file.clone()),
            ("the canary process", self.in_process.clone()),
        ]
    }

    /// What happened to them.
    pub(super) fn harm(&self) -> io::Result<Vec<String>> {
        let mut findings = Vec::new();
        if fs::read_to_string(&self.path).ok().as_ref() != Some(&self.in_file) {
            findings.push("the canary file was changed".to_owned());
        }
        // `R (running)`, `S (sleeping)`; a dead process that nobody has waited for is `Z (zombie)`.
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let state = status.lines().find_map(|line| line.strip_prefix("State:"));
        if !state.is_some_and(|state| state.trim().starts_with(['R', 'S'])) {
            findings.push("the canary process was stopped or killed".to_owned());
        }
        Ok(findings)
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
