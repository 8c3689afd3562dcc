//! A gateway with a state directory of its own, and requests to it.

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::{fs::DirBuilderExt as _, net::UnixStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::Failure;

const POLL: Duration = Duration::from_millis(2);
/// As often a start is looked after: more than a minute.
const MOST_POLLS: usize = 30_000;

/// A gateway. Dropping it kills it and its keeper.
pub(crate) struct Server {
    dir: PathBuf,
    process: Child,
}

/// Two routes: on `work` a shell waits for a person, on `free` it does not.
fn profile(route: &str, tools: &str) -> String {
    let quota = "memory_bytes = 1_099_511_627_776\nprocesses = 1_000_000\ncpu_milli = 1_000_000\ncalls = 4_096\nqueued = 65_536\n";
    format!(
        "route = \"{route}\"\nrisk_class = \"medium\"\n\
         [identity]\nallowed_issuers = [\"casemate:local\"]\nrequired_audience = \"casemate-run\"\nrequired_scopes = [\"code:execute\"]\n\
         [sandbox]\nfilesystem = \"workspace\"\nworkspace = \"/workspace\"\nsession = \"thread\"\n\
         [sandbox.network]\nallowed_domains = []\nblock_private_networks = true\nrequire_tls = true\n\
         [sandbox.limits]\nmax_runtime_ms = 3_600_000\nmax_output_bytes = 1_048_576\n\
         [quotas.session]\n{quota}[quotas.agent]\n{quota}[quotas.tenant]\n{quota}\
         [tools]\n{tools}\n\
         [observability]\nrequired_trace_fields = [\"trace_id\", \"actor\", \"tool\", \"policy_decision\", \"stop_reason\"]\nredact = []\n"
    )
}

impl Server {
    /// Starts one in a new directory.
    pub(crate) fn start(dir: &Path) -> Result<Self, Failure> {
        fs::DirBuilder::new()
            .mode(0o700)
            .create(dir.join("state"))?;
        let waits = "allowed = [\"python\"]\napproval_required = [\"shell\"]";
        let runs = "allowed = [\"python\", \"shell\"]\napproval_required = []";
        fs::write(dir.join("work.toml"), profile("work", waits))?;
        fs::write(dir.join("free.toml"), profile("free", runs))?;
        let server = Self {
            dir: dir.to_owned(),
            process: spawn(dir)?,
        };
        server.wait()?;
        Ok(server)
    }

    /// kill -9, and another one.
    pub(crate) fn restart(&mut self) -> Result<(), Failure> {
        self.process.kill()?;
        self.process.wait()?;
        self.process = spawn(&self.dir)?;
        self.wait()
    }

    fn wait(&self) -> Result<(), Failure> {
        for _ in 0..MOST_POLLS {
            if UnixStream::connect(self.socket()).is_ok() {
                return Ok(());
            }
            sleep(POLL);
        }
        Err("the gateway does not listen".into())
    }

    /// Runs `casemate` to its end.
    pub(crate) fn casemate(&self, words: &[&str]) -> Result<String, Failure> {
        let output = command(&self.dir).args(words).output()?;
        match output.status.success() {
            true => Ok(String::from_utf8(output.stdout)?),
            false => Err(String::from_utf8_lossy(&output.stderr).into()),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn socket(&self) -> PathBuf {
        self.dir.join("state/run/casemate.sock")
    }

    /// Sends a request, whose answer is read from the stream.
    pub(crate) fn send(
        &self,
        method: &str,
        path: &str,
        accept: &str,
        body: &Value,
    ) -> Result<UnixStream, Failure> {
        let body = body.to_string();
        let mut stream = UnixStream::connect(self.socket())?;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: casemate\r\nconnection: close\r\naccept: {accept}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes())?;
        Ok(stream)
    }

    /// The answer to a request that goes well.
    pub(crate) fn ask(&self, method: &str, path: &str, body: &Value) -> Result<Value, Failure> {
        let mut answer = String::new();
        self.send(method, path, "application/json", body)?
            .read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").ok_or("no answer")?;
        match head.split(' ').nth(1) {
            Some(status) if status.starts_with('2') => Ok(serde_json::from_str(body)?),
            _ => Err(answer.into()),
        }
    }

    /// One line of its `/proc/PID/status`, in KiB.
    pub(crate) fn anonymous_kib(&self) -> Result<u64, Failure> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("RssAnon:"));
        let number = line.and_then(|line| line.split_whitespace().next());
        Ok(number.ok_or("no RssAnon")?.parse()?)
    }

    /// The processor time that it has used, in ticks.
    pub(crate) fn ticks(&self) -> Result<u64, Failure> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.id()))?;
        let (_, fields) = stat.rsplit_once(')').ok_or("no stat")?;
        let times = fields.split_whitespace().skip(11).take(2);
        times.map(|time| Ok(time.parse::<u64>()?)).sum()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // What is gone needs no killing.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let socket = self.dir.join("state/run/keeper.sock");
        let words = format!("casemate\0keeper\0--socket\0{}\0", socket.display());
        for keeper in find(|line| line.starts_with(words.as_bytes())) {
            let _ = kill_process(keeper, Signal::KILL);
        }
    }
}

fn command(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_casemate"));
    command
        .current_dir(dir)
        .env_clear()
        .env("CASEMATE_STATE_DIR", dir.join("state"))
        .stdin(Stdio::null());
    command
}

fn spawn(dir: &Path) -> Result<Child, Failure> {
    let mut command = command(dir);
    command
        .args(["serve", "--profile", "work.toml", "--profile", "free.toml"])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    Ok(command.spawn()?)
}

/// The processes with such a command line.
pub(crate) fn find(fits: impl Fn(&[u8]) -> bool) -> Vec<Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let fitting = pids.filter(|pid: &i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline"));
        line.is_ok_and(|line| fits(&line))
    });
    fitting.filter_map(Pid::from_raw).collect()
}
