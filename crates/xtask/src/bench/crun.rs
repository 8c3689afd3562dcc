//! crun, which refuses hosts where cgroup v1 and v2 are both in use. A worker process therefore lives in a
//! mount namespace of its own without the v2 hierarchy, and times crun there; the namespace is made once,
//! outside of the measured time.

use std::{
    env, fs,
    io::{self, BufRead, BufReader, Write},
    os::unix::fs::symlink,
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use serde_json::json;

use super::{
    contender::{Contender, PROGRAMS, Program},
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
}

impl Crun {
    /// Makes a bundle for each program in `directory` and starts the worker.
    pub(super) fn start(directory: &Path) -> Result<Self> {
        make_bundles(directory)?;
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
        })
    }
}

impl Contender for Crun {
    fn name(&self) -> &'static str {
        "crun"
    }

    fn time(&mut self, program: &Program) -> Result<Duration> {
        writeln!(self.requests, "{}", program.name).context("the worker is gone")?;
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

/// The worker: times crun once for each program's name on standard input.
///
/// # Errors
/// When a request cannot be read or answered.
pub fn serve(directory: &Path) -> Result<()> {
    let mut answers = io::stdout();
    for (count, request) in io::stdin().lines().enumerate() {
        let request = request?;
        let found = PROGRAMS
            .iter()
            .enumerate()
            .find(|(_, program)| program.name == request);
        let Some((index, program)) = found else {
            bail!("{request:?} is no program that is measured");
        };
        let id = format!("casemate-bench-{}-{count}", std::process::id());
        let mut command = Command::new("crun");
        command
            .args(["run", "--bundle"])
            .arg(directory.join(index.to_string()))
            .arg(id);
        match sample::time(&mut command, program.expected) {
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

/// One bundle per program, all with the host's userland, read-only, as their root.
fn make_bundles(directory: &Path) -> Result<()> {
    let root = directory.join("root");
    for mount_point in ["usr", "proc", "dev", "tmp"] {
        fs::create_dir_all(root.join(mount_point))?;
    }
    for link in ["bin", "lib", "lib64"] {
        symlink(format!("usr/{link}"), root.join(link))?;
    }
    let namespaces =
        ["pid", "network", "ipc", "uts", "mount", "cgroup"].map(|kind| json!({ "type": kind }));
    for (index, program) in PROGRAMS.iter().enumerate() {
        let bundle = directory.join(index.to_string());
        fs::create_dir_all(&bundle)?;
        let configuration = json!({
            "ociVersion": "1.0.0",
            "root": { "path": root, "readonly": true },
            "process": {
                "args": program.argv,
                "cwd": "/",
                "env": ["PATH=/usr/bin:/bin"],
                "noNewPrivileges": true,
                "user": { "uid": 0, "gid": 0 },
            },
            "mounts": [
                { "destination": "/usr", "type": "bind", "source": "/usr", "options": ["rbind", "ro"] },
                { "destination": "/proc", "type": "proc", "source": "proc" },
                { "destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid"] },
                { "destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev"] },
            ],
            "linux": {
                "namespaces": namespaces,
            },
        });
        fs::write(bundle.join("config.json"), configuration.to_string())?;
    }
    Ok(())
}
