//! What is looked for in source before it runs.

use casemate_model::{Reason, Within};
use casemate_policy::{Profile, Syntax};
use serde_json::{Value, json};

use crate::house::{House, cell, in_thread, ran, refused, shell};

fn python(source: &str) -> casemate_gateway::Ask {
    let within = Within {
        thread: Some("t".into()),
        ..Within::default()
    };
    let mut ask = cell(within, &["true"]);
    let source = source.as_bytes().to_vec();
    ask.command
        .cell
        .as_mut()
        .unwrap()
        .source
        .clone_from(&source);
    ask.code.as_mut().unwrap().source = source;
    ask
}

fn with_env(mut ask: casemate_gateway::Ask, name: &str, value: &str) -> casemate_gateway::Ask {
    ask.command.env.insert(name.into(), value.into());
    ask
}

const CTYPES: &str = "x = 1\nimport ctypes\n";

/// R209: what was found is on record with every call, by names and lines; nothing of it is a refusal unless the profile says so.
#[tokio::test]
async fn findings_are_recorded_of_each_call() {
    let house = House::new("thread");
    let rooms = house.rooms();
    ran(&house.call(&rooms, python(CTYPES)).await);
    ran(&house
        .call(&rooms, shell(None, &["bash", "-c", "curl x"]))
        .await);
    ran(&house.call(&rooms, in_thread("t", &["true"])).await);
    let records = house.world.records();
    let scans = records
        .iter()
        .map(|record| record.entry.summary["scan"].clone());
    let scans: Vec<Value> = scans.filter(Value::is_object).collect();
    assert_eq!(
        scans,
        [
            json!({ "language": "python", "findings": [{ "capability": "native_code", "what": "ctypes", "line": 2 }] }),
            json!({ "language": "shell", "findings": [{ "capability": "network", "what": "curl", "line": 1 }] }),
            // Never clean where nothing is known.
            json!({ "language": "unknown", "gap": "unknown_language", "findings": [] }),
        ]
    );
}

/// R209: a profile can forbid what is found; then what cannot be looked into is refused too, and nothing runs.
#[tokio::test]
async fn what_a_profile_forbids_does_not_run() {
    let mut house = House::new("thread");
    let source = String::from_utf8(house.profile.source().to_vec()).unwrap();
    let scan = "\n[sandbox.scan]\nforbidden = [\"native_code\", \"obfuscation\"]\n";
    let source = format!("{source}{scan}");
    house.profile = Profile::parse(source.as_bytes(), Syntax::Toml).unwrap();
    let rooms = house.rooms();
    for (ask, why) in [
        (python(CTYPES), "line 2"),
        (python("__import__('c' + 'types')"), "pieces"),
        (python("x = '''"), "unfinished"),
        (shell(None, &["bash", "-c", "gcc x.c"]), "gcc"),
        (shell(None, &["node", "x.js"]), "unknown_language"),
        (
            shell(None, &["bash", "-c", "\"$@\"", "_", "gcc", "x.c"]),
            "unclear",
        ),
        (shell(None, &["bash", "-c", "true", "_"]), "unclear"),
        (
            with_env(shell(None, &["bash", "-c", "$X"]), "X", "gcc"),
            "unclear",
        ),
        (
            with_env(shell(None, &["bash", "-c", "true"]), "BASH_ENV", "x"),
            "unclear",
        ),
        (
            with_env(shell(None, &["sh", "-c", "true"]), "ENV", "x"),
            "unclear",
        ),
        (shell(None, &["bash", "-c", "./a.out"]), "unclear"),
        (shell(None, &["bash", "-c", ". ./x"]), "unclear"),
        (shell(None, &["bash", "-c", "sh x"]), "unclear"),
        (shell(None, &["bash", "-c", "node x.js"]), "unclear"),
        (
            shell(None, &["/workspace/bash", "-c", "x"]),
            "unknown_language",
        ),
        (shell(None, &["./bash", "-c", "x"]), "unknown_language"),
    ] {
        let (reason, detail) = refused(&house.call(&rooms, ask).await);
        assert_eq!(reason, Reason::ScanFinding, "{detail}");
        assert!(detail.contains(why), "{why}: {detail}");
    }
    assert_eq!((house.keeper.runs(), house.keeper.opened()), (0, 0));
    // What was refused can be looked at, by whoever has the agent's key.
    let records = house.world.records();
    let cell = records.iter().find(|record| record.entry.payload.is_some());
    let content = house.world.content(cell.unwrap());
    assert!(content["code"].to_string().contains("ctypes"), "{content}");
    ran(&house.call(&rooms, python("import socket")).await);
    for shell_name in ["bash", "/bin/sh", "/usr/bin/bash"] {
        ran(&house
            .call(&rooms, shell(None, &[shell_name, "-c", "ls ./x"]))
            .await);
    }
}
