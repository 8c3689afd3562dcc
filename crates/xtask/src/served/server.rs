//! A `casemate up` that a chore starts.

use std::{
    fs::{self, File, Permissions},
    io::{BufRead, BufReader},
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use serde_json::Value;

use super::{Client, gateway::signal};

/// Longer than it takes to let calls end.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(5);

/// A server with a state directory of its own. Dropping it ends it, and what it is made of.
#[derive(Debug)]
pub(crate) struct Server {
    binary: PathBuf,
    directory: PathBuf,
    process: Child,
    address: SocketAddr,
    key: String,
}

impl Server {
    /// Starts one in `directory`, which is new, and waits until it is ready. Says how long that took.
    pub(crate) fn start(binary: &Path, directory: &Path) -> Result<(Self, Duration)> {
        let state = directory.join("state");
        fs::create_dir_all(&state)?;
        fs::set_permissions(&state, Permissions::from_mode(0o700))?;
        let (process, told, took) = spawn(binary, directory)?;
        let key = told.key.context("no first key was made")?;
        let server = Self {
            binary: binary.to_owned(),
            directory: directory.to_owned(),
            process,
            address: told.address,
            key,
        };
        Ok((server, took))
    }

    /// Ends it, and starts it again. Says how long the start took.
    pub(crate) fn restart(&mut self) -> Result<Duration> {
        self.stop()?;
        let (process, told, took) = spawn(&self.binary, &self.directory)?;
        (self.process, self.address) = (process, told.address);
        Ok(took)
    }

    /// Kills it, whatever it is made of, and starts it again. Says how long it took from its death until it was ready.
    pub(crate) fn kill(&mut self) -> Result<Duration> {
        let killed = Instant::now();
        self.process.kill()?;
        self.process.wait()?;
        let (process, told, _) = spawn(&self.binary, &self.directory)?;
        (self.process, self.address) = (process, told.address);
        Ok(killed.elapsed())
    }

    /// The Unix socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.join("state/run/casemate.sock")
    }

    /// A connection over the network.
    pub(crate) fn client(&self) -> Client {
        Client::over_network(self.address, &self.key)
    }

    fn stop(&mut self) -> Result<()> {
        signal(self.process.id().cast_signed(), Signal::TERM)?;
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if self.process.try_wait()?.is_some() {
                return Ok(());
            }
            thread::sleep(POLL);
        }
        bail!("the server did not end in {} s", PATIENCE.as_secs())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.stop().is_err() {
            // Whatever is gone already needs no killing.
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
    }
}

/// What it says when it starts.
struct Told {
    address: SocketAddr,
    key: Option<String>,
}

fn spawn(binary: &Path, directory: &Path) -> Result<(Child, Told, Duration)> {
    let log = directory.join("up.log");
    let stderr = File::options().create(true).append(true).open(&log)?;
    let mut command = Command::new(binary);
    command
        .args(["up", "--json", "--timings", "--listen", "127.0.0.1:0"])
        .env_clear()
        .env("CASEMATE_STATE_DIR", directory.join("state"))
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(stderr);
    let started = Instant::now();
    let mut process = command.spawn().context("cannot start the server")?;
    let said = process.stdout.take().context("it has no output")?;
    match hear(BufReader::new(said)) {
        Ok(told) => Ok((process, told, started.elapsed())),
        Err(error) => {
            process.kill()?;
            process.wait()?;
            let said = fs::read_to_string(&log).unwrap_or_default();
            Err(error.context(said))
        }
    }
}

/// Reads until it says that it is ready.
fn hear(said: impl BufRead) -> Result<Told> {
    let mut key = None;
    for line in said.lines() {
        let line: Value = serde_json::from_str(&line?)?;
        if let Some(made) = line.get("api_key").and_then(Value::as_str) {
            key = Some(made.to_owned());
        }
        if line.get("ready") == Some(&Value::Bool(true)) {
            let url = line.get("url").and_then(Value::as_str).unwrap_or_default();
            let address = url.trim_start_matches("http://").parse();
            let address = address.with_context(|| format!("`{url}` is no address"))?;
            return Ok(Told { address, key });
        }
    }
    bail!("the server ended before it was ready")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_is_understood() {
        let said = "{\"url\":\"http://127.0.0.1:1\",\"api_key\":\"cm_x\"}\n{\"url\":\"http://127.0.0.1:1\",\"ready\":true}\n";
        let told = hear(said.as_bytes()).unwrap();
        assert_eq!(told.address.port(), 1);
        assert_eq!(told.key.as_deref(), Some("cm_x"));
        assert!(hear("{\"url\":\"x\"}\n".as_bytes()).is_err());
    }
}
