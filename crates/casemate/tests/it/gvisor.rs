//! The tier `gvisor`: what a profile that demands it gets, and what becomes of it where there is none.

use std::{env, fs, os::unix::fs::PermissionsExt as _};

use crate::home::{Home, Ran, for_everybody};

/// A profile that demands the tier.
fn profile(home: &Home) -> String {
    let builtin = home.run(["profile", "show"]).stdout();
    let workspace = "workspace = \"/workspace\"";
    assert!(builtin.contains(workspace));
    builtin.replace(workspace, &format!("{workspace}\ntier = \"gvisor\""))
}

/// Whether there is gVisor here; where tests are not to be left out, there is.
#[allow(clippy::print_stdout, reason = "what is left out is said")]
pub(crate) fn is_here() -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    let here = env::split_paths(&path).any(|directory| directory.join("runsc").exists());
    assert!(here || env::var_os("CI").is_none(), "no runsc in PATH");
    if !here {
        println!("left out: there is no runsc in PATH");
    }
    here
}

/// Runs `casemate` with this `PATH`.
fn run(home: &Home, path: &str, words: &[&str]) -> Ran {
    Ran(home.casemate(words).env("PATH", path).output().unwrap())
}

/// I7: whoever writes a profile hears what the tier does not do for it.
#[test]
fn a_profile_that_demands_it_is_told_what_it_loses() {
    let home = Home::new();
    home.write("p.toml", profile(&home));
    let ran = home.run(["profile", "check", "p.toml"]);
    ran.exits(0).says("`violations.system_calls` does nothing");
    home.write("p.toml", home.run(["profile", "show"]).stdout());
    let ran = home.run(["profile", "check", "p.toml"]);
    assert_eq!(ran.exits(0).stderr(), "");
}

/// I7, R71: the program runs under gVisor's kernel, what it makes comes back, and the record says by what it was held.
#[test]
fn a_profile_that_demands_it_gets_it() {
    if !is_here() {
        return;
    }
    let path = env::var("PATH").unwrap();
    for_everybody(|home| {
        home.write("p.toml", profile(home));
        home.write("in.txt", "given\n");
        let code = "uname -r; id -u; cp in/in.txt out/copy; exit 3";
        let words = [
            "run",
            "--json",
            "--profile",
            "p.toml",
            "--file",
            "in.txt",
            "--out",
            "out",
            "--",
            "sh",
            "-c",
            code,
        ];
        let ran = run(home, &path, &words);
        // gVisor's kernel says that it is this Linux, which no host of ours is.
        let answer = ran.exits(3).json().to_string();
        assert!(answer.contains("\"tier\":\"gvisor\""), "{answer}");
        assert!(answer.contains("4.4.0\\n1000\\n"), "{answer}");
        let copy = fs::read_to_string(home.path("out/copy")).unwrap();
        assert_eq!(copy, "given\n");
    });
}

/// I7, R71: without gVisor, or with something that is too old or something else, nothing runs in anything weaker.
#[test]
fn without_it_nothing_runs() {
    for_everybody(|home| {
        home.write("p.toml", profile(home));
        fs::create_dir_all(home.path("bin")).unwrap();
        let path = home.path("bin").display().to_string();
        let words = [
            "run",
            "--profile",
            "p.toml",
            "--out",
            "out",
            "--",
            "touch",
            "/workspace/out/ran",
        ];
        let refused = |code: i32, why: &str| {
            let ran = run(home, &path, &words);
            let reason = "casemate: refused: isolation_unavailable: ";
            ran.exits(code).prints("").says(reason).says(why);
            assert!(!home.path("out").exists(), "the program ran");
            assert_eq!(home.log().last().unwrap()["kind"], "denied");
        };
        refused(120, "apt-get install runsc");
        let fake = |text: &str| {
            let path = home.path("bin/runsc");
            fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        };
        fake("echo runsc version release-20200101.0");
        refused(120, "those that can be used are");
        fake("sleep 1000");
        refused(120, "cannot be used");
        fake("echo something else");
        refused(120, "does not say its version");
        // It says what it should, and is something else: there is nothing in the sandbox that could run it.
        fake("echo runsc version release-20240101.0");
        refused(121, "execute gVisor");
    });
}
