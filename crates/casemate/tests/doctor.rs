//! `casemate doctor` on this host: as root where this is root, and as an ordinary user.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "tests"
)]

use std::{
    collections::BTreeSet,
    fs::{self, Permissions},
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Command, Output},
};

use rustix::process::geteuid;
use serde_json::Value;

/// Any number: no account is needed.
const ORDINARY_ID: u32 = 60_001;

const THEMES: &[&str] = &[
    "/proc/1/environ",
    "another call",
    "daemons",
    "disk",
    "environment",
    "fork bomb",
    "hard links",
    "host files",
    "leaked descriptors",
    "memory",
    "mount",
    "namespaces",
    "network",
    "output flood",
    "setuid",
    "symbolic links",
];

fn casemate() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_casemate"))
}

/// A copy that an ordinary user can reach, and the command that becomes one.
fn as_a_user(directory: &Path) -> (PathBuf, Command) {
    let copy = directory.join("casemate");
    // Not by this process: a test that starts another meanwhile would hold the copy open for writing.
    let copied = Command::new("cp")
        .arg(casemate())
        .arg(&copy)
        .status()
        .unwrap();
    assert!(copied.success());
    for path in [directory, &copy] {
        fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
    }
    let mut command = Command::new(&copy);
    become_a_user(&mut command);
    (copy, command)
}

fn become_a_user(command: &mut Command) {
    if geteuid().is_root() {
        command.uid(ORDINARY_ID).gid(ORDINARY_ID).current_dir("/");
    }
}

fn all_held(output: &Output) {
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["verdict"], "held", "{json:#}");
    let attacks = json["attacks"].as_array().unwrap();
    for attack in attacks {
        assert_eq!(attack["outcome"], "held", "{attack:#}");
    }
    let themes: BTreeSet<_> = attacks
        .iter()
        .map(|attack| attack["theme"].as_str().unwrap())
        .collect();
    assert_eq!(themes, THEMES.iter().copied().collect());
    let controls = json["isolation"]["controls"].as_array().unwrap();
    assert!(
        controls
            .iter()
            .all(|control| control["strength"] != "absent"),
        "{controls:#?}"
    );
    assert_eq!(output.status.code(), Some(0));
}

/// R208, R256: what the doctor says it has tried.
#[test]
fn as_it_is_every_attack_is_held() {
    let output = Command::new(casemate())
        .args(["doctor", "--json"])
        .output()
        .unwrap();
    all_held(&output);
}

/// R208, R256: nobody needs to be root for it.
#[test]
fn as_a_user_every_attack_is_held() {
    let directory = tempfile::tempdir().unwrap();
    let (_, mut command) = as_a_user(directory.path());
    all_held(&command.args(["doctor", "--json"]).output().unwrap());
}

#[test]
fn people_get_a_table_whose_last_line_is_the_verdict() {
    let output = Command::new(casemate()).arg("doctor").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    for line in [
        "  memory ",
        "  seccomp ",
        "  kernel ",
        "  fork bomb           held",
    ] {
        assert!(
            text.lines().any(|found| found.starts_with(line)),
            "{line}\n{text}"
        );
    }
    // Each theme once, and once more where there is gVisor.
    let held = text.lines().filter(|line| line.ends_with("  held"));
    let held = held.count();
    assert!(held == THEMES.len() || held == 2 * THEMES.len(), "{text}");
    let verdict = format!("All {held} attacks were held.");
    assert_eq!(text.lines().last(), Some(verdict.as_str()));
}

/// I1: a host on which no sandbox can be made is no success; the failed step and a way out are named.
#[test]
fn without_a_sandbox_it_says_why_and_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let (casemate, _) = as_a_user(directory.path());
    // No new processes for this user. Some shells call the limit -u, others -p.
    let script = "ulimit -u 1 2>/dev/null || ulimit -p 1; exec \"$0\" doctor --json";
    let mut command = Command::new("/bin/sh");
    become_a_user(&mut command);
    let output = command.args(["-c", script]).arg(casemate).output().unwrap();
    assert_eq!(output.status.code(), Some(121), "{output:?}");
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["verdict"], "no_sandbox");
    let error = json["obstacle"]["error"].as_str().unwrap();
    assert!(error.contains("make namespaces"), "{error}");
    assert!(!json["obstacle"]["advice"].as_array().unwrap().is_empty());
}
