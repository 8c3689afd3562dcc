//! crun, which refuses hosts where cgroup v1 and v2 are both in use. A worker process therefore lives in a
//! mount namespace of its own without the v2 hierarchy, and times crun there; the namespace is made once,
//! outside of the measured time.

use std::{
    env,
    io::{self, BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};

use super::{
    bundle,
    contender::{Contender, Program},
    sample,
};

/// Where a hybrid host mounts its v2 hierarchy.
const ENTER: &str =
    "umount /sys/fs/cgroup/unified 2>/dev/null; exec \"$0\" bench serve-crun \"$1\"";

/// A worker that times crun. It ends when it is dropped.
#[derive(Debug)]
pub(super) struct Crun {
    worker: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
    programs: &'static [Program],
}

impl Crun {
    /// Makes a bundle for each program in `directory` and starts the worker.
    pub(super) fn start(
        directory: &Path,
        programs: &'static [Program],
        image: Option<&Path>,
    ) -> Result<Self> {
        bundle::make_all(directory, programs, image)?;
        let mut worker = Command::new("unshare")
            .args(["--mount", "--", "sh", "-c", ENTER])
            .arg(env::current_exe().context("cannot find this program")?)
            .arg(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot run unshare")?;
        let requests = worker.stdin.take().context("the worker has no input")?;
        let answers = worker.stdout.take().context("the worker has no output")?;
        Ok(Self {
            worker,
            requests,
            answers: BufReader::new(answers),
            programs,
        })
    }
}

impl Contender for Crun {
    fn name(&self) -> &'static str {
        "crun"
    }

    fn time(&mut self, program: &Program) -> Result<Duration> {
        let index = bundle::index(self.programs, program)?;
        writeln!(self.requests, "{index}").context("the worker is gone")?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        match answer.trim().split_once(' ') {
            Some(("ns", elapsed)) => Ok(Duration::from_nanos(elapsed.parse()?)),
            Some(("failed", why)) => bail!("{why}"),
            _ => bail!("the worker is gone"),
        }
    }
}

impl Drop for Crun {
    fn drop(&mut self) {
        // Nothing to do about a failure: the worker also ends with its input.
        let _ = self.worker.kill();
        let _ = self.worker.wait();
    }
}

/// The worker: times crun once for each number of a program on standard input.
///
/// # Errors
/// When a request cannot be read or answered.
pub fn serve(directory: &Path) -> Result<()> {
    let mut answers = io::stdout();
    for (count, request) in io::stdin().lines().enumerate() {
        let request = request?;
        let bundle = directory.join(request.parse::<usize>()?.to_string());
        let expected = bundle::expected(&bundle)?;
        let id = format!("casemate-bench-{}-{count}", std::process::id());
        let mut command = Command::new("crun");
        command.args(["run", "--bundle"]).arg(&bundle).arg(id);
        match sample::time(&mut command, &expected) {
            Ok(elapsed) => writeln!(answers, "ns {}", elapsed.as_nanos())?,
            Err(error) => {
                writeln!(
                    answers,
                    "failed {}",
                    format!("{error:#}").replace('\n', " ")
                )?;
            }
        }
    }
    Ok(())
}
