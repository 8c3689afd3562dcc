//! `--json`: one object with everything that is known about a call (R51).

use serde_json::{Value, json};

use crate::home::{Home, for_everybody};

#[test]
fn the_answer_says_what_was_asked_done_and_enforced() {
    for_everybody(|home| {
        home.write("data.csv", "1\n");
        home.write("a.py", "import sys; print('out'); print('err', file=sys.stderr); open('/workspace/out/r', 'w').write('42'); sys.exit(3)");
        let words = [
            "run",
            "--json",
            "--file",
            "data.csv",
            "--env",
            "A=secret-ish",
            "--out",
            "out",
        ];
        let ran = home.run(words.into_iter().chain(["--timeout", "20s", "a.py", "x"]));
        let answer = ran.exits(3).json();
        assert!(answer["decision"].as_str().unwrap().starts_with("dec_"));
        assert!(
            answer["action_hash"]
                .as_str()
                .unwrap()
                .starts_with("sha256:")
        );
        let asked = &answer["asked"];
        assert_eq!(asked["runtime"], "python");
        assert_eq!(asked["argv"], json!(["python3", "/workspace/in/a.py", "x"]));
        assert_eq!(asked["env"], json!(["A"]));
        assert_eq!(asked["files"][1]["name"], "data.csv");
        assert_eq!(asked["files"][1]["bytes"], 2);
        assert_eq!(asked["limits"]["wall_ms"], 20_000);
        for (field, value) in [
            ("verdict", json!("allow")),
            ("reason", json!("allowed")),
            ("status", json!("failed")),
            ("cause", json!("completed")),
            ("exit_code", json!(3)),
            ("signal", Value::Null),
            ("stdout", json!("out\n")),
            ("stderr", json!("err\n")),
            ("stdout_bytes", json!(4)),
            ("stderr_bytes", json!(4)),
            ("output_truncated", json!(false)),
            ("error", Value::Null),
        ] {
            assert_eq!(answer[field], value, "{field}");
        }
        assert_eq!(answer["artefacts"][0]["path"], "r");
        assert_eq!(answer["artefacts"][0]["bytes"], 2);
        assert!(answer["artefacts"][0]["sha256"].is_string());
        assert!(answer["usage"]["wall_ms"].is_number());
        let wall = &answer["limits"]["wall_ms"];
        assert_eq!(wall["asked"], 20_000);
        assert_eq!(wall["enforced"], "enforced");
        assert!(wall["by"].is_string());
        assert_eq!(answer["limits"].as_object().unwrap().len(), 9);
        assert_eq!(answer["isolation"]["tier"], "namespace");
        assert_eq!(answer["policy"]["route"], "run");
        assert!(answer["policy"]["digest"].is_string());
        assert_eq!(answer["record"]["index"], 1);
        assert_eq!(answer["record"]["size"], 2);
        assert!(answer["record"]["root"].is_string());
        assert!(
            answer["record"]["checkpoint"]
                .as_str()
                .unwrap()
                .contains("casemate\n2\n")
        );
        assert!(!ran.stdout().contains("secret-ish"));
    });
}

#[test]
fn output_that_is_not_text_is_lossless() {
    let home = Home::new();
    let answer = home
        .run(["run", "--json", "--", "printf", "\\377\\000x"])
        .exits(0)
        .json();
    assert_eq!(answer["stdout"], json!({"base64": "/wB4"}));
    assert_eq!(answer["stdout_bytes"], 3);
    assert_eq!(answer["stderr"], "");
}

#[test]
fn a_signal_is_told_apart_from_a_code() {
    let home = Home::new();
    let answer = home
        .run(["run", "--json", "--", "sh", "-c", "kill -ABRT $$"])
        .exits(134)
        .json();
    assert_eq!(answer["signal"], 6);
    assert_eq!(answer["exit_code"], Value::Null);
}

/// A program cannot pretend to be one of our own ends.
#[test]
fn a_program_that_uses_our_codes_is_found_out() {
    let home = Home::new();
    let answer = home
        .run(["run", "--json", "--", "sh", "-c", "exit 124"])
        .exits(124)
        .json();
    assert_eq!(answer["cause"], "completed");
    let answer = home.run(["run", "--json", "--timeout", "300ms", "--", "sleep", "9"]);
    assert_eq!(answer.exits(124).json()["cause"], "timed_out");
}

#[test]
fn refusals_have_the_same_form() {
    for_everybody(|home| {
        home.write("data.csv", "1\n");
        let words = [
            "run",
            "--json",
            "--timeout",
            "2h",
            "--file",
            "data.csv",
            "--",
            "echo",
            "ran",
        ];
        let ran = home.run(words);
        let answer = ran.exits(120).says("refused: limit_exceeded").json();
        assert_eq!(answer["verdict"], "deny");
        assert_eq!(answer["reason"], "limit_exceeded");
        assert!(answer["detail"].as_str().unwrap().contains("wall_ms"));
        assert!(answer["hint"].is_string());
        assert_eq!(answer["asked"]["files"][0]["bytes"], 2);
        assert_eq!(answer["record"]["index"], 0);
        for field in ["status", "cause", "exit_code", "stdout", "usage"] {
            assert_eq!(answer[field], Value::Null, "{field}");
        }
        let bad = home.run([
            "run",
            "--json",
            "--profile",
            "no.json",
            "--file",
            "data.csv",
            "--",
            "true",
        ]);
        let answer = bad.exits(120).json();
        assert_eq!(answer["reason"], "invalid_profile");
        assert_eq!(answer["policy"], Value::Null);
        assert_eq!(answer["asked"]["files"], json!([{"name": "data.csv"}]));

        std::fs::rename(home.path("state/ledger/log"), home.path("log")).unwrap();
        let lost = home.run(["run", "--json", "--", "echo", "ran"]);
        let answer = lost.exits(123).json();
        assert_eq!(answer["reason"], "record_unavailable");
        assert_eq!(answer["record"], Value::Null);
    });
}

/// The denied attempts are those that the program made.
#[test]
fn denied_attempts_are_listed() {
    let home = Home::new();
    let code = "import socket\ntry:\n socket.create_connection(('192.0.2.1', 443), 1)\nexcept OSError as e: print('refused')\ntry:\n socket.sethostname('x')\nexcept OSError: print('refused')";
    let answer = home
        .run(["run", "--json", "--", "python3", "-c", code])
        .exits(0)
        .json();
    assert_eq!(answer["stdout"], "refused\nrefused\n");
    assert!(!answer["denied"].as_array().unwrap().is_empty(), "{answer}");
}
