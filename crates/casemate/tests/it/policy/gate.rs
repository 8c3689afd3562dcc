//! Nothing that executes code starts before every check passes (R98, R99, R118, R151).

use std::{env, process::Stdio};

use super::{Sketch, break_in};
use crate::{
    gvisor,
    home::{Home, Ran, for_everybody},
    keeper::Keepers,
    serve::Gateway,
};

/// `casemate gate`, with a variable if it has a name.
fn gate(home: &Home, words: &[&str], variable: &str) -> Ran {
    let mut command = home.casemate(["gate"].iter().chain(words));
    if !variable.is_empty() {
        command.env(variable, "x");
    }
    Ran(command.output().unwrap())
}

/// R98, R99, R118, R151: one line for each check that fails, without any secret; none when all pass.
#[test]
fn a_gate_says_each_check_that_fails() {
    for_everybody(|home| {
        let bundle = Sketch::wide(1).write(home, "bundle");
        let demanding = Sketch {
            sandbox: "tier = \"vm\"",
            ..Sketch::wide(1)
        };
        demanding.write(home, "demanding");
        assert!(bundle.is_dir());
        let good = "bundle/profiles/work.toml";
        gate(home, &[good], "")
            .exits(0)
            .prints("the gate of work is open: every check passed\n");
        let vm = "demanding/profiles/work.toml";
        let extra = [good, "--scope", "code:execute", "--scope", "extra"];
        let all = [vm, "--scope", "extra"];
        for (words, variable, codes) in [
            (&[good][..], "GITHUB_TOKEN", &["secret_in_environment"][..]),
            (&extra, "", &["scope_too_broad"]),
            (&[vm], "", &["isolation_unavailable"]),
            (
                &all,
                "OPENAI_API_KEY",
                &[
                    "secret_in_environment",
                    "scope_too_broad",
                    "isolation_unavailable",
                ],
            ),
        ] {
            let ran = gate(home, words, variable);
            let stdout = ran.exits(1).stdout();
            let found: Vec<_> = stdout
                .lines()
                .map(|line| line.split(": ").next().unwrap())
                .collect();
            assert_eq!(found, codes, "{stdout}");
        }
        let mut secret = home.casemate(["gate", good]);
        let value = format!("ghp_{}", "a1B2".repeat(9));
        let ran = Ran(secret.env("GREETING", &value).output().unwrap());
        assert!(ran.exits(1).stdout().starts_with("secret_in_environment: "));
        assert!(!format!("{}{}", ran.stdout(), ran.stderr()).contains(&value));
    });
}

#[test]
fn a_gate_is_of_a_profile_or_of_a_route_in_force() {
    let home = Home::new();
    gate(&home, &["work"], "")
        .exits(2)
        .says("neither a file nor a route");
    home.write("broken.toml", "route = 1\n");
    gate(&home, &["broken.toml"], "")
        .exits(1)
        .says("broken.toml:1");
    break_in(&home, &Sketch::wide(1).write(&home, "bundle"));
    gate(&home, &["work"], "").exits(0);
    gate(&home, &["work"], "OPENAI_API_KEY").exits(1);
    gate(&home, &["elsewhere"], "").exits(2);
}

/// R118: a state directory in which nothing can be recorded.
#[test]
fn a_gate_wants_a_log_that_can_be_written() {
    let home = Home::new();
    Sketch::wide(1).write(&home, "bundle");
    home.write("state", "not a directory");
    let ran = gate(&home, &["bundle/profiles/work.toml"], "");
    let stdout = ran.exits(1).stdout();
    assert!(stdout.starts_with("log_not_writable: "), "{stdout}");
    assert_eq!(stdout.lines().count(), 1, "{stdout}");
}

/// R98, R151: neither a gateway nor a call starts behind a closed gate.
#[test]
fn nothing_starts_behind_a_closed_gate() {
    let home = Home::new();
    break_in(&home, &Sketch::wide(1).write(&home, "bundle"));
    let mut serve = home.casemate(["serve"]);
    let serve = serve.env("OPENAI_API_KEY", "x").stdin(Stdio::null());
    let ran = Ran(serve.output().unwrap());
    ran.exits(1)
        .says("the gate of work is closed: secret_in_environment: ");
    assert!(!ran.stderr().contains("listening"));
    assert!(!home.path("state/run/casemate.sock").exists());
    let words = ["run", "--route", "work", "--", "echo", "ran"];
    let mut run = home.casemate(words);
    let ran = Ran(run.env("GITHUB_TOKEN", "x").output().unwrap());
    ran.exits(120)
        .prints("")
        .says("the gate of work is closed: secret_in_environment");
    let log = home.log();
    let denied = log
        .iter()
        .rfind(|record| record["kind"] == "denied")
        .unwrap();
    assert_eq!(denied["summary"]["reason"], "gate_closed", "{denied}");
    home.run(words).exits(0).prints("ran\n");
}

/// A server checks the bundle of its own state directory, however that was named.
#[test]
fn the_gate_of_a_server_is_that_of_its_state_directory() {
    let home = Home::new();
    let _keepers = Keepers(&home);
    break_in(&home, &Sketch::wide(1).write(&home, "bundle"));
    let state = home.path("state");
    let mut command = home.casemate(["serve", "--state-dir", state.to_str().unwrap()]);
    command.env("CASEMATE_STATE_DIR", home.path("elsewhere"));
    let gateway = Gateway::by(&home, &mut command);
    gateway.says(&["session", "list"]);
    assert!(!home.path("elsewhere").exists());
}

/// I7, R151: a server makes its sandboxes of the tier `namespace`, so the gate of a route that demands more is closed to it,
/// also where `casemate run` gets what the route demands.
#[test]
fn a_server_has_no_gate_for_a_tier_that_it_never_makes() {
    let home = Home::new();
    let sketch = Sketch {
        sandbox: "tier = \"gvisor\"",
        ..Sketch::wide(1)
    };
    break_in(&home, &sketch.write(&home, "bundle"));
    let path = env::var_os("PATH").unwrap_or_default();
    let with_path = |words: &[&str]| {
        let mut command = home.casemate(words);
        Ran(command
            .env("PATH", &path)
            .stdin(Stdio::null())
            .output()
            .unwrap())
    };
    let ran = with_path(&["serve"]);
    ran.exits(1)
        .says("the gate of work is closed: isolation_unavailable: ");
    assert!(!ran.stderr().contains("listening"));
    if gvisor::is_here() {
        with_path(&["gate", "work"]).exits(0);
    }
}
