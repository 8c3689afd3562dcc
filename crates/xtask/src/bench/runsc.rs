//! gVisor's runtime, on the platform that it chooses.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::Result;

use super::{
    bundle,
    contender::{Contender, Program},
    sample,
};

/// Runs bundles with runsc.
#[derive(Debug)]
pub(super) struct Runsc {
    directory: PathBuf,
    programs: &'static [Program],
    runs: usize,
}

impl Runsc {
    /// Makes a bundle for each program in `directory`.
    pub(super) fn start(
        directory: &Path,
        programs: &'static [Program],
        image: Option<&Path>,
    ) -> Result<Self> {
        bundle::make_all(directory, programs, image)?;
        Ok(Self {
            directory: directory.to_owned(),
            programs,
            runs: 0,
        })
    }

    fn command(&self) -> Command {
        let mut command = Command::new("runsc");
        command.arg("--root").arg(self.directory.join("state"));
        command.args(["--network=none", "--ignore-cgroups"]);
        command
    }
}

impl Contender for Runsc {
    fn name(&self) -> &'static str {
        "runsc"
    }

    fn time(&mut self, program: &Program) -> Result<Duration> {
        self.runs += 1;
        let id = format!("casemate-bench-{}-{}", std::process::id(), self.runs);
        let bundle = self
            .directory
            .join(bundle::index(self.programs, program)?.to_string());
        let mut run = self.command();
        run.args(["run", "--bundle"]).arg(bundle).arg(&id);
        let elapsed = sample::time(&mut run, program.expected);
        if elapsed.is_err() {
            // One that failed in the middle is left behind otherwise.
            let mut delete = self.command();
            delete.args(["delete", "--force", &id]);
            let _ = delete.stdout(Stdio::null()).stderr(Stdio::null()).status();
        }
        elapsed
    }
}
