//! Command lines that cannot be followed: exit code 2, and nothing happened.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _, process::Command};

use crate::home::{Home, for_everybody};

#[test]
fn what_cannot_be_followed_does_nothing() {
    let home = Home::new();
    home.write("a.py", "print('ran')");
    home.write("plain", "print('ran')");
    home.write("x.txt", "");
    std::fs::create_dir(home.path("dir")).unwrap();
    std::fs::create_dir(home.path("dir.py")).unwrap();
    std::fs::create_dir(home.path("other")).unwrap();
    home.write("other/x.txt", "");
    for (words, says) in [
        (&[][..], "Usage:"),
        (&["run"], "Usage:"),
        (&["run", "--"], "Usage:"),
        (
            &["run", "missing.py"],
            "cannot read `missing.py`: No such file",
        ),
        (&["run", "plain"], "--language"),
        (&["run", "dir.py"], "it is a directory"),
        (&["run", ""], "cannot"),
        (
            &["run", "--file", "missing", "a.py"],
            "cannot read `missing`",
        ),
        (&["run", "--file", "dir", "a.py"], "it is a directory"),
        (
            &["run", "--file", "/dev/null", "a.py"],
            "not a regular file",
        ),
        (&["run", "--file", "..", "a.py"], "it is a directory"),
        (
            &["run", "--file", "x.txt", "--file", "other/x.txt", "a.py"],
            "two input files",
        ),
        (
            &["run", "--file", "a.py", "a.py"],
            "two input files are named `a.py`",
        ),
        (&["run", "--env", "NOVALUE", "a.py"], "NAME=VALUE"),
        (&["run", "--env", "=value", "a.py"], "NAME=VALUE"),
        (
            &["run", "--env", "A=1", "--env", "A=2", "a.py"],
            "given twice",
        ),
        (&["run", "--timeout", "30", "a.py"], "30s"),
        (&["run", "--timeout", "0s", "a.py"], "more than zero"),
        (&["run", "--timeout=-1s", "a.py"], "--timeout"),
        (&["run", "--memory", "lots", "a.py"], "512KiB"),
        (&["run", "--memory", "1TiB", "a.py"], "1.5GiB"),
        (&["run", "--disk", "1e9", "a.py"], "a size such as"),
        (&["run", "--max-output", "", "a.py"], "a size such as"),
        (&["run", "--cpu", "two", "a.py"], "a number of cores"),
        (&["run", "--processes", "1.5", "a.py"], "a number"),
        (&["run", "--agent", "../evil", "a.py"], "lower-case"),
        (&["run", "--language", "cobol", "a.py"], "python"),
        (
            &["run", "--language", "python", "--", "true"],
            "for a script",
        ),
        (&["run", "--nonsense", "a.py"], "--nonsense"),
        (&["audit", "erase", "--agent", "local"], "--yes"),
        (&["image", "build"], "Usage:"),
        (&["image", "rm"], "Usage:"),
        (
            &["image", "build", "missing.toml"],
            "cannot read the recipe",
        ),
        (&["nonsense"], "nonsense"),
    ] {
        home.run(words).exits(2).prints("").says(says);
    }
    assert!(home.is_untouched());
}

/// A pipe has no end that is sure to come.
#[test]
fn a_pipe_is_not_waited_for() {
    let home = Home::new();
    for name in ["pipe.py", "profile.json"] {
        let made = Command::new("mkfifo")
            .arg(home.path(name))
            .status()
            .unwrap();
        assert!(made.success());
    }
    home.run(["run", "pipe.py"])
        .exits(2)
        .says("not a regular file");
    let words = ["run", "--file", "pipe.py", "--", "true"];
    home.run(words).exits(2).says("not a regular file");
}

#[test]
fn values_that_are_not_text_are_refused_without_a_panic() {
    let home = Home::new();
    let bad = OsStr::from_bytes(b"\xff\xfe");
    for option in [
        "--timeout",
        "--memory",
        "--agent",
        "--idempotency-key",
        "--language",
    ] {
        let words = [
            OsStr::new("run"),
            OsStr::new(option),
            bad,
            OsStr::new("a.py"),
        ];
        home.run(words).exits(2);
    }
    let env = OsStr::from_bytes(b"\xff=1");
    let words = [
        OsStr::new("run"),
        OsStr::new("--env"),
        env,
        OsStr::new("--"),
        OsStr::new("true"),
    ];
    home.run(words).exits(2).says("in UTF-8");
    home.run([OsStr::new("run"), bad]).exits(2).says("language");
    assert!(home.is_untouched());
}

/// The state directory is where the environment says, and nowhere else.
#[test]
fn without_a_place_for_the_state_nothing_happens() {
    for_everybody(|home| {
        let ran = home
            .casemate(["run", "--", "true"])
            .env_remove("CASEMATE_STATE_DIR")
            .output()
            .unwrap();
        assert_eq!(ran.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&ran.stderr).contains("hint: set CASEMATE_STATE_DIR"));
        let ran = home
            .casemate(["run", "--", "true"])
            .env_remove("CASEMATE_STATE_DIR")
            .env("HOME", home.path("h"))
            .output()
            .unwrap();
        assert_eq!(ran.status.code(), Some(0), "{ran:?}");
        assert!(home.path("h/.local/state/casemate/ledger/log").exists());
    });
}

#[test]
fn help_explains_the_exit_codes() {
    let home = Home::new();
    for words in [&["--help"][..], &["run", "--help"]] {
        let help = home.run(words).exits(0).stdout();
        for code in [
            "120 ", "121 ", "122 ", "123 ", "124 ", "125 ", "126 ", "127 ",
        ] {
            assert!(help.contains(&format!("\n  {code}")), "{code} in {help}");
        }
    }
    home.run(["--version"]).exits(0);
    assert!(home.is_untouched());
}
