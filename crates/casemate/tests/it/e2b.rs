//! Clients of E2B, in raw HTTP, with real sandboxes: what runs, what goes on, and that nothing is left.

use std::{
    env, fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::Command,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use crate::{
    home::{Home, for_everybody},
    keeper::until,
    server::Server,
};

/// A sandbox of a client.
struct Sandbox<'s> {
    server: &'s Server<'s>,
    id: String,
    token: String,
}

/// An answer that goes on.
struct Stream(BufReader<TcpStream>);

impl<'s> Sandbox<'s> {
    fn made(server: &'s Server<'_>) -> Self {
        let (status, made) = server.json(
            "POST",
            "/v2/sandboxes",
            &json!({"templateID": "base", "timeout": 300}),
        );
        assert_eq!(status, 201, "{made}");
        let text = |name: &str| made[name].as_str().unwrap().to_owned();
        Self {
            id: text("sandboxID"),
            token: text("envdAccessToken"),
            server,
        }
    }

    fn send(&self, port: u16, method: &str, path: &str, kind: &str, body: &[u8]) -> (u16, Stream) {
        let mut stream = TcpStream::connect(&self.server.address).unwrap();
        let (id, token, length) = (&self.id, &self.token, body.len());
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: {kind}\r\ne2b-sandbox-id: {id}\r\n\
             e2b-sandbox-port: {port}\r\nx-access-token: {token}\r\ncontent-length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body).unwrap();
        let mut stream = BufReader::new(stream);
        let mut status = String::new();
        stream.read_line(&mut status).unwrap();
        let status = status.split(' ').nth(1).unwrap().parse().unwrap();
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            stream.read_line(&mut line).unwrap();
        }
        (status, Stream(stream))
    }

    fn unary(&self, path: &str, message: &Value) -> (u16, Value) {
        let body = message.to_string();
        let (status, stream) = self.send(49_983, "POST", path, "application/json", body.as_bytes());
        (status, serde_json::from_slice(&stream.rest()).unwrap())
    }

    fn start(&self, script: &str, stdin: bool) -> Stream {
        let start = json!({"process": {"cmd": "/bin/sh", "args": ["-c", script]}, "stdin": stdin});
        self.stream("/process.Process/Start", &start)
    }

    fn stream(&self, path: &str, message: &Value) -> Stream {
        let message = message.to_string().into_bytes();
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        let body = [&[0], &length[..], &message].concat();
        let (status, stream) = self.send(49_983, "POST", path, "application/connect+json", &body);
        assert_eq!(status, 200);
        stream
    }

    fn kill(&self) {
        let path = format!("/sandboxes/{}", self.id);
        let (status, _) = self
            .server
            .ask("DELETE", &path, Some(&self.server.key), &Value::Null)
            .unwrap();
        assert_eq!(status, 204);
    }
}

impl Stream {
    /// The next piece of a chunked answer, of which each is a frame or a line here.
    fn piece(&mut self) -> Option<Vec<u8>> {
        let mut size = String::new();
        self.0.read_line(&mut size).unwrap();
        let size = usize::from_str_radix(size.trim(), 16)
            .ok()
            .filter(|size| *size > 0)?;
        let mut piece = vec![0; size + 2];
        self.0.read_exact(&mut piece).unwrap();
        piece.truncate(size);
        Some(piece)
    }

    fn frame(&mut self) -> Value {
        let piece = self.piece().unwrap();
        serde_json::from_slice(&piece[5..]).unwrap()
    }

    fn pid(&mut self) -> u64 {
        let first = self.frame();
        first["event"]["start"]["pid"]
            .as_u64()
            .unwrap_or_else(|| panic!("{first}"))
    }

    /// Standard output, and the last event.
    fn ended(&mut self) -> (String, Value) {
        let mut text = String::new();
        loop {
            let frame = self.frame();
            let event = &frame["event"];
            if let Some(bytes) = event["data"]["stdout"].as_str() {
                text.push_str(&String::from_utf8(BASE64_STANDARD.decode(bytes).unwrap()).unwrap());
            }
            if !event["end"].is_null() || !frame["error"].is_null() {
                return (text, frame);
            }
        }
    }

    fn rest(mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        self.0.read_to_end(&mut rest).unwrap();
        rest
    }
}

/// Whether a process of this host has this word in its command line.
fn runs(word: &str) -> bool {
    fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        let words = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        words
            .split(|byte| *byte == 0)
            .any(|one| one == word.as_bytes())
    })
}

/// R32: a command goes on when its client is gone and can be followed again; it and its children die when they are killed, and with
/// their sandbox.
#[test]
fn a_command_outlives_its_client_and_not_its_sandbox() {
    for_everybody(|home| {
        let server = Server::first(home);
        let sandbox = Sandbox::made(&server);
        let mut stream = sandbox.start("read x; echo got $x", true);
        let pid = stream.pid();
        drop(stream);
        let mut again = sandbox.stream(
            "/process.Process/Connect",
            &json!({"process": {"pid": pid}}),
        );
        assert_eq!(again.pid(), pid);
        let input =
            json!({"process": {"pid": pid}, "input": {"stdin": BASE64_STANDARD.encode("hello\n")}});
        assert_eq!(sandbox.unary("/process.Process/SendInput", &input).0, 200);
        let (said, end) = again.ended();
        assert_eq!(
            (said.as_str(), &end["event"]["end"]["exitCode"]),
            ("got hello\n", &json!(0))
        );
        assert_eq!(
            sandbox.unary("/process.Process/List", &json!({})).1,
            json!({"processes": []})
        );

        // Numbers that no other test sleeps for.
        let user = u32::from(home.user() == crate::home::User::Tester);
        let [first, second, third] = [1, 2, 3].map(|n| format!("98{user}7{n}"));
        let mut killed = sandbox.start(&format!("sleep {first} & sleep {second}"), false);
        let pid = killed.pid();
        until("both run", || runs(&first) && runs(&second));
        let signal = json!({"process": {"pid": pid}, "signal": "SIGNAL_SIGKILL"});
        assert_eq!(sandbox.unary("/process.Process/SendSignal", &signal).0, 200);
        let (_, end) = killed.ended();
        assert_eq!(end["event"]["end"]["exitCode"], -1, "{end}");
        until("nothing is left", || !runs(&first) && !runs(&second));
        assert_eq!(sandbox.unary("/process.Process/SendSignal", &signal).0, 404);

        let mut left = sandbox.start(&format!("sleep {third}"), false);
        left.pid();
        drop(left);
        until("it runs on", || runs(&third));
        sandbox.kill();
        until("it died with its sandbox", || !runs(&third));
        let (status, gone) = sandbox.unary("/process.Process/List", &json!({}));
        assert_eq!((status, &gone["sandboxId"]), (502, &json!(sandbox.id)));
        // Each was a call.
        let session = format!("ses_{}", sandbox.id);
        let shown = home.run(["audit", "show", &session]).exits(0).stdout();
        assert!(shown.contains("shell"), "{shown}");
        home.run(["audit", "verify"]).exits(0);
    });
}

/// Whoever goes away from code interrupts it: it ends, and its variables stay.
#[test]
fn whoever_goes_away_from_code_interrupts_it() {
    let home = Home::new();
    let server = Server::first(&home);
    let sandbox = Sandbox::made(&server);
    let execute = |code: &str| {
        let body = json!({ "code": code }).to_string();
        sandbox
            .send(
                49_999,
                "POST",
                "/execute",
                "application/json",
                body.as_bytes(),
            )
            .1
    };
    let code = "x = 1\ntry:\n  import time; print('on', flush=True); time.sleep(3600)\nexcept KeyboardInterrupt:\n  x = 2";
    let mut stream = execute(code);
    loop {
        let piece = stream.piece().unwrap();
        if String::from_utf8_lossy(&piece).contains("\"on\\n\"") {
            break;
        }
    }
    drop(stream);
    // Cells of a context run one after the other: this one waits for the end of the other.
    let answered = execute("x").rest();
    let answered = String::from_utf8_lossy(&answered);
    assert!(answered.contains("\"text\":\"2\""), "{answered}");
}

/// R153: a switch kills what runs, and the client is told by its decision.
#[test]
fn a_command_that_a_switch_killed_says_its_decision() {
    let home = Home::new();
    let server = Server::first(&home);
    let sandbox = Sandbox::made(&server);
    let mut stream = sandbox.start("sleep 98793", false);
    stream.pid();
    let throw = json!({"kind": "agent", "name": "local", "to": "off", "reason": "a test"});
    assert_eq!(server.json("POST", "/v1/switches", &throw).0, 200);
    let (_, end) = stream.ended();
    let error = end["event"]["end"]["error"]
        .as_str()
        .unwrap_or_else(|| panic!("{end}"));
    assert!(error.contains("dec_"), "{end}");
    until("nothing is left", || !runs("98793"));
    // Nothing began, so the end of the stream is all that there is, and comes at once.
    let refused = sandbox.start("true", false).rest();
    let refused: Value = serde_json::from_slice(&refused[5..]).unwrap();
    let message = refused["error"]["message"].as_str().unwrap_or_default();
    assert_eq!(refused["error"]["code"], "permission_denied", "{refused}");
    assert!(
        message.contains("kill_switch") && message.contains("dec_"),
        "{refused}"
    );
}

/// E2B's own SDK for Python, of the version that CI has, does all that its script tries.
#[test]
fn the_sdk_for_python_works_unmodified() {
    works_unmodified("e2b_code_interpreter", "e2b_sdk.py");
}

/// An SDK of Python, of the version that CI has, does all that its script tries.
pub(crate) fn works_unmodified(module: &str, script: &str) {
    let python = || {
        let mut python = Command::new("/usr/bin/python3");
        python.args(["-s", "-B"]);
        python
    };
    let imported = python().args(["-c", &format!("import {module}")]).status();
    if !imported.unwrap().success() {
        assert!(env::var_os("CI").is_none(), "no SDK: .ci/requirements.txt");
        return;
    }
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../xtask/clients");
    let ran = python()
        .arg(scripts.join(script))
        .arg(env!("CARGO_BIN_EXE_casemate"))
        .output()
        .unwrap();
    assert!(ran.status.success(), "{ran:?}");
}
