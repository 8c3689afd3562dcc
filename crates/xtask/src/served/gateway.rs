//! The processes: a gateway that is started here, and the keeper that it starts.

use std::{
    fs::{self, File, Permissions},
    os::unix::{
        fs::{PermissionsExt as _, symlink},
        net::UnixStream,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::{
    processes::{Process, all},
    profile::Profile,
};

/// Longer than a start takes on the slowest machine, and longer than the gateway lets calls end.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(5);

/// A gateway with a state directory of its own. Dropping it kills it and its keeper.
#[derive(Debug)]
pub(crate) struct Gateway {
    binary: PathBuf,
    directory: PathBuf,
    profiles: Vec<PathBuf>,
    process: Child,
}

impl Gateway {
    /// Starts one in `directory`, which is new, with the store `images` and these profiles, and waits until it listens.
    pub(crate) fn start(
        binary: &Path,
        directory: &Path,
        images: &Path,
        profiles: &[Profile],
    ) -> Result<Self> {
        let state = directory.join("state");
        fs::create_dir_all(&state)?;
        fs::set_permissions(&state, Permissions::from_mode(0o700))?;
        symlink(images, state.join("images"))?;
        let mut files = Vec::new();
        for profile in profiles {
            let file = directory.join(format!("{}.toml", profile.route));
            fs::write(&file, profile.text())?;
            files.push(file);
        }
        let process = spawn(binary, directory, &files)?;
        let mut gateway = Self {
            binary: binary.to_owned(),
            directory: directory.to_owned(),
            profiles: files,
            process,
        };
        gateway.wait_for_socket()?;
        Ok(gateway)
    }

    /// Where its state is.
    pub(crate) fn state(&self) -> PathBuf {
        self.directory.join("state")
    }

    /// Where it listens.
    pub(crate) fn socket(&self) -> PathBuf {
        self.state().join("run/casemate.sock")
    }

    /// Its process.
    pub(crate) fn pid(&self) -> i32 {
        self.process.id().cast_signed()
    }

    /// `casemate` with its state directory.
    pub(crate) fn casemate(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .args(words)
            .env("CASEMATE_STATE_DIR", self.state())
            .stdin(Stdio::null());
        command
    }

    /// What it and its predecessors said.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(self.directory.join("serve.log")).unwrap_or_default()
    }

    /// Starts it again after it ended.
    pub(crate) fn restart(&mut self) -> Result<()> {
        self.process = spawn(&self.binary, &self.directory, &self.profiles)?;
        self.wait_for_socket()
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&mut self) -> Result<bool> {
        Ok(self.process.try_wait()?.is_some())
    }

    /// Kills it, without a word of warning.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }

    /// Asks it to end, and waits until it has; says whether all was well.
    pub(crate) fn stop(&mut self) -> Result<bool> {
        signal(self.pid(), Signal::TERM)?;
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if let Some(status) = self.process.try_wait()? {
                return Ok(status.success());
            }
            thread::sleep(POLL);
        }
        bail!("the gateway did not end in {} s", PATIENCE.as_secs())
    }

    /// The keepers of the state directory; more than one is a fault.
    pub(crate) fn keepers(&self) -> Vec<i32> {
        let socket = self.state().join("run/keeper.sock");
        let words = ["casemate", "keeper", "--socket", &socket.to_string_lossy()].join("\0");
        let all = all();
        let is_one = |process: &&Process| process.command_line().starts_with(&words);
        let found: Vec<_> = all.iter().filter(is_one).collect();
        // What a keeper clones looks like it until it is a sandbox's first process.
        let is_clone = |process: &&&Process| found.iter().any(|other| other.pid == process.parent);
        let keepers = found.iter().filter(|process| !is_clone(process));
        keepers.map(|process| process.pid).collect()
    }

    /// Asks the keeper to end, and waits until it has.
    pub(crate) fn stop_keeper(&self) -> Result<()> {
        for keeper in self.keepers() {
            signal(keeper, Signal::TERM)?;
        }
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            let alive = self.keepers();
            if alive.is_empty() {
                return Ok(());
            }
            thread::sleep(POLL);
        }
        bail!("the keeper did not end in {} s", PATIENCE.as_secs())
    }

    fn wait_for_socket(&mut self) -> Result<()> {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if UnixStream::connect(self.socket()).is_ok() {
                return Ok(());
            }
            if let Some(status) = self.process.try_wait()? {
                bail!("the gateway ended, {status}: {}", self.said());
            }
            thread::sleep(POLL);
        }
        bail!("the gateway does not listen: {}", self.said())
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // Whatever is gone already needs no killing.
        let _ = self.process.kill();
        let _ = self.process.wait();
        for keeper in self.keepers() {
            let _ = signal(keeper, Signal::KILL);
        }
    }
}

/// Sends a signal to one process.
pub(crate) fn signal(pid: i32, signal: Signal) -> Result<()> {
    let pid = Pid::from_raw(pid).context("there is no process 0")?;
    Ok(kill_process(pid, signal)?)
}

fn spawn(binary: &Path, directory: &Path, profiles: &[PathBuf]) -> Result<Child> {
    let log = File::options()
        .create(true)
        .append(true)
        .open(directory.join("serve.log"))?;
    let mut command = Command::new(binary);
    command.args(["serve", "--timings"]);
    for profile in profiles {
        command.arg("--profile").arg(profile);
    }
    command
        .env_clear()
        .env("CASEMATE_STATE_DIR", directory.join("state"))
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .context("cannot start the gateway")
}
