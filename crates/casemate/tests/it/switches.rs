//! `casemate switch`: what is off does not begin, and what runs ends at once.

use std::{fs, os::unix::fs::PermissionsExt as _, process::Stdio};

use serde_json::Value;

use crate::{
    home::{Home, Ran},
    keeper::{Keepers, until},
    serve::Gateway,
};

fn off(home: &Home, kind: &str, name: &str) -> Ran {
    home.run(["switch", "off", kind, name, "--reason", "an incident"])
}

fn on(home: &Home, kind: &str, name: &str) -> Ran {
    home.run(["switch", "on", kind, name, "--reason", "it is over"])
}

/// R258, R259, R263: nothing begins of a tool, route, agent, user or tenant that is off, neither in a gateway that lives nor by itself,
/// and each refusal is on record.
#[test]
fn what_is_off_does_not_begin() {
    let home = Home::new();
    let _keepers = Keepers(&home);
    let gateway = Gateway::start(&home);
    let call = ["call", "--thread", "t", "--", "sh", "-c", "echo ran >> log"];
    assert!(gateway.run(&call).status.success());
    let route = home
        .log()
        .iter()
        .rfind(|record| record["summary"]["tool"] == "shell")
        .unwrap()["summary"]["route"]
        .clone();
    let user = format!("uid:{}", rustix::process::getuid().as_raw());
    for (kind, name) in [
        ("tool", "shell"),
        ("agent", "local"),
        ("tenant", "local"),
        ("user", user.as_str()),
        ("route", route.as_str().unwrap()),
    ] {
        off(&home, kind, name).exits(0);
        let refused = gateway.run(&call);
        let said = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(120), "{kind}: {said}");
        assert!(said.contains("kill_switch"), "{kind}: {said}");
        let last = home
            .log()
            .into_iter()
            .rfind(|record| record["kind"] == "denied")
            .unwrap();
        assert_eq!(last["summary"]["reason"], "kill_switch", "{kind}");
        if kind != "route" {
            home.run(["run", "--", "echo", "ran"])
                .exits(120)
                .prints("")
                .says("kill_switch");
        }
        on(&home, kind, name).exits(0);
        home.run(["run", "--", "echo", "ran"]).exits(0);
    }
    let output = gateway.run(&["call", "--thread", "t", "--", "cat", "log"]);
    assert_eq!(output.stdout, b"ran\n", "nothing else ran");
    let listed = home.run(["switch", "list"]);
    listed.exits(0).prints("");
    let all = home
        .run(["switch", "list", "--all", "--json"])
        .exits(0)
        .stdout();
    assert_eq!(all.lines().count(), 5, "{all}");
    off(&home, "planet", "earth").exits(2);
    home.run(["audit", "verify"]).exits(0);
}

/// What runs is killed, what waits for a person is refused when its time comes, and neither comes back with the switch.
#[test]
fn what_runs_ends() {
    let home = Home::new();
    let _keepers = Keepers(&home);
    let gateway = Gateway::start(&home);
    let mut call = home.casemate([
        "call",
        "--thread",
        "t",
        "--",
        "sh",
        "-c",
        "touch begun; sleep 300; touch ended",
    ]);
    let call = call
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let call = call.spawn().unwrap();
    let begun = || {
        gateway
            .run(&[
                "call",
                "--thread",
                "t",
                "--",
                "sh",
                "-c",
                "ls begun ended 2> /dev/null",
            ])
            .stdout
    };
    until("it runs", || begun() == b"begun\n");
    off(&home, "tool", "shell").exits(0);
    let output = call.wait_with_output().unwrap();
    assert!(!output.status.success(), "{output:?}");
    on(&home, "tool", "shell").exits(0);
    assert_eq!(begun(), b"begun\n", "it did not go on");
    let ended = home.log().into_iter().find(|record| {
        record["kind"] == "outcome" && record["summary"]["stop_reason"] == "cancelled"
    });
    assert!(ended.is_some(), "the outcome is on record");
    home.run(["audit", "verify"]).exits(0);
}

/// I1: a switchboard that cannot be read stops everything, also what runs; an older one does not bring anything back.
#[test]
fn an_unreadable_switchboard_is_closed() {
    let home = Home::new();
    let _keepers = Keepers(&home);
    let gateway = Gateway::start(&home);
    let call = ["call", "--thread", "t", "--", "echo", "ran"];
    let board = home.path("state/switches/board");
    let before = fs::read(&board).unwrap();
    off(&home, "tool", "shell").exits(0);
    let whole = fs::read(&board).unwrap();
    let damage: [&dyn Fn(); 3] = [
        &|| fs::write(&board, b"?").unwrap(),
        &|| fs::remove_file(&board).unwrap(),
        &|| fs::write(&board, &before).unwrap(),
    ];
    for damage in damage {
        damage();
        let refused = gateway.run(&call);
        assert_eq!(refused.status.code(), Some(120), "{refused:?}");
        assert!(refused.stdout.is_empty());
        assert!(String::from_utf8_lossy(&refused.stderr).contains("kill_switch"));
        home.run(["run", "--", "echo", "ran"]).exits(120).prints("");
        fs::write(&board, &whole).unwrap();
        fs::set_permissions(&board, fs::Permissions::from_mode(0o600)).unwrap();
    }
    on(&home, "tool", "shell").exits(0);
    assert_eq!(gateway.says(&call), "ran\n");
    let _: Vec<Value> = home.log();
}
