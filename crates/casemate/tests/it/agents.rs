//! `casemate agent`: an agent is destroyed whole, and nothing of another.

use std::{
    fs::{self, File},
    process::Stdio,
};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{
    canary,
    home::{Home, for_everybody},
    keeper::until,
    server::Server,
};

/// A call of an agent whose every name and content is a secret.
fn call(secret: &str) -> Value {
    json!({
        "agent": "billing", "tool": "shell", "thread": secret, "idempotency_key": secret,
        "argv": ["sh", "-c", format!("echo {secret} > /workspace/{secret}; echo {secret}")],
    })
}

/// R184, R186, R187: after its deletion nothing of an agent can be read in the raw state directory, in any spelling, also where its
/// database had it in clear; its sessions are over, and the log verifies and says who did it.
#[test]
fn a_deleted_agent_leaves_nothing_that_can_be_read() {
    let home = Home::new();
    let secret = canary::fresh();
    let mut server = Server::first(&home);
    let key = server.key.clone();
    let (status, said) = server.json("POST", "/v1/calls", &call(&secret));
    assert_eq!(status, 200, "{said}");
    let file = json!({ "agent": "kept", "tool": "shell", "thread": "t", "argv": ["true"] });
    let (status, kept) = server.json("POST", "/v1/calls", &file);
    assert_eq!(status, 200, "{kept}");
    let path = format!(
        "/v1/sessions/{}/files/{secret}?agent=billing",
        said["session"].as_str().unwrap()
    );
    let (status, _) = server.ask("GET", &path, Some(&key), &Value::Null).unwrap();
    assert_eq!(status, 200);

    // While a server has the directory nothing is destroyed.
    let refused = home.run(["agent", "delete", "billing", "--yes"]);
    refused
        .exits(123)
        .says("another gateway")
        .says("stop the server");
    // Its keeper outlives it here, with the session.
    let gateway = server.process("gateway");
    server.end(Signal::KILL);
    crate::server::until_gone(gateway);
    home.run(["agent", "delete", "billing"])
        .exits(2)
        .says("--yes");
    assert!(!canary::sweep(&home.path("state")).found.is_empty());
    let listed = home.run(["agent", "list"]).exits(0).stdout();
    assert_eq!(listed, "billing\nkept\n");

    let deleted = home.run(["agent", "delete", "billing", "--yes", "--json"]);
    let deleted = deleted.exits(0).json();
    assert_eq!(deleted["sessions"], 1, "{deleted}");
    assert_eq!(deleted["keys"].as_array().unwrap().len(), 1, "{deleted}");
    let swept = canary::sweep(&home.path("state"));
    assert!(swept.found.is_empty(), "{swept:?}");
    assert!(swept.files > 5, "{swept:?}");
    home.run(["audit", "verify"]).exits(0);
    let decision = deleted["decision"].as_str().unwrap();
    let shown = home
        .run(["audit", "show", decision, "--json"])
        .exits(0)
        .json();
    assert_eq!(
        shown[1]["record"]["summary"]["erases"], "everything",
        "{shown}"
    );
    assert_eq!(home.run(["agent", "list"]).exits(0).stdout(), "kept\n");
    home.run(["agent", "delete", "billing", "--yes"])
        .exits(1)
        .says("agent list");

    // It begins anew, and the other one goes on.
    let next = Server::again(&home, &key, &[]);
    let mut again = call(&secret);
    again["argv"] = json!(["ls", "/workspace"]);
    let (status, said) = next.json("POST", "/v1/calls", &again);
    assert_eq!(
        (status, &said["new_session"]),
        (200, &json!(true)),
        "{said}"
    );
    assert!(
        !said["stdout"].as_str().unwrap().contains(&secret),
        "{said}"
    );
    let (_, said) = next.json("POST", "/v1/calls", &file);
    assert_eq!(said["session"], kept["session"], "{said}");
    drop(next);
    home.run(["agent", "delete", "billing", "--yes"]).exits(0);
}

/// A call that runs is not deleted under its feet, unless that is what is asked for.
#[test]
fn an_agent_whose_call_runs_is_deleted_by_force_only() {
    for_everybody(|home| {
        let mut running = home
            .casemate(["run", "--agent", "billing", "--", "sleep", "600"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        until("it runs", || {
            home.path("state/ledger/log").exists() && home.kinds().len() == 1
        });
        home.run(["agent", "delete", "billing", "--yes"])
            .exits(123)
            .says("1 of its calls run")
            .says("--force");
        assert!(running.try_wait().unwrap().is_none());
        let keys = home.path("state/keys/agents/billing");
        assert!(fs::read_dir(&keys).unwrap().count() > 0);
        home.run(["agent", "delete", "billing", "--yes", "--force"])
            .exits(0);
        assert!(!running.wait().unwrap().success());
        home.run(["audit", "verify"]).exits(0);
        assert_eq!(home.run(["agent", "list"]).exits(0).stdout(), "");
    });
}

/// Whoever looks through the databases, or begins a call that is not on record yet, keeps an agent from being deleted; and while one
/// is deleted no call begins and nothing is copied, so that no key is made anew.
#[test]
fn nothing_is_opened_while_an_agent_is_deleted() {
    let home = Home::new();
    home.run(["run", "--agent", "billing", "--", "true"])
        .exits(0);
    let keys = || home.path("state/keys/agents/billing");
    let lock = |name: &str| {
        let path = home.path("state/run").join(name);
        File::options().write(true).open(path).unwrap()
    };
    let (all, one) = (lock("agents.lock"), lock("agent-billing.lock"));
    for used in [&all, &one] {
        used.lock_shared().unwrap();
        home.run(["agent", "delete", "billing", "--yes", "--force"])
            .exits(123)
            .says("nothing of `billing` was destroyed")
            .says("try again");
        used.unlock().unwrap();
        assert!(fs::read_dir(keys()).unwrap().count() > 0);
    }
    all.lock().unwrap();
    let refused = home.run(["run", "--agent", "other", "--", "true"]);
    refused.says("an agent is being deleted");
    assert!(!home.path("state/keys/agents/other").exists());
    home.run(["backup", "copy"])
        .exits(123)
        .says("an agent is being deleted");
    all.unlock().unwrap();
    home.run(["agent", "delete", "billing", "--yes"]).exits(0);
    assert!(!home.path("state/run/agent-billing.lock").exists());
}

/// A call has its agent until its process is gone, and others can be deleted meanwhile.
#[test]
fn a_call_keeps_its_agent_and_no_other() {
    let home = Home::new();
    home.run(["run", "--agent", "other", "--", "true"]).exits(0);
    let mut running = home
        .casemate(["run", "--agent", "billing", "--", "sleep", "600"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    until("it runs", || home.kinds().len() == 3);
    let lock = File::open(home.path("state/run/agent-billing.lock")).unwrap();
    assert!(lock.try_lock().is_err());
    home.run(["agent", "delete", "other", "--yes"]).exits(0);
    home.run(["agent", "delete", "billing", "--yes", "--force"])
        .exits(0);
    assert!(!running.wait().unwrap().success());
}
