//! `casemate up`: from nothing to a call, and to nothing again.

use std::{fs, net::TcpStream, os::unix::fs::DirBuilderExt as _, path::Path, process::Command};

use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};

use crate::{
    home::{Home, Ran, for_everybody},
    keeper::until,
    server::{Server, ask, left_of, until_gone},
};

/// Whether a text is in any file below a directory.
fn is_anywhere(dir: &Path, text: &str) -> bool {
    fs::read_dir(dir).unwrap().flatten().any(|entry| {
        let path = entry.path();
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => is_anywhere(&path, text),
            kind if kind.is_file() => {
                let bytes = fs::read(&path).unwrap();
                bytes
                    .windows(text.len())
                    .any(|part| part == text.as_bytes())
            }
            _ => false,
        }
    })
}

/// R49: one command from nothing: a key that is printed once and kept nowhere, Python by `curl`, and a Ctrl-C that leaves no
/// process, socket or mount.
#[test]
fn from_nothing_to_a_call_and_to_nothing_again() {
    for_everybody(|home| {
        let mut server = Server::first(home);
        let key = server.key.clone();
        let ran = Command::new("curl")
            .args(["-sS", &format!("http://{}/v1/calls", server.address)])
            .args(["-H", &format!("authorization: Bearer {key}")])
            .args(["-H", "content-type: application/json"])
            .args(["-d", r#"{"tool":"python","code":"6 * 7"}"#])
            .output()
            .unwrap();
        let said: Value = serde_json::from_slice(&ran.stdout).unwrap();
        assert_eq!(said["results"][0]["data"]["text/plain"], "42", "{said}");
        // It is on record, and the user of the socket sees the same server.
        let decision = said["decision"].as_str().unwrap();
        home.run(["audit", "show", decision]).exits(0);
        let opened = server.json("POST", "/v1/sessions", &json!({ "thread": "t" }));
        assert_eq!(opened.0, 201, "{opened:?}");
        let listed = home.run(["session", "list"]).exits(0).stdout();
        assert!(listed.contains("ses_"), "{listed}");

        let secret = key.rsplit('_').next().unwrap();
        assert!(!is_anywhere(&home.path("state"), secret));

        let status = server.status();
        assert_eq!(status["ready"], true, "{status}");
        assert_eq!(status["sessions"], 1, "{status}");
        assert!(
            status["ledger"]["records"].as_u64().unwrap() > 2,
            "{status}"
        );
        assert!(status["enforced"]["controls"].is_array(), "{status}");
        let names = ["supervisor", "gateway", "keeper", "identity"];
        let pids = names.map(|name| server.process(name));

        assert!(server.end(Signal::INT).success());
        assert_eq!(left_of(home), [""; 0]);
        pids.into_iter().for_each(until_gone);
        home.run(["audit", "verify"]).exits(0);

        let server = Server::again(home, &key, &[]);
        let again = server.json(
            "POST",
            "/v1/calls",
            &json!({ "tool": "python", "code": "1" }),
        );
        assert_eq!(again.0, 200, "{again:?}");
    });
}

/// R123: strangers learn whether the server is there and ready, and nothing else.
#[test]
fn strangers_learn_that_it_is_there_and_no_more() {
    let home = Home::new();
    let server = Server::first(&home);
    let ask = |path| server.ask("GET", path, None, &Value::Null).unwrap();
    assert_eq!(ask("/healthz"), (200, "ok\n".to_owned()));
    let (status, said) = ask("/readyz");
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        (status, said),
        (200, json!({ "ready": true, "missing": [] }))
    );
    for path in ["/v1/status", "/v1/load", "/v1/sessions", "/nothing"] {
        let (status, said) = ask(path);
        assert_eq!(status, 401, "{path}: {said}");
        assert!(!said.contains("pid"), "{said}");
    }
    let call = json!({ "tool": "python", "code": "1" });
    let refused = server.ask("POST", "/v1/calls", None, &call).unwrap();
    assert_eq!(refused.0, 401, "{refused:?}");
}

/// The first key runs calls, and says neither who may call nor what others are answered.
#[test]
fn the_first_key_is_an_operators() {
    let home = Home::new();
    let server = Server::first(&home);
    let new = json!({ "subject": "x", "roles": ["administrator"], "ttl_s": 60 });
    let (status, said) = server.json("POST", "/v1/api-keys", &new);
    assert_eq!(
        (status, &said["code"]),
        (403, &json!("missing_scope")),
        "{said}"
    );
    let listed = home
        .run(["callers", "keys", "list", "--json"])
        .exits(0)
        .stdout();
    assert_eq!(listed.lines().count(), 1, "{listed}");
    // Another tenant is not let in by the built-in profile, whatever its key.
    let words = [
        "callers",
        "keys",
        "new",
        "--subject",
        "y",
        "--tenant",
        "acme",
        "--role",
        "operator",
        "--scope",
        "code:execute",
    ];
    let key = home.run(words).exits(0).stdout();
    let call = json!({ "tool": "python", "code": "1" });
    let (status, said) = server
        .ask("POST", "/v1/calls", Some(key.trim()), &call)
        .unwrap();
    assert_eq!(status, 403, "{said}");
    assert!(said.contains("tenant_boundary"), "{said}");
}

/// A call that is refused says why, by a name under which more is found.
#[test]
fn a_denied_call_is_explained() {
    let home = Home::new();
    let server = Server::first(&home);
    let call = json!({ "tool": "python", "code": "1", "env": { "API_TOKEN": "x" } });
    let (status, said) = server.json("POST", "/v1/calls", &call);
    assert_eq!(status, 403, "{said}");
    assert_eq!(said["code"], "secret_in_environment", "{said}");
    assert!(said["hint"].is_string(), "{said}");
    let decision = said["decision"].as_str().unwrap();
    let explained = home.run(["policy", "explain", decision]);
    assert!(
        explained.exits(0).stdout().contains("API_TOKEN"),
        "{explained:?}"
    );
    // And decided again, under the profile that every build has.
    home.run(["policy", "replay", decision]).exits(0);
    home.run(["audit", "show", decision]).exits(0);
}

/// A second server on a state directory is told who has it, and the first goes on.
#[test]
fn there_is_one_server_for_a_state_directory() {
    let home = Home::new();
    let server = Server::first(&home);
    let pid = server.pid().as_raw_nonzero().to_string();
    home.run(["up", "--listen", "127.0.0.1:0"])
        .exits(123)
        .says(&format!("process {pid}"))
        .says("--state-dir");
    let gateway = server.process("gateway").as_raw_nonzero();
    home.run(["serve"])
        .exits(123)
        .says(&format!("another gateway, process {gateway}"))
        .says("state directory");
    assert!(server.is_ready());
    // In a directory of its own, on an address that is taken.
    let taken = home.run(["up", "--data-dir", "other", "--listen", &server.address]);
    taken.exits(123).says("cannot listen").says("--listen");
    assert!(taken.stdout().is_empty(), "{taken:?}");
    assert!(server.is_ready());
}

/// Nobody is heard from other hosts in clear, and what is contradictory starts nothing.
#[test]
fn what_would_be_readable_does_not_start() {
    let home = Home::new();
    home.write(
        "casemate.toml",
        "listen = \"0.0.0.0:0\"\nlimits = 1\nnothing = 2\n",
    );
    for (words, code, says) in [
        (&["--listen", "0.0.0.0:0"][..], 2, "there is no TLS"),
        (&["--listen", "[::]:0"], 2, "there is no TLS"),
        (&["--tls-cert", "cert.pem"], 2, "go together"),
        (&["--config", "casemate.toml"], 1, "casemate.toml:2:10"),
        (&["--config", "casemate.toml"], 1, "casemate.toml:3:1"),
        (&["--config", "missing.toml"], 2, "missing.toml"),
        (&["--profile", "missing.toml"], 1, "missing.toml"),
    ] {
        let ran = home.run(["up"].iter().chain(words));
        ran.exits(code).says(says);
        assert!(home.is_untouched(), "{words:?}");
        assert!(ran.stdout().is_empty(), "{ran:?}");
    }
    let mut told = home.casemate(["up"]);
    let told = told
        .env("CASEMATE_LISTEN", "here")
        .env("CASEMATE_LIMITS_CALLS", "0");
    let told = told.output().unwrap();
    let said = String::from_utf8(told.stderr).unwrap();
    assert_eq!(told.status.code(), Some(1), "{said}");
    for name in ["CASEMATE_LISTEN", "CASEMATE_LIMITS_CALLS"] {
        assert!(said.contains(name), "{said}");
    }
    assert!(home.is_untouched());
}

/// A configuration is checked whole, with the files that it names.
#[test]
fn a_configuration_is_checked_with_what_it_names() {
    let home = Home::new();
    home.write(
        "bad.toml",
        "listen = \"127.0.0.1:0\"\ncallers = \"odd.toml\"\nprofiles = [\"missing.toml\"]\n[tls]\nkey = \"k\"\n",
    );
    home.write("odd.toml", "audience = \"\"\n");
    let checked = home.run(["config", "check", "--config", "bad.toml"]);
    checked
        .exits(1)
        .says("odd.toml:1:12")
        .says("missing.toml")
        .says("go together");
    home.write(
        "good.toml",
        "listen = \"127.0.0.1:0\"\n[limits]\ncalls = 7\n",
    );
    let config = home.run(["config", "check", "--up", "--config", "good.toml"]);
    assert_eq!(config.exits(0).json()["limits"]["calls"], 7);
    home.run(["config", "check", "--config", "good.toml"])
        .exits(1)
        .says("who may call");
    assert!(home.is_untouched());
    let keys = home.run(["config", "keys"]).exits(0).stdout();
    assert!(keys.contains("## `limits.drain_ms`"), "{keys}");
}

/// `casemate status` says how it stands, to people and to programs, and by its exit code.
#[test]
fn a_status_says_whether_calls_can_be_run() {
    let home = Home::new();
    home.run(["status"]).exits(1).says("casemate up");
    let none = home.run(["status", "--json"]);
    assert_eq!(none.exits(1).json()["ready"], false);
    assert!(home.is_untouched());
    let mut server = Server::first(&home);
    let status = home.run(["status"]);
    let said = status.exits(0).stdout();
    for row in [
        "ready              yes",
        "supervisor",
        "keeper",
        "identity",
        "ledger",
    ] {
        assert!(said.contains(row), "{row}: {said}");
    }
    let status = home.run(["status", "--json"]);
    assert_eq!(status.exits(0).json()["ready"], true);
    server.end(Signal::TERM);
    home.run(["status"]).exits(1);
}

/// The description of the interface is served to whoever asks, and is the one that is committed.
#[test]
fn the_description_of_the_interface_is_served() {
    let home = Home::new();
    let server = Server::first(&home);
    let (status, said) = server
        .ask("GET", "/openapi.json", None, &Value::Null)
        .unwrap();
    assert_eq!(status, 200);
    let committed = include_str!("../../../../docs/reference/openapi.json");
    assert!(said == committed);
}

/// Shells and people are told of every command that there is to know of, and of no other.
#[test]
fn completions_and_pages_are_made_of_the_command_line() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish"] {
        let made = home.run(["completions", shell]).exits(0).stdout();
        assert!(
            made.contains("casemate") && made.contains("idempotency-key"),
            "{shell}"
        );
    }
    let page = home.run(["man"]).exits(0).stdout();
    assert!(page.contains(".TH casemate 1"), "{page}");
    assert!(
        home.run(["man", "policy", "activate"])
            .exits(0)
            .stdout()
            .contains("break")
    );
    home.run(["man", "keeper"])
        .exits(2)
        .says("there is no command");
    home.run(["man", "policy", "nothing"]).exits(2);
    assert!(home.is_untouched());
}

/// Whom a socket that is handed over hears.
#[derive(Clone, Copy)]
enum Hears {
    Host,
    Everybody,
    Nobody,
}

/// A command of `casemate` that is handed a TCP socket; it prints the port before.
fn handed(home: &Home, words: &[&str], listens: Hears) -> Command {
    let (host, listen) = match listens {
        Hears::Host => ("127.0.0.1", "s.listen()"),
        Hears::Everybody => ("0.0.0.0", "s.listen()"),
        Hears::Nobody => ("127.0.0.1", "pass"),
    };
    let starter = format!(
        "import os, socket, sys\n\
        s = socket.socket(); s.bind(('{host}', 0)); {listen}\n\
        os.dup2(s.fileno(), 3)\n\
        os.set_inheritable(3, True)\n\
        os.environ['LISTEN_PID'] = str(os.getpid()); os.environ['LISTEN_FDS'] = '1'\n\
        print(s.getsockname()[1], flush=True)\n\
        os.execv(sys.argv[1], ['casemate', *sys.argv[2:]])\n"
    );
    let like = home.casemate(words);
    let mut shell = Command::new("python3");
    shell.args(["-c", &starter]);
    shell.arg(like.get_program()).args(words);
    shell.env("CASEMATE_STATE_DIR", home.path("state"));
    shell
}

/// A socket that contradicts what is said, or on which nobody listens, starts nothing: nobody would be heard there.
#[test]
fn a_socket_that_nobody_would_hear_is_refused() {
    let home = Home::new();
    for (words, listens, says) in [
        (
            &["serve"][..],
            Hears::Host,
            "nothing says that a network is heard",
        ),
        (&["up"], Hears::Everybody, "there is no TLS"),
        (
            &["up", "--listen", "127.0.0.1:1"],
            Hears::Host,
            "`listen` says 127.0.0.1:1",
        ),
        (&["up"], Hears::Nobody, "on which somebody listens"),
    ] {
        let refused = Ran(handed(&home, words, listens).output().unwrap());
        refused.exits(2).says(says);
        assert!(home.is_untouched(), "{words:?}");
    }
}

/// What cannot be shown is nobody's: it does not count, and the server says so.
#[test]
fn a_first_key_that_nobody_saw_does_not_count() {
    let home = Home::new();
    let mut command = home.casemate(["up", "--listen", "127.0.0.1:0"]);
    command.stdout(fs::File::create("/dev/full").unwrap());
    Ran(command.output().unwrap())
        .exits(123)
        .says("was taken back")
        .says("callers keys new");
    let listed = home.run(["callers", "keys", "list"]).exits(0).stdout();
    assert!(listed.contains("revoked"), "{listed}");
    assert_eq!(left_of(&home), [""; 0]);
}

/// Who comes while the last calls end is refused, and waits for nothing.
#[test]
fn a_server_that_ends_hears_nobody_new() {
    let home = Home::new();
    let mut server = Server::first(&home);
    let call =
        json!({ "tool": "shell", "argv": ["sleep", "600"], "timeout_ms": 600_000, "wait": false });
    let (status, said) = server.json("POST", "/v1/calls", &call);
    assert_eq!(status, 202, "{said}");
    kill_process(server.pid(), Signal::TERM).unwrap();
    until("nobody is heard", || {
        TcpStream::connect(&server.address).is_err()
            && !home.path("state/run/casemate.sock").exists()
    });
    let gone = fs::metadata(format!("/proc/{}", server.pid().as_raw_nonzero()));
    assert!(gone.is_ok(), "it ended before its call");
    assert!(server.end(Signal::TERM).success());
}

/// What is missing for calls to be run is said, and not waited for without end.
#[test]
fn a_server_says_what_it_waits_for() {
    let home = Home::new();
    home.run(["audit", "verify"]);
    let run = home.path("state/run");
    for dir in [home.path("state"), run.clone(), run.join("identity.sock")] {
        let mut made = fs::DirBuilder::new();
        made.recursive(true).mode(0o700).create(dir).unwrap();
    }
    let mut command = home.casemate(["up", "--listen", "127.0.0.1:0"]);
    command.env("CASEMATE_LIMITS_START_MS", "14000");
    Ran(command.output().unwrap())
        .exits(123)
        .says("missing identity")
        .says("identity.log")
        .says("no calls could be run within 14000 ms");
}

/// Sockets on which somebody else listens are taken: a server that is started with them is heard there.
#[test]
fn sockets_of_others_are_taken() {
    let home = Home::new();
    let mut shell = handed(&home, &["up", "--json"], Hears::Host);
    let mut server = Server::by(&home, &mut shell);
    let [port, first, ready] = [(); 3].map(|()| server.said());
    assert!(ready.contains("true"), "{ready}");
    let first: Value = serde_json::from_str(&first).unwrap();
    let key = first["api_key"].as_str();
    let address = format!("127.0.0.1:{port}");
    assert_eq!(first["url"], format!("http://{address}"));
    let said = ask(&address, "GET", "/v1/load", key, &Value::Null);
    assert_eq!(said.unwrap().0, 200);
    assert!(server.end(Signal::TERM).success());
    assert_eq!(left_of(&home), [""; 0]);
}
