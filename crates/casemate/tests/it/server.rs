//! A server that `casemate up` started, and who asks it over TCP.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Mutex,
        mpsc::{Receiver, channel},
    },
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::{home::Home, keeper::until};

/// How long a line or an answer is waited for: longer than any call may wait for its turn.
const PATIENCE: Duration = Duration::from_secs(120);

/// A server. Dropped, it is asked to end, and ends.
pub(crate) struct Server<'h> {
    _home: &'h Home,
    process: Child,
    lines: Mutex<Receiver<String>>,
    pub(crate) address: String,
    pub(crate) key: String,
}

impl<'h> Server<'h> {
    /// The first of a home, with its first key.
    pub(crate) fn first(home: &'h Home) -> Self {
        let mut server = Self::start(home, "127.0.0.1:0", &[]);
        let said = server.line();
        server.key = said["api_key"].as_str().unwrap().to_owned();
        server.ready(&said);
        server
    }

    /// Another in the same home: it says nothing of a key.
    pub(crate) fn again(home: &'h Home, key: &str, words: &[&str]) -> Self {
        let mut server = Self::start(home, "127.0.0.1:0", words);
        server.key = key.to_owned();
        let said = server.line();
        assert!(said.get("api_key").is_none(), "{said}");
        assert_eq!(said["ready"], true, "{said}");
        server.named(&said);
        server
    }

    fn start(home: &'h Home, listen: &str, words: &[&str]) -> Self {
        let command = ["up", "--json", "--listen", listen];
        Self::by(home, &mut home.casemate(command.iter().chain(words)))
    }

    /// The one that a command starts.
    pub(crate) fn by(home: &'h Home, command: &mut Command) -> Self {
        let mut process = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(process.stdout.take().unwrap());
        let (told, lines) = channel();
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                // Nobody may listen any more.
                let _ = told.send(line);
            }
        });
        Self {
            _home: home,
            process,
            lines: Mutex::new(lines),
            address: String::new(),
            key: String::new(),
        }
    }

    fn ready(&mut self, first: &Value) {
        self.named(first);
        let said = self.line();
        assert_eq!(said["ready"], true, "{said}");
    }

    fn named(&mut self, said: &Value) {
        let url = said["url"].as_str().unwrap();
        self.address = url.strip_prefix("http://").unwrap().to_owned();
    }

    /// The next line that it prints.
    #[track_caller]
    pub(crate) fn said(&self) -> String {
        self.lines.lock().unwrap().recv_timeout(PATIENCE).unwrap()
    }

    fn line(&mut self) -> Value {
        let line = self.said();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    /// A status and the body; nothing if it broke off.
    pub(crate) fn ask(
        &self,
        method: &str,
        path: &str,
        key: Option<&str>,
        body: &Value,
    ) -> Option<(u16, String)> {
        ask(&self.address, method, path, key, body)
    }

    /// With the first key, in JSON.
    #[track_caller]
    pub(crate) fn json(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let (status, text) = self.ask(method, path, Some(&self.key), body).unwrap();
        let json = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{status}: {text}"));
        (status, json)
    }

    /// What it says of itself.
    pub(crate) fn status(&self) -> Value {
        let (status, said) = self.json("GET", "/v1/status", &Value::Null);
        assert_eq!(status, 200, "{said}");
        said
    }

    /// Its process of this name.
    #[track_caller]
    pub(crate) fn process(&self, name: &str) -> Pid {
        let said = self.status();
        let found = said["processes"].as_array().unwrap().iter();
        let pid = found.clone().find(|one| one["name"] == name);
        let pid = pid.unwrap()["pid"]
            .as_i64()
            .unwrap_or_else(|| panic!("{said}"));
        Pid::from_raw(i32::try_from(pid).unwrap()).unwrap()
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(self.process.id().cast_signed()).unwrap()
    }

    pub(crate) fn is_ready(&self) -> bool {
        let said = self.ask("GET", "/readyz", None, &Value::Null);
        matches!(said, Some((200, _)))
    }

    /// Asks it to end, and waits for that.
    pub(crate) fn end(&mut self, signal: Signal) -> ExitStatus {
        // One that has ended is as good.
        let _ = kill_process(self.pid(), signal);
        self.process.wait().unwrap()
    }
}

impl Drop for Server<'_> {
    fn drop(&mut self) {
        if self.process.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.end(Signal::TERM);
        }
    }
}

/// A status and the body; nothing if it broke off.
pub(crate) fn ask(
    address: &str,
    method: &str,
    path: &str,
    key: Option<&str>,
    body: &Value,
) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let key = key.map_or_else(String::new, |key| {
        format!("authorization: Bearer {key}\r\n")
    });
    let body = match body {
        Value::Null => String::new(),
        body => body.to_string(),
    };
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n{key}content-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

/// A call of `shell` under a key of its own.
pub(crate) fn call(thread: &str, key: &str, script: &str) -> Value {
    json!({
        "tool": "shell",
        "thread": thread,
        "argv": ["sh", "-c", script],
        "idempotency_key": key,
    })
}

/// What is left of a home's processes, sockets and mounts.
pub(crate) fn left_of(home: &Home) -> Vec<String> {
    let place = home.path("state");
    let place = place.to_str().unwrap();
    let mut left = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let words = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let words = String::from_utf8_lossy(&words).replace('\0', " ");
        if words.contains(place) {
            left.push(words);
        }
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    left.extend(
        mounts
            .lines()
            .filter(|line| line.contains(place))
            .map(str::to_owned),
    );
    for entry in fs::read_dir(home.path("state/run")).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        if name.ends_with(".sock") {
            let log = entry.path().with_extension("log");
            // It says why whoever listened there did not tidy up.
            let log = fs::read_to_string(log).unwrap_or_default();
            left.push(format!("{name}: {log}"));
        }
    }
    left
}

/// Waits until a process is gone, whoever's it is.
pub(crate) fn until_gone(pid: Pid) {
    until("the process is gone", || {
        let path = format!("/proc/{}/stat", pid.as_raw_nonzero());
        let stat = fs::read_to_string(path).unwrap_or_default();
        // One that nobody waited for yet is as dead.
        stat.rsplit(')')
            .next()
            .is_none_or(|rest| rest.trim_start().starts_with('Z') || rest.is_empty())
    });
}
