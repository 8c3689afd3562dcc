//! `casemate backup` and `casemate restore`: what was durable is there again, and what was changed is not put back.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{
    home::Home,
    keeper::until,
    server::{Server, call},
};

fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap().flatten() {
        match entry.file_type().unwrap().is_dir() {
            true => found.extend(files_below(&entry.path())),
            false => found.push(entry.path()),
        }
    }
    found
}

fn restore(home: &Home, into: &str, words: &[&str]) -> crate::home::Ran {
    let mut command = home.casemate(["restore"].iter().chain(words));
    command.env("CASEMATE_STATE_DIR", home.path(into));
    crate::home::Ran(command.output().unwrap())
}

/// A backup that is made while calls run is whole: every acknowledged call of before is in it under its key, the log verifies,
/// nobody else can read it, and a server goes on from it.
#[test]
fn a_server_goes_on_from_a_backup_that_was_made_while_it_ran() {
    let home = Home::new();
    let mut server = Server::first(&home);
    let key = server.key.clone();
    let (stop, done) = (AtomicBool::new(false), AtomicUsize::new(0));
    // Without a thread: what was in a session is gone with its keeper, which the first call would be told.
    let mut first = call("t", "first", "echo first");
    first.as_object_mut().unwrap().remove("thread");
    let (status, before) = server.json("POST", "/v1/calls", &first);
    assert_eq!(status, 200, "{before}");
    thread::scope(|scope| {
        let (server, stop, done) = (&server, &stop, &done);
        scope.spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let number = done.load(Ordering::Relaxed);
                let call = call("t", &format!("k{number}"), "true");
                if server
                    .ask("POST", "/v1/calls", Some(&server.key), &call)
                    .is_some()
                {
                    done.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        let made = home.casemate(["backup", "copy", "--json"]).output();
        let at_once = done.load(Ordering::Relaxed);
        until("calls go on", || done.load(Ordering::Relaxed) > at_once);
        stop.store(true, Ordering::Relaxed);
        let made = crate::home::Ran(made.unwrap());
        let said = made.exits(0).json();
        assert!(said["files"].as_u64().unwrap() > 5, "{said}");
        assert!(said["ledger"]["records"].as_u64().unwrap() >= 2, "{said}");
    });
    for file in files_below(&home.path("copy")) {
        assert_eq!(
            fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o600,
            "{file:?}"
        );
    }
    assert_eq!(
        fs::metadata(home.path("copy"))
            .unwrap()
            .permissions()
            .mode()
            & 0o777,
        0o700
    );
    assert!(!home.path("copy/state/run").exists());
    // Not into a directory that is used, nor over a backup.
    restore(&home, "state", &["copy"])
        .exits(2)
        .says("not empty");
    home.run(["backup", "copy"]).exits(2).says("not empty");
    home.run(["backup", "state/inside"])
        .exits(2)
        .says("elsewhere");
    server.end(Signal::TERM);

    restore(&home, "state", &["copy", "--check"]).exits(0);
    restore(&home, "again", &["copy"]).exits(0);
    fs::rename(home.path("state"), home.path("old")).unwrap();
    fs::rename(home.path("again"), home.path("state")).unwrap();
    home.run(["audit", "verify"]).exits(0);
    let next = Server::again(&home, &key, &[]);
    let (status, said) = next.json("POST", "/v1/calls", &first);
    assert_eq!(status, 200, "{said}");
    assert_eq!(said["replay_of"], before["decision"], "{said}");
    assert_eq!(said["stdout"], "first\n");
    drop(next);
    home.run(["audit", "verify"]).exits(0);
    let tail = home
        .run(["audit", "tail", "-n", "100", "--json"])
        .exits(0)
        .stdout();
    assert!(
        tail.contains("state.restore") && tail.contains("state.backup"),
        "{tail}"
    );
}

/// What was changed since, in any byte, is refused, and nothing is left of the attempt.
#[test]
fn what_was_changed_is_not_put_back() {
    let home = Home::new();
    home.run(["run", "--idempotency-key", "k", "--", "echo", "x"])
        .exits(0);
    home.run(["backup", "copy"]).exits(0);
    restore(&home, "new", &["nothing"])
        .exits(1)
        .says("no whole backup");
    let manifest = fs::read(home.path("copy/backup.json")).unwrap();
    let named: Value = serde_json::from_slice(&manifest).unwrap();
    let names = named["files"].as_array().unwrap();
    assert!(
        names
            .iter()
            .any(|one| one["path"] == "agents/local/agent.db"),
        "{named}"
    );
    for entry in names {
        let path = home
            .path("copy/state")
            .join(entry["path"].as_str().unwrap());
        let whole = fs::read(&path).unwrap();
        let mut changed = whole.clone();
        match changed.first_mut() {
            Some(byte) => *byte ^= 1,
            None => changed.push(b'x'),
        }
        fs::write(&path, &changed).unwrap();
        for words in [&["copy", "--check"][..], &["copy"]] {
            restore(&home, "new", words)
                .exits(1)
                .says("not as it was copied");
        }
        fs::write(&path, whole).unwrap();
    }
    // One that says so itself: the log is signed.
    let log = home.path("copy/state/ledger/log");
    let whole = fs::read(&log).unwrap();
    fs::write(&log, &whole[..whole.len() / 2]).unwrap();
    let mut lies = named.clone();
    let digest = casemate_model::Digest::of(&whole[..whole.len() / 2]).to_string();
    for entry in lies["files"].as_array_mut().unwrap() {
        if entry["path"] == "ledger/log" {
            entry["sha256"] = json!(digest);
            entry["bytes"] = json!(whole.len() / 2);
        }
    }
    fs::write(home.path("copy/backup.json"), lies.to_string()).unwrap();
    restore(&home, "new", &["copy"])
        .exits(1)
        .says("does not verify");
    fs::write(&log, whole).unwrap();
    // And one that would write elsewhere.
    let mut lies = named.clone();
    lies["files"][0]["path"] = json!("../outside");
    fs::write(home.path("copy/backup.json"), lies.to_string()).unwrap();
    restore(&home, "new", &["copy"]).exits(1).says("elsewhere");
    assert!(!home.path("outside").exists() && !home.path("new.restoring").exists());
    assert!(!home.path("new").exists());
    fs::write(home.path("copy/backup.json"), manifest).unwrap();
    restore(&home, "new", &["copy"]).exits(0);
}

/// A copy that is put back beside its server has no call of that server: it is unknown there, and runs on where it runs.
#[test]
fn a_copy_beside_its_server_leaves_its_calls_alone() {
    let home = Home::new();
    let mut server = Server::first(&home);
    thread::scope(|scope| {
        scope.spawn(|| {
            let long = call("t", "k", "sleep 600");
            server.ask("POST", "/v1/calls", Some(&server.key), &long)
        });
        let open = || {
            let log = home.log();
            let allowed = log
                .iter()
                .find(|record| record["summary"]["tool"] == "shell");
            allowed.map(|record| record["decision"].clone())
        };
        until("it runs", || open().is_some());
        let decision = open().unwrap();
        home.run(["backup", "copy"]).exits(0);
        restore(&home, "beside", &["copy"]).exits(0);
        let beside = |words: &[&str]| {
            let mut command = home.casemate(words);
            command.env("CASEMATE_STATE_DIR", home.path("beside"));
            crate::home::Ran(command.output().unwrap())
        };
        let shown = beside(&["audit", "show", decision.as_str().unwrap(), "--json"]);
        let shown = shown.exits(0).json();
        assert_eq!(
            shown[1]["record"]["summary"]["status"], "unknown",
            "{shown}"
        );
        let agents = beside(&["agent", "list"]).exits(0).stdout();
        let agent = agents.lines().next().unwrap();
        beside(&["agent", "delete", agent, "--yes", "--force"]).exits(0);
        assert!(server.is_ready());
        let outcome =
            |record: &Value| record["kind"] == "outcome" && record["decision"] == decision;
        assert!(!home.log().iter().any(outcome));
        // That is what lets the other thread go.
        rustix::process::kill_process(server.pid(), Signal::TERM).unwrap();
    });
    server.end(Signal::TERM);
}

/// Onto another file system nothing is copied, keys least of all: it could not be renamed.
#[test]
fn nothing_is_put_back_onto_a_mount() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let home = Home::new();
    home.run(["run", "--", "true"]).exits(0);
    home.run(["backup", "copy"]).exits(0);
    fs::create_dir(home.path("mount")).unwrap();
    std::os::unix::fs::symlink(home.path("mount"), home.path("link")).unwrap();
    for (place, code) in [("mount", 2), ("link", 2), ("mount/inside", 0)] {
        let casemate = home.casemate(["restore", "copy"]);
        let mounted = "mount -t tmpfs none mount && exec \"$@\"";
        let ran = std::process::Command::new("unshare")
            .args(["--mount", "sh", "-c", mounted, "-"])
            .arg(casemate.get_program())
            .args(casemate.get_args())
            .current_dir(home.path(""))
            .env("CASEMATE_STATE_DIR", home.path(place))
            .output()
            .unwrap();
        let ran = crate::home::Ran(ran);
        ran.exits(code);
        if code != 0 {
            ran.says("file system of its own").says("a directory in it");
        }
        assert!(!home.path(place).with_added_extension("restoring").exists());
    }
    // A link to an empty directory is followed.
    restore(&home, "link", &["copy"]).exits(0);
    assert!(home.path("mount/keys").exists() && home.path("link").is_symlink());
}

/// A copy that cannot be made leaves no key behind, and nothing that is in the way of the next.
#[test]
fn a_backup_that_fails_leaves_nothing() {
    let home = Home::new();
    home.run(["run", "--", "true"]).exits(0);
    let strange = home.path("state/strange");
    for empty in [false, true] {
        std::os::unix::fs::symlink("elsewhere", &strange).unwrap();
        if empty {
            fs::create_dir(home.path("copy")).unwrap();
        }
        home.run(["backup", "copy"])
            .exits(123)
            .says("neither a file nor a directory");
        assert_eq!(home.path("copy").exists(), empty);
        assert!(!empty || files_below(&home.path("copy")).is_empty());
        fs::remove_file(&strange).unwrap();
        home.run(["backup", "copy"]).exits(0);
        fs::remove_dir_all(home.path("copy")).unwrap();
    }
}
