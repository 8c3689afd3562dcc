//! Programs, their files, and what they leave.

use std::{
    ffi::{OsStr, OsString},
    fs,
    os::unix::{ffi::OsStrExt as _, fs::symlink},
};

use crate::home::{Home, for_everybody};

#[test]
fn a_script_gets_its_arguments_and_files_and_gives_back_artefacts() {
    for_everybody(|home| {
        home.write("data.csv", "a,b\n1,2\n3,4\n");
        let script = "import sys, csv, os
rows = list(csv.reader(open('/workspace/in/data.csv')))
os.makedirs('/workspace/out/deep/er')
open('/workspace/out/deep/er/sum.txt', 'w').write(str(sum(int(r[1]) for r in rows[1:])))
open('/workspace/out/args', 'w').write(repr(sys.argv))
print('done', file=sys.stderr)
sys.exit(7)";
        home.write("analysis.py", script);
        let words = [
            "run",
            "--file",
            "data.csv",
            "--out",
            "new/results",
            "analysis.py",
        ];
        let ran = home.run(words.into_iter().chain(["--json", "-q", "x y", "--"]));
        ran.exits(7)
            .prints("")
            .says("done\n")
            .says("2 artefacts in `new/results`");
        let out = home.path("new/results");
        assert_eq!(
            fs::read_to_string(out.join("deep/er/sum.txt")).unwrap(),
            "6"
        );
        assert_eq!(
            fs::read_to_string(out.join("args")).unwrap(),
            "['/workspace/in/analysis.py', '--json', '-q', 'x y', '--']"
        );
    });
}

#[test]
fn the_language_is_that_of_the_name_or_of_the_option() {
    let home = Home::new();
    home.write("a.py", "print('python')");
    home.write("a.sh", "echo shell $BASH_VERSION | cut -c 1-5");
    home.write("a.bash", "echo ${BASH_VERSION:+bash}");
    home.write("plain", "print('python')");
    home.run(["run", "a.py"]).exits(0).prints("python\n");
    home.run(["run", "a.sh"]).exits(0).prints("shell\n");
    home.run(["run", "a.bash"]).exits(0).prints("bash\n");
    home.run(["run", "--language", "python", "plain"])
        .exits(0)
        .prints("python\n");
    home.run(["run", "--language", "bash", "a.py"])
        .says("syntax error");
    home.feed(["run", "-"], b"print('python')")
        .exits(0)
        .prints("python\n");
    let bash = ["run", "--language", "bash", "-", "x"];
    home.feed(bash, b"echo $1; cat").exits(0).prints("x\n");
}

/// R30: only what is declared is in the environment.
#[test]
fn only_declared_variables_exist() {
    for_everybody(|home| {
        let ran = home.run([
            "run", "--env", "A=1", "--env", "B=x=y", "--env", "E=", "--", "env",
        ]);
        let stdout = ran.exits(0).stdout();
        let mut names: Vec<_> = stdout
            .lines()
            .map(|line| line.split_once('=').unwrap().0)
            .collect();
        names.retain(|name| !["PATH", "HOME", "USER", "LANG", "TERM", "TMPDIR"].contains(name));
        names.retain(|name| *name != "PYTHONDONTWRITEBYTECODE");
        names.sort_unstable();
        assert_eq!(names, ["A", "B", "E"]);
        assert!(stdout.contains("A=1\n") && stdout.contains("B=x=y\n") && stdout.contains("E=\n"));
        assert!(!stdout.contains("CANARY"));
    });
}

/// Names and arguments are bytes, and stay what they are.
#[test]
fn bytes_that_are_not_text_pass_unchanged() {
    for_everybody(|home| {
        let name = OsStr::from_bytes(b"d\xff\nta");
        home.write(name, "content");
        let words = [
            OsStr::new("run"),
            OsStr::new("--file"),
            name,
            OsStr::new("--out"),
            OsStr::new("out"),
            OsStr::new("--"),
            OsStr::new("bash"),
            OsStr::new("-c"),
            OsStr::new("cd /workspace/in && cp \"$1\" ../out/ && printf %s \"$2\""),
            OsStr::new("-"),
            name,
            OsStr::from_bytes(b"\x01\xfe"),
        ];
        let ran = home.run(words);
        ran.exits(0);
        assert_eq!(ran.0.stdout, b"\x01\xfe");
        assert_eq!(fs::read(home.path("out").join(name)).unwrap(), b"content");
        assert!(!ran.0.stderr.contains(&0xff), "{ran:?}");
    });
}

#[test]
fn arguments_may_be_as_long_as_a_program_can_take() {
    let home = Home::new();
    let long = "x".repeat(100_000);
    let ran = home.run(["run", "--", "printf", "%s", &long]);
    ran.exits(0).prints(&long);
    let many = vec![OsString::from("y".repeat(1_000)); 1_500];
    let words = ["run", "--", "true"]
        .into_iter()
        .map(OsString::from)
        .chain(many);
    home.run(words)
        .exits(120)
        .says("refused: invalid_call")
        .says("bytes together");
}

/// Inputs are copies, and read-only.
#[test]
fn inputs_cannot_be_changed() {
    for_everybody(|home| {
        let input = home.write("data", "original");
        let words = ["run", "--file", "data", "--", "sh", "-c"];
        let script =
            "echo changed > /workspace/in/data; rm -f /workspace/in/data; cat /workspace/in/data";
        let ran = home.run(words.into_iter().chain([script]));
        ran.prints("original");
        assert_eq!(fs::read_to_string(input).unwrap(), "original");
    });
}

/// Nothing but regular files comes back, and nothing is written outside of the directory.
#[test]
fn hostile_artefacts_stay_behind() {
    for_everybody(|home| {
        fs::create_dir(home.path("out")).unwrap();
        fs::create_dir(home.path("outside")).unwrap();
        symlink(home.path("outside"), home.path("out/trap")).unwrap();
        home.give("out");
        home.give("outside");
        let script = "cd /workspace/out
mkdir trap; echo evil > trap/file; echo fine > fine
ln -s /etc/passwd link; mkfifo pipe; ln /workspace/in/data hard 2>/dev/null; true";
        let ran = home.run(["run", "--out", "out", "--", "sh", "-c", script]);
        ran.exits(0)
            .says("not given back: `link`")
            .says("not given back: `pipe`");
        ran.says("not given back: `trap/file`");
        assert_eq!(fs::read_dir(home.path("outside")).unwrap().count(), 0);
        assert_eq!(fs::read_to_string(home.path("out/fine")).unwrap(), "fine\n");
        assert!(!home.path("out/link").exists());
    });
}

#[test]
fn artefacts_without_a_place_to_go_are_mentioned() {
    let home = Home::new();
    let ran = home.run(["run", "--", "sh", "-c", "echo x > /workspace/out/x"]);
    ran.exits(0)
        .says("1 artefact in /workspace/out went with the sandbox")
        .says("--out DIR");
    let quiet = home.run([
        "run",
        "--quiet",
        "--",
        "sh",
        "-c",
        "echo x > /workspace/out/x",
    ]);
    assert_eq!(quiet.exits(0).stderr(), "");
}

/// A directory that cannot be used is found out before the program runs.
#[test]
fn a_place_for_artefacts_that_is_none_runs_nothing() {
    let home = Home::new();
    home.write("file", "");
    for out in ["file", "file/below"] {
        let words = ["run", "--out", out, "--", "sh", "-c", "echo ran"];
        home.run(words).exits(2).prints("").says("cannot use");
    }
    assert!(
        home.path("state/ledger/log")
            .metadata()
            .is_ok_and(|log| log.len() < 100)
    );
}
