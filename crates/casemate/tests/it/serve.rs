//! `casemate serve` and its clients: real processes, real sessions.

use std::{
    fs,
    io::Read as _,
    process::{Child, Command, Output, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::{
    home::{Home, for_everybody},
    keeper::{Keepers, until},
};

/// A gateway that serves.
pub(crate) struct Gateway<'a> {
    home: &'a Home,
    process: Child,
}

impl<'a> Gateway<'a> {
    pub(crate) fn start(home: &'a Home) -> Self {
        Self::under(home, &[])
    }

    /// With these profiles.
    pub(crate) fn under(home: &'a Home, profiles: &[&str]) -> Self {
        let named = profiles.iter().flat_map(|name| ["--profile", name]);
        Self::with(home, &named.collect::<Vec<_>>())
    }

    /// With more words on its command line.
    pub(crate) fn with(home: &'a Home, words: &[&str]) -> Self {
        Self::by(home, &mut home.casemate(["serve"].iter().chain(words)))
    }

    /// The one that a command starts.
    pub(crate) fn by(home: &'a Home, command: &mut Command) -> Self {
        let process = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let gateway = Self { home, process };
        until("the gateway listens", || {
            gateway.run(&["session", "list"]).status.success()
        });
        gateway
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.process.id().cast_signed()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    pub(crate) fn run(&self, words: &[&str]) -> Output {
        self.home.casemate(words).output().unwrap()
    }

    #[track_caller]
    pub(crate) fn says(&self, words: &[&str]) -> String {
        let output = self.run(words);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {error}");
        String::from_utf8(output.stdout).unwrap()
    }

    #[track_caller]
    fn json(&self, words: &[&str]) -> Value {
        let output = self.run(words);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{words:?}: {output:?}"))
    }

    fn session(&self, thread: &str) -> String {
        let answer = self.json(&["session", "open", thread]);
        answer["session"].as_str().unwrap().to_owned()
    }
}

impl Drop for Gateway<'_> {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// R21, R22, R23: files stay from call to call of a thread, and no other thread sees them.
#[test]
fn a_thread_keeps_its_files_and_nobody_else_sees_them() {
    for_everybody(|home| {
        let _keepers = Keepers(home);
        let gateway = Gateway::start(home);
        let write = "open('/workspace/f', 'w').write('kept'); print('written')";
        let said = gateway.says(&["call", "--thread", "t", "-c", write]);
        assert_eq!(said, "written\n");
        let read = ["call", "--thread", "t", "--", "cat", "/workspace/f"];
        assert_eq!(gateway.says(&read), "kept");
        let other = gateway.run(&["call", "--thread", "u", "--", "cat", "/workspace/f"]);
        assert_eq!(other.status.code(), Some(1));
        assert_eq!(
            gateway.says(&["call", "--thread", "t", "-c", "6 * 7"]),
            "42\n"
        );
        let exit = gateway.run(&["call", "--thread", "t", "--", "sh", "-c", "exit 7"]);
        assert_eq!(exit.status.code(), Some(7));
        let late = [
            "call",
            "--thread",
            "t",
            "--timeout",
            "300ms",
            "--",
            "sleep",
            "60",
        ];
        assert_eq!(gateway.run(&late).status.code(), Some(124));
    });
}

#[test]
fn files_are_copied_in_and_out() {
    for_everybody(|home| {
        let _keepers = Keepers(home);
        let gateway = Gateway::start(home);
        let session = gateway.session("t");
        let content: Vec<u8> = (0..=255).cycle().take(1 << 20).collect();
        home.write("in.bin", &content);
        let put = gateway.json(&["session", "put", &session, "in.bin", "sub/dir/x.bin"]);
        assert_eq!(put["bytes"], 1 << 20);
        let listed = gateway.says(&["session", "ls", &session, "sub/dir"]);
        assert!(
            listed.contains("x.bin") && listed.contains("1048576"),
            "{listed}"
        );
        let size = [
            "call",
            "--session",
            &session,
            "--",
            "stat",
            "-c",
            "%s",
            "/workspace/sub/dir/x.bin",
        ];
        assert_eq!(gateway.says(&size), "1048576\n");
        gateway.says(&["session", "get", &session, "sub/dir/x.bin", "out.bin"]);
        assert!(fs::read(home.path("out.bin")).unwrap() == content);
        assert!(!home.path("out.bin.part").exists());
        gateway.says(&["session", "rm", &session, "sub/dir/x.bin"]);
        for words in [
            ["session", "get", &session, "sub/dir/x.bin"],
            ["session", "get", &session, "../../etc/passwd"],
            ["session", "get", &session, "/etc/passwd"],
        ] {
            let refused = gateway.run(&words);
            assert_eq!(refused.status.code(), Some(120), "{words:?}");
            assert!(refused.stdout.is_empty());
        }
    });
}

/// A session survives the death of its gateway whole, and is reported gone, once, after that of its keeper.
#[test]
fn a_session_survives_the_gateway_and_not_the_keeper() {
    for_everybody(|home| {
        let keepers = Keepers(home);
        let gateway = Gateway::start(home);
        let session = gateway.session("t");
        gateway.says(&[
            "call",
            "--thread",
            "t",
            "--",
            "sh",
            "-c",
            "echo whole > /workspace/f",
        ]);
        gateway.signal(Signal::KILL);
        drop(gateway);
        let gateway = Gateway::start(home);
        let read = ["call", "--thread", "t", "--", "cat", "/workspace/f"];
        assert_eq!(gateway.says(&read), "whole\n");
        assert_eq!(gateway.session("t"), session);

        kill_process(keepers.one(), Signal::KILL).unwrap();
        let mut gone = gateway.run(&read);
        // The connection may break under those who find it dead; nothing of theirs has run.
        until("there is a keeper", || {
            if gone.status.code() == Some(121) {
                gone = gateway.run(&read);
            }
            gone.status.code() != Some(121)
        });
        let error = String::from_utf8_lossy(&gone.stderr);
        assert_eq!(gone.status.code(), Some(120), "{error}");
        assert!(
            error.contains("session_gone") && error.contains(&session),
            "{error}"
        );
        let next = gateway.json(&["call", "--json", "--thread", "t", "--", "true"]);
        assert_eq!(next["new_session"], true, "{next}");
        let shown = gateway.json(&["session", "show", &session]);
        assert_eq!(shown["state"], "gone");
    });
}

/// The keeper dies while the gateway is down: the thread is told at its next call.
#[test]
fn a_session_that_was_lost_meanwhile_is_reported() {
    let home = Home::new();
    let keepers = Keepers(&home);
    let gateway = Gateway::start(&home);
    let session = gateway.session("t");
    drop(gateway);
    kill_process(keepers.one(), Signal::KILL).unwrap();
    let gateway = Gateway::start(&home);
    let gone = gateway.run(&["call", "--thread", "t", "--", "true"]);
    let error = String::from_utf8_lossy(&gone.stderr);
    assert!(
        error.contains("session_gone") && error.contains(&session),
        "{error}"
    );
    gateway.says(&["call", "--thread", "t", "--", "true"]);
    assert_ne!(gateway.session("t"), session);
}

/// Asked to stop, the gateway lets its calls end and hears no more.
#[test]
fn the_gateway_lets_its_calls_end() {
    let home = Home::new();
    let _keepers = Keepers(&home);
    let mut gateway = Gateway::start(&home);
    let words = [
        "call",
        "--thread",
        "t",
        "--",
        "sh",
        "-c",
        "echo begun; sleep 1; echo ended",
    ];
    let call = home.casemate(words).stdout(Stdio::piped()).spawn().unwrap();
    let running = || {
        let shown = gateway.json(&["session", "list"]);
        shown["calls"] == 1
    };
    until("the call runs", || {
        gateway.run(&["session", "list"]).stdout.len() > 2 && running()
    });
    gateway.signal(Signal::TERM);
    let output = call.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "begun\nended\n");
    assert!(output.status.success());
    assert!(gateway.process.wait().unwrap().success());
    assert!(!home.path("state/run/casemate.sock").exists());
    let late = home.casemate(["session", "list"]).output().unwrap();
    assert_eq!(late.status.code(), Some(123));
    assert!(String::from_utf8_lossy(&late.stderr).contains("casemate serve"));
}

/// A client that goes away takes its call along; one that did not wait does not.
#[test]
fn a_client_that_goes_away_takes_its_call_along() {
    let home = Home::new();
    let _keepers = Keepers(&home);
    let gateway = Gateway::start(&home);
    let session = gateway.session("t");
    let calls = || gateway.json(&["session", "show", &session])["calls"].as_u64();
    let sleep = ["call", "--thread", "t", "--", "sleep", "60"];
    let mut client = home.casemate(sleep).stdout(Stdio::null()).spawn().unwrap();
    until("it runs", || calls() == Some(1));
    client.kill().unwrap();
    client.wait().unwrap();
    until("it is dead", || calls() == Some(0));
    let begun = gateway.json(&["call", "--thread", "t", "--detach", "--", "sleep", "60"]);
    assert!(begun["decision"].is_string());
    until("it runs", || calls() == Some(1));
    gateway.says(&["session", "destroy", &session]);
    let log = gateway.says(&["audit", "verify"]);
    assert!(!log.is_empty());
}

fn profile(home: &Home, route: &str, changes: &[(&str, &str)]) -> String {
    let mut source = include_str!("../../../policy/profiles/serve.toml")
        .replace("route = \"serve\"", &format!("route = {route:?}"));
    for (from, to) in changes {
        assert!(source.contains(from), "{from}");
        source = source.replace(from, to);
    }
    let name = format!("{route}.toml");
    home.write(&name, source);
    name
}

const WORKSPACE: &str = "workspace = \"/workspace\"";

/// An image that a profile names is found when it is there, and its absence is said at the start and to
/// whoever calls.
#[test]
fn a_profile_names_an_image() {
    let home = Home::new();
    let _keepers = Keepers(&home);
    let image = format!("{WORKSPACE}\nimage = \"mine\"");
    let name = profile(&home, "imaged", &[(WORKSPACE, &image)]);
    let mut gateway = Gateway::under(&home, &[&name]);
    let import = ["call", "--thread", "t", "-c", "import one; one.__file__"];
    let missing = gateway.run(&import);
    assert_eq!(missing.status.code(), Some(120));
    let error = String::from_utf8_lossy(&missing.stderr).into_owned();
    assert!(error.contains("there is no image `mine`"), "{error}");
    let opened = gateway.run(&["session", "open", "t"]);
    let error = String::from_utf8_lossy(&opened.stderr).into_owned();
    assert!(
        error.contains("invalid_profile") && error.contains("casemate image build"),
        "{error}"
    );
    assert_eq!(gateway.says(&["session", "list"]), "");
    // One that is built meanwhile is found.
    crate::images::Workshop::new(&home).build_of_one();
    let found = gateway.says(&import);
    assert!(found.contains("/opt/image/"), "{found}");
    gateway.signal(Signal::TERM);
    gateway.process.wait().unwrap();
    let mut said = String::new();
    let mut stderr = gateway.process.stderr.take().unwrap();
    std::io::Read::read_to_string(&mut stderr, &mut said).unwrap();
    assert!(said.contains("imaged") && said.contains("`mine`"), "{said}");
}

/// R131: what a profile does not list cannot be had through a session either, and nothing of it happens.
#[test]
fn a_session_gives_no_more_than_its_profile() {
    let home = Home::new();
    let _keepers = Keepers(&home);
    let tools = "allowed = [\"python\", \"shell\"]";
    let types = format!("{WORKSPACE}\ninput_file_types = [\".csv\"]");
    let changes = [(tools, "allowed = [\"python\"]"), (WORKSPACE, &*types)];
    let name = profile(&home, "narrow", &changes);
    let gateway = Gateway::under(&home, &[&name]);
    let session = gateway.session("t");
    home.write("a.sh", "touch /workspace/forbidden");
    for words in [
        &[
            "call",
            "--session",
            &session,
            "--",
            "touch",
            "/workspace/forbidden",
        ][..],
        &["call", "--session", &session, "a.sh"],
        &["session", "put", &session, "a.sh", "forbidden"],
    ] {
        let refused = gateway.run(words);
        assert_eq!(refused.status.code(), Some(120), "{words:?}: {refused:?}");
    }
    assert!(
        !gateway
            .says(&["session", "ls", &session])
            .contains("forbidden")
    );
    home.write("a.csv", "1");
    gateway.says(&["session", "put", &session, "a.csv"]);
    let read = "open('/workspace/a.csv').read()";
    assert_eq!(
        gateway.says(&["call", "--session", &session, "-c", read]),
        "'1'\n"
    );
}

/// What becomes of a session is on record, with its calls and its files, and can be looked up by its name.
#[test]
fn the_log_tells_of_sessions() {
    let home = Home::new();
    let _keepers = Keepers(&home);
    let gateway = Gateway::start(&home);
    let session = gateway.session("t");
    gateway.session("other");
    home.write("private-name.csv", "1");
    gateway.says(&["session", "put", &session, "private-name.csv"]);
    gateway.says(&["call", "--session", &session, "--", "true"]);
    gateway.says(&["session", "get", &session, "private-name.csv"]);
    gateway.says(&["session", "rm", &session, "private-name.csv"]);
    gateway.says(&["session", "destroy", &session]);
    let tail = gateway.says(&["audit", "tail", "-n", "100"]);
    let of_it: Vec<_> = tail
        .lines()
        .filter(|line| line.contains(&session))
        .collect();
    for word in [
        "session.open",
        "file.write",
        "shell",
        "file.read",
        "file.remove",
        "session.destroy",
    ] {
        assert!(
            of_it.iter().any(|line| line.contains(word)),
            "{word}: {tail}"
        );
    }
    assert!(!tail.contains("private-name"));
    let shown = gateway.says(&["audit", "show", &session]);
    assert!(
        shown.contains("private-name.csv") && shown.contains("sha256"),
        "{shown}"
    );
    assert!(shown.matches("session.open").count() > 1, "{shown}");
    let json: Value =
        serde_json::from_str(&gateway.says(&["audit", "show", "--json", &session])).unwrap();
    // open, write, call, remove, destroy: two each; the read once.
    assert_eq!(json.as_array().unwrap().len(), 11);
    gateway.says(&["audit", "verify"]);
    let none = gateway.run(&["audit", "show", "ses_0198c7e4000070008000000000000000"]);
    assert_eq!(none.status.code(), Some(1));
}

/// A port of a background call is reached by later calls of the session and through the interface, and by no
/// other session.
#[test]
fn a_port_is_reached_through_the_interface() {
    // As this user only: the gateway hears nobody but its own, root neither.
    let home = &Home::new();
    let _keepers = Keepers(home);
    let gateway = Gateway::start(home);
    let session = gateway.session("t");
    home.write("f.txt", "served");
    gateway.says(&["session", "put", &session, "f.txt"]);
    let server = [
        "python3",
        "-m",
        "http.server",
        "8000",
        "--directory",
        "/workspace",
    ];
    let begin = [
        "call",
        "--session",
        &session,
        "--detach",
        "--timeout",
        "60s",
        "--",
    ];
    let begun = gateway.json(&[&begin[..], &server].concat());
    assert!(begun["decision"].is_string());
    let get = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8000/f.txt').read().decode())";
    until("a call of the session reaches it", || {
        gateway
            .run(&["call", "--session", &session, "-c", get])
            .stdout
            == b"served\n"
    });
    let other = gateway.run(&["call", "--thread", "u", "-c", get]);
    assert_eq!(other.status.code(), Some(1));
    let answer = tunnel(home, &format!("/v1/sessions/{session}/ports/8000"));
    let answer = answer.expect("it is not let through");
    assert!(
        answer.starts_with("HTTP/1.0 200") && answer.ends_with("served"),
        "{answer}"
    );
    for (path, status) in [
        (format!("/v1/sessions/{session}/ports/8001"), 400),
        (format!("/v1/sessions/{session}/ports/0"), 400),
        (
            format!("/v1/sessions/{session}/ports/8000?agent=other"),
            404,
        ),
    ] {
        assert_eq!(tunnel(home, &path), Err(status), "{path}");
    }
}

/// What comes through a tunnel for a request, or the status with which it is refused.
fn tunnel(home: &Home, path: &str) -> Result<String, u16> {
    use futures_util::{SinkExt as _, StreamExt as _};
    use tokio_tungstenite::{
        client_async,
        tungstenite::{Error, Message},
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(async {
        let stream = tokio::net::UnixStream::connect(home.path("state/run/casemate.sock"));
        let connected = client_async(format!("ws://casemate{path}"), stream.await.unwrap());
        let mut socket = match connected.await {
            Ok((socket, _)) => socket,
            Err(Error::Http(response)) => return Err(response.status().as_u16()),
            Err(error) => panic!("{error}"),
        };
        let request = Message::Binary("GET /f.txt HTTP/1.0\r\n\r\n".into());
        socket.send(request).await.unwrap();
        let mut answer = Vec::new();
        while let Some(Ok(message)) = socket.next().await {
            if let Message::Binary(bytes) = message {
                answer.extend_from_slice(&bytes);
            }
        }
        Ok(String::from_utf8(answer).unwrap())
    })
}

/// Another gateway of the same state directory is refused, whatever its socket: it would end what the first one keeps.
#[test]
fn there_is_one_gateway_for_a_state_directory() {
    let home = Home::new();
    let _keepers = Keepers(&home);
    let gateway = Gateway::start(&home);
    let write = "open('/workspace/f', 'w').write('kept')";
    gateway.says(&["call", "--thread", "t", "-c", write]);
    let mut second = Gateway {
        home: &home,
        process: home
            .casemate(["serve", "--socket", "second.sock"])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap(),
    };
    until("the second is refused", || {
        second.process.try_wait().unwrap().is_some()
    });
    let mut said = String::new();
    let mut stderr = second.process.stderr.take().unwrap();
    stderr.read_to_string(&mut said).unwrap();
    let first = format!("another gateway, process {}", gateway.process.id());
    assert!(said.contains(&first), "{said}");
    assert!(!home.path("second.sock").exists());
    let read = ["call", "--thread", "t", "--", "cat", "/workspace/f"];
    assert_eq!(gateway.says(&read), "kept");
}

/// A gateway whose socket is elsewhere is found there by those whom the variable tells.
#[test]
fn clients_are_told_where_the_socket_is() {
    let home = Home::new();
    let _keepers = Keepers(&home);
    let listed = |socket: Option<&str>| {
        let mut list = home.casemate(["session", "list"]);
        list.envs(socket.map(|socket| ("CASEMATE_SOCKET", home.path(socket))));
        list.output().unwrap().status.success()
    };
    let _gateway = Gateway {
        home: &home,
        process: home
            .casemate(["serve", "--socket", "other.sock"])
            .spawn()
            .unwrap(),
    };
    until("the gateway listens", || listed(Some("other.sock")));
    assert!(!listed(None));
    assert!(!listed(Some("nothing.sock")));
}
