//! Servers of the Model Context Protocol in sandboxes: pinned by the command line, called by a host, and whatever they do wrong.

use std::fs;

use serde_json::{Value, json};

use crate::{
    approvals::{approve, enlist, text, waits},
    home::{Home, for_everybody},
    keeper::Keepers,
    mcp::{Host, data},
    route::Route,
    serve::Gateway,
};

const SERVER: &str = include_str!("servers/files.py");

/// What is in the command line of this home's server, and of no other's: tests run beside each other.
fn mark(home: &Home) -> String {
    format!("# The server of {}", home.path("").display())
}

/// A profile of a route with the server, and these of its tools.
fn profile(home: &Home, tools: &str, approval_required: &str) {
    let mark = mark(home);
    let more = format!(
        "[[mcp.servers]]\nname = \"files\"\ncommand = [\"python3\", \"-c\", '''{SERVER}{mark}\n''']\n{tools}"
    );
    let route = Route {
        allowed: "\"python\", \"shell\", \"files.read\"",
        approval_required,
        more: &more,
        ..Route::default()
    };
    let profile = route
        .profile()
        .replace("max_runtime_ms = 600_000", "max_runtime_ms = 10_000");
    home.write("work.toml", profile);
}

/// The profile with the tools as they are now.
fn pinned(home: &Home, approval_required: &str) {
    profile(home, "", approval_required);
    let ran = home.run(["profile", "pin", "work.toml", "files"]);
    ran.exits(0).says("files.read: new, sha256:");
    profile(home, &ran.stdout(), approval_required);
    home.run(["profile", "check", "work.toml"]).exits(0);
    let again = home.run(["profile", "pin", "work.toml", "files"]);
    again.exits(0).says("files.read: as pinned, sha256:");
    assert_eq!(again.stdout(), ran.stdout());
}

fn mode(host: &mut Host, mode: &str) {
    // A call that succeeds: others may fail again.
    let written = host.tool("shell", json!({"code": format!("printf {mode} > mode")}));
    assert_eq!(written["isError"], false, "{written}");
}

fn said(result: &Value) -> &str {
    result["content"][0]["text"].as_str().unwrap()
}

/// The decisions about calls of the tool.
fn records(home: &Home) -> Vec<Value> {
    let mut records = home.log();
    let is_it = |record: &Value| record["summary"]["tool"] == "files.read";
    records.retain(|record| is_it(record) && record["kind"] == "allowed");
    records
}

/// A tool of a server is shown as it was pinned, and each call of it is one life of a call, in the sandbox of its thread.
#[test]
fn a_tool_of_a_server_is_a_tool_of_the_route() {
    for_everybody(|home| {
        let _keepers = Keepers(home);
        pinned(home, "");
        let _gateway = Gateway::under(home, &["work.toml"]);
        let mut host = Host::begun(home);
        let listed = host.ask(&json!({"jsonrpc": "2.0", "id": 2, "method": "tools/list"}));
        let tools = listed["result"]["tools"].as_array().unwrap();
        let read = tools.iter().find(|tool| tool["name"] == "files.read");
        let read = read.unwrap();
        assert_eq!(
            (&read["description"], &read["annotations"]["readOnlyHint"]),
            (&json!("Reads a file."), &json!(true))
        );
        // It is pinned, and no tool of the route.
        assert!(!tools.iter().any(|tool| tool["name"] == "files.ask"));
        host.tool("write_file", json!({"path": "a", "content": "hello"}));
        let result = host.tool("files.read", json!({"path": "a"}));
        assert_eq!(
            (said(&result), &result["isError"]),
            ("hello", &Value::Null),
            "{result}"
        );
        let decision = result["_meta"]["casemate/decision"].as_str().unwrap();
        let records_of_it = records(home);
        assert_eq!(records_of_it.len(), 1, "{records_of_it:?}");
        assert_eq!(records_of_it[0]["decision"], decision);
        let missing = host.tool("files.read", json!({"path": "b"}));
        assert_eq!(missing["isError"], true, "{missing}");
        assert!(said(&missing).contains("No such file"), "{missing}");
        let other = host.tool("files.ask", json!({}));
        assert_eq!(data(&other)["reason"], "missing_scope", "{other}");
        let unknown = host.ask(&json!({"jsonrpc": "2.0", "id": 9, "method": "tools/call",
            "params": {"name": "files.write", "arguments": {}}}));
        assert_eq!(unknown["error"]["code"], -32_602, "{unknown}");
        home.run(["audit", "verify"]).exits(0);
    });
}

/// A server that says something else than what was pinned is not asked to run anything, and one that breaks the protocol ends.
#[test]
fn a_server_that_does_wrong_is_ended_and_told_of() {
    let home = Home::new();
    let _keepers = Keepers(&home);
    pinned(&home, "");
    let _gateway = Gateway::under(&home, &["work.toml"]);
    let mut host = Host::begun(&home);
    host.tool("write_file", json!({"path": "a", "content": "hello"}));
    let wrong = [
        ("changed", "descriptor_changed"),
        ("hidden", "what nobody can be shown"),
        ("gone", "no tool `read` any more"),
        ("twice", "several tools"),
        ("garbage", "no message of the protocol"),
        ("flood", "a message of more than"),
        ("forged", "a request that nobody made"),
    ];
    for (name, why) in wrong {
        mode(&mut host, name);
        let before = records(&home).len();
        let result = host.tool("files.read", json!({"path": "a"}));
        assert_eq!(result["isError"], true, "{name}: {result}");
        let detail = data(&result)["detail"].as_str().unwrap();
        assert!(
            detail.contains(why) && detail.contains("`files`"),
            "{name}: {detail}"
        );
        assert_eq!(data(&result)["status"], "failed", "{name}: {result}");
        assert!(
            !result.to_string().contains("evil.example"),
            "{name}: {result}"
        );
        assert_eq!(records(&home).len(), before + 1, "{name}");
        let called = host.tool("read_file", json!({"path": "called"}));
        assert_eq!(
            data(&called)["reason"],
            "file_not_found",
            "{name}: it was called"
        );
    }
    for (name, why) in [
        ("dies", "ended before it answered"),
        ("hangs", "ended before it answered"),
    ] {
        mode(&mut host, name);
        let result = host.tool("files.read", json!({"path": "a"}));
        assert_eq!(result["isError"], true, "{name}: {result}");
        let detail = data(&result)["detail"].as_str().unwrap();
        assert!(detail.contains(why), "{name}: {result}");
    }
    // One that has answered and does not end is ended, and its answer counts.
    mode(&mut host, "stays");
    let result = host.tool("files.read", json!({"path": "a"}));
    assert_eq!(said(&result), "hello", "{result}");
    let mark = mark(&home);
    let left = fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(&mark)
    });
    assert!(!left, "a server goes on");
}

/// A call of a server's tool waits for a person like any other, is shown with its arguments, and goes on by itself.
#[test]
fn a_call_of_a_server_waits_for_a_person() {
    let home = Home::new();
    let _keepers = Keepers(&home);
    pinned(&home, "\"files.read\"");
    let _gateway = Gateway::under(&home, &["work.toml"]);
    enlist(&home, "alice", &[]);
    let mut host = Host::begun(&home);
    host.tool("write_file", json!({"path": "a", "content": "hello"}));
    let held = host.tool("files.read", json!({"path": "a"}));
    assert_eq!(data(&held)["status"], "waiting_for_approval", "{held}");
    let call = waits(&home, 1).remove(0);
    let shown = home.run(["approvals", "show", &text(&call, "decision")]);
    let shown = shown.exits(0).stdout();
    assert!(
        shown.contains("{\"path\":\"a\"}") && shown.contains("files.read"),
        "{shown}"
    );
    approve(&home, &call, "alice").exits(0);
    let ended = host.tool(
        "call_result",
        json!({"decision": text(&call, "decision"), "wait_ms": 60_000}),
    );
    let answer = data(&ended)["stdout"].as_str().unwrap();
    let answer: Value = serde_json::from_str(answer).unwrap();
    assert_eq!(said(&answer), "hello", "{ended}");
}

/// What cannot be pinned, and what is no profile, is said before anything runs.
#[test]
fn what_is_no_server_is_not_pinned() {
    let home = Home::new();
    profile(&home, "", "");
    home.run(["profile", "pin", "work.toml", "nobody"])
        .exits(2)
        .says("there are files");
    profile(&home, "tools = ['{\"name\":\"read\"}']", "");
    home.run(["profile", "pin", "work.toml", "files"])
        .exits(1)
        .says("inputSchema");
    for command in ["true", "cat", "yes"] {
        let route = Route {
            allowed: "\"shell\"",
            more: &format!("[[mcp.servers]]\nname = \"files\"\ncommand = [\"{command}\"]\n"),
            ..Route::default()
        };
        home.write("work.toml", route.profile());
        let ran = home.run(["profile", "pin", "work.toml", "files"]);
        assert!(!ran.0.status.success(), "{ran:?}");
        ran.says("the server `files`");
        assert_eq!(ran.stdout(), "", "{ran:?}");
    }
}
