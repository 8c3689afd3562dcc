//! `casemate mcp`: a host that starts it, a real gateway, real sandboxes.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, ChildStdout, Stdio},
};

use serde_json::{Value, json};

use crate::{
    home::{Home, for_everybody},
    keeper::{Keepers, until},
    serve::Gateway,
};

/// A host with its server.
pub(crate) struct Host {
    process: Child,
    to: Option<ChildStdin>,
    from: BufReader<ChildStdout>,
    asked: u64,
}

impl Host {
    fn start(home: &Home, words: &[&str]) -> Self {
        let mut process = home
            .casemate(["mcp"].iter().chain(words))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            to: process.stdin.take(),
            from: BufReader::new(process.stdout.take().unwrap()),
            asked: 0,
            process,
        }
    }

    pub(crate) fn begun(home: &Home) -> Self {
        let mut host = Self::start(home, &[]);
        let begun = host.ask(&json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
            "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}
        }}));
        assert_eq!(begun["result"]["protocolVersion"], "2025-11-25", "{begun}");
        host.say(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}).to_string());
        host
    }

    fn say(&mut self, line: &str) {
        let to = self.to.as_mut().unwrap();
        to.write_all(line.as_bytes()).unwrap();
        to.write_all(b"\n").unwrap();
        to.flush().unwrap();
    }

    fn hear(&mut self) -> Value {
        let mut line = String::new();
        self.from.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line:?}"))
    }

    pub(crate) fn ask(&mut self, message: &Value) -> Value {
        self.say(&message.to_string());
        self.hear()
    }

    fn call(&mut self, tool: &str, arguments: Value) {
        let mut params = json!({"name": tool});
        params["arguments"] = arguments;
        let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
        self.say(&message.to_string());
    }

    pub(crate) fn tool(&mut self, tool: &str, arguments: Value) -> Value {
        self.asked += 1;
        let id = format!("tool-{}", self.asked);
        let mut params = json!({"name": tool});
        params["arguments"] = arguments;
        let answer = self.ask(&json!({"jsonrpc": "2.0", "id": id, "method": "tools/call",
            "params": params}));
        assert_eq!(answer["id"], id, "{answer}");
        answer["result"].clone()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

pub(crate) fn data(result: &Value) -> &Value {
    &result["structuredContent"]
}

/// R19: files and variables last for one host's process, and another's has its own.
#[test]
fn a_host_has_files_and_variables_of_its_own() {
    for_everybody(|home| {
        let _keepers = Keepers(home);
        let _gateway = Gateway::start(home);
        let (mut host, mut other) = (Host::begun(home), Host::begun(home));
        let list = host.ask(&json!({"jsonrpc": "2.0", "id": 2, "method": "tools/list"}));
        let names = list["result"]["tools"].as_array().unwrap().iter();
        let names: Vec<_> = names.map(|tool| tool["name"].as_str().unwrap()).collect();
        assert_eq!(
            names,
            [
                "python",
                "shell",
                "list_files",
                "read_file",
                "write_file",
                "call_result"
            ]
        );
        let set = host.tool(
            "python",
            json!({"code": "x = 41\nopen('f', 'w').write('kept')\nx + 1"}),
        );
        assert_eq!(
            data(&set)["results"][0]["data"]["text/plain"],
            "42",
            "{set}"
        );
        let kept = host.tool("python", json!({"code": "print(x)"}));
        assert_eq!(data(&kept)["stdout"], "41\n", "{kept}");
        let fresh = host.tool("python", json!({"code": "print(x)", "fresh": true}));
        assert_eq!(fresh["isError"], true);
        assert!(
            data(&fresh)["stderr"]
                .as_str()
                .unwrap()
                .contains("NameError"),
            "{fresh}"
        );
        let shell = host.tool("shell", json!({"code": "cat f; echo oops >&2; exit 3"}));
        let shell = data(&shell);
        assert_eq!(
            (&shell["stdout"], &shell["stderr"], &shell["exit_code"]),
            (&json!("kept"), &json!("oops\n"), &json!(3))
        );
        assert!(shell["decision"].as_str().unwrap().starts_with("dec_"));
        let read = host.tool("read_file", json!({"path": "f"}));
        assert_eq!(data(&read)["content"], "kept");
        let foreign = other.tool("python", json!({"code": "print(x)"}));
        assert_eq!(foreign["isError"], true);
        let foreign = other.tool("read_file", json!({"path": "f"}));
        assert_eq!(data(&foreign)["reason"], "file_not_found");
    });
}

/// The id of a request that has no answer is refused to another, which does not run; the first can still be taken back.
#[test]
fn an_id_is_that_of_one_request() {
    for_everybody(|home| {
        let _keepers = Keepers(home);
        let _gateway = Gateway::start(home);
        let mut host = Host::begun(home);
        host.call("shell", json!({"code": "touch began; sleep 600"}));
        let began = |host: &mut Host| {
            let list = json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call",
                "params": {"name": "list_files", "arguments": {}}});
            host.ask(&list).to_string()
        };
        until("the call runs", || began(&mut host).contains("began"));
        host.call("shell", json!({"code": "touch twice"}));
        let refused = host.hear();
        assert_eq!(
            (&refused["id"], &refused["error"]["code"]),
            (&json!(1), &json!(-32_600)),
            "{refused}"
        );
        assert!(!began(&mut host).contains("twice"));
        host.say(r#"{"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}"#);
        // Its id is free again.
        let after = host.tool("shell", json!({"code": "echo after"}));
        assert_eq!(data(&after)["stdout"], "after\n", "{after}");
    });
}

/// A host that goes away, or takes a call back, leaves nothing running.
#[test]
fn a_call_ends_with_its_host() {
    let home = Home::new();
    let _keepers = Keepers(&home);
    let gateway = Gateway::start(&home);
    let running = |count: u64| {
        until("so many calls run", || {
            let listed = gateway.says(&["session", "list"]);
            let sessions = listed
                .lines()
                .map(|line| serde_json::from_str::<Value>(line).unwrap());
            let calls = sessions.filter_map(|session| session["calls"].as_u64());
            calls.sum::<u64>() == count
        });
    };
    let mut host = Host::begun(&home);
    host.call("shell", json!({"code": "sleep 600"}));
    running(1);
    let cancel =
        json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}});
    host.say(&cancel.to_string());
    running(0);
    host.call("shell", json!({"code": "sleep 600"}));
    running(1);
    // Its input ends: it ends, and so does what it asked for.
    host.to = None;
    assert!(host.process.wait().unwrap().success());
    running(0);
    let mut host = Host::begun(&home);
    host.call("shell", json!({"code": "sleep 600"}));
    running(1);
    host.process.kill().unwrap();
    running(0);
}

/// Lines that are no messages, and a gateway that is not there, are answered as the protocol has it.
#[test]
fn what_cannot_be_passed_on_is_answered() {
    let home = Home::new();
    let mut host = Host::start(&home, &[]);
    for (line, code, id) in [
        ("{", -32_700, Value::Null),
        ("[]", -32_600, Value::Null),
        (r#"{"jsonrpc":"2.0","id":5,"method":7}"#, -32_600, json!(5)),
        (
            r#"{"jsonrpc":"2.0","id":6,"method":"tools/list"}"#,
            -32_603,
            json!(6),
        ),
    ] {
        host.say(line);
        let answer = host.hear();
        assert_eq!(
            (&answer["error"]["code"], &answer["id"]),
            (&json!(code), &id),
            "{answer}"
        );
        if code == -32_603 {
            let message = answer["error"]["message"].as_str().unwrap();
            assert!(message.contains("casemate serve"), "{message}");
        }
    }
    let large = "x".repeat(5 << 20);
    host.say(&large);
    assert_eq!(host.hear()["error"]["code"], -32_600);
    // Nor is it for the worse of the next one.
    host.say("{");
    assert_eq!(host.hear()["error"]["code"], -32_700);
}
