//! Bundles that are not brought into force, and stores that were changed: the old one decides, or nothing does.

use std::{fs, path::Path};

use super::{NO_SHELL, Sketch, activate, activations, break_in, in_force, policy, shell, trial};
use crate::home::{Home, Ran};

/// What becomes of a file, or nothing if it goes.
type Damage<'d> = &'d dyn Fn(&[u8]) -> Option<Vec<u8>>;

/// Not activated, whatever is said about it: the old bundle decides.
#[track_caller]
fn assert_kept(home: &Home, ran: &Ran, code: i32, says: &str) {
    ran.exits(code).says(says);
    assert_eq!(in_force(home), Some(1), "{says}");
    home.run(["audit", "verify"]).exits(0);
}

/// R150, I13: each of these is refused with what is wrong with it, and the old bundle stays in force.
#[test]
fn a_bad_bundle_leaves_the_old_one_in_force() {
    const NO_SOLVER: [&str; 2] = ["--solver", "/nonexistent"];
    let home = Home::new();
    break_in(&home, &Sketch::wide(1).write(&home, "old"));
    let manifest = "name = \"shell\"\nversion = \"1\"\nnonsense = 1\n";
    let unknown_route = trial("allow", "allowed").replace("\"work\"", "\"elsewhere\"");
    let permit = "permit (principal, action, resource);\n";
    let ill_typed = NO_SHELL.replace(");", ") when { context.nonsense };");
    let next = || Sketch::narrow(2);
    let bad = [
        (
            next().with("tests/work.toml", trial("deny", "missing_scope")),
            120,
            "tests fail",
        ),
        (next().without("tests/work.toml"), 120, "it has no tests"),
        (
            next().with("tests/work.toml", unknown_route),
            120,
            "tests fail",
        ),
        (next().with("policies/all.cedar", permit), 1, "all.cedar:1"),
        (
            next().with("policies/typed.cedar", ill_typed),
            1,
            "nonsense",
        ),
        (
            next().with("policies/broken.cedar", "forbid (principal"),
            1,
            "broken.cedar",
        ),
        (next().with("tools/shell.toml", manifest), 1, "shell.toml"),
        (
            next().with("profiles/work.toml", "route = \"work\"\n"),
            1,
            "work.toml",
        ),
        (
            next().with("profiles/twice.json", "{\"route\":1,\"route\":2}"),
            1,
            "twice.json",
        ),
        (
            next().with("bundle.toml", "name = \"small\"\nversion = 0\n"),
            1,
            "version",
        ),
        (next().with("bundle.sig", "nobody's\n"), 120, "signature"),
        (next().with("other.txt", "?"), 1, "other.txt"),
        (
            next().with("tests/work.toml", "[[test]]\nnonsense = 1\n"),
            1,
            "work.toml",
        ),
        (Sketch::narrow(1), 120, "version"),
    ];
    for (number, (bundle, code, says)) in bad.iter().enumerate() {
        let path = bundle.write(&home, &format!("bad{number}"));
        let records = activations(&home).len();
        let ran = activate(&home, &path, &NO_SOLVER);
        assert_kept(&home, &ran, *code, says);
        let log = activations(&home);
        assert!(log.len() > records, "{says}: no record");
        let last = log.last().unwrap();
        assert_eq!(last["kind"], "denied", "{last}");
        assert_eq!(last["summary"]["reason"], "invalid_profile");
    }
    let empty = home.path("empty");
    fs::create_dir(&empty).unwrap();
    assert_kept(&home, &activate(&home, &empty, &[]), 1, "bundle.toml");
    let bare = next().without("tests/work.toml").write(&home, "bare");
    fs::remove_dir_all(bare.join("profiles")).unwrap();
    let ran = activate(&home, &bare, &NO_SOLVER);
    assert_ne!(ran.0.status.code(), Some(0), "{ran:?}");
    assert_eq!(in_force(&home), Some(1));
    shell(&home).exits(0).prints("ran\n");
}

/// I13: an older version does not come back by activation, and what was signed is what is activated.
#[test]
fn versions_go_up_and_signatures_hold() {
    const NO_SOLVER: [&str; 2] = ["--solver", "/nonexistent"];
    let home = Home::new();
    break_in(&home, &Sketch::wide(5).write(&home, "old"));
    for version in [4, 5] {
        let older = Sketch::narrow(version).write(&home, &format!("v{version}"));
        let ran = activate(&home, &older, &NO_SOLVER);
        ran.exits(120).says("version");
        assert_eq!(in_force(&home), Some(5));
    }
    let log = activations(&home);
    let last = log.last().unwrap();
    assert_eq!(last["kind"], "denied");
    assert_eq!(last["summary"]["reason"], "invalid_profile", "{last}");

    let key = ["key", "new", "p.key", "--name", "p"];
    let public = policy(&home, key).exits(0).stdout();
    let signed = Sketch::narrow(6).write(&home, "signed");
    policy(&home, ["key", "sign", "signed", "--key", "p.key"]).exits(0);
    // Nobody trusts its publisher yet.
    activate(&home, &signed, &NO_SOLVER)
        .exits(120)
        .says("signature");
    assert_eq!(in_force(&home), Some(5));
    policy(&home, ["key", "trust", "publisher", public.trim_end()]).exits(0);
    let changed = Sketch::narrow(6).with("README.md", "Changed since.\n");
    changed.write(&home, "signed");
    activate(&home, &signed, &NO_SOLVER)
        .exits(120)
        .says("signature");
    assert_eq!(in_force(&home), Some(5));
    fs::remove_file(signed.join("README.md")).unwrap();
    activate(&home, &signed, &NO_SOLVER).exits(0);
    assert_eq!(in_force(&home), Some(6));
    home.run(["audit", "verify"]).exits(0);
}

/// I1: a record of what is in force, or a bundle, that somebody changed decides nothing, and neither does another one.
#[test]
fn a_changed_store_refuses_every_call() {
    let home = Home::new();
    break_in(&home, &Sketch::wide(1).write(&home, "old"));
    let digest = break_in(&home, &Sketch::wide(2).write(&home, "new"));
    shell(&home).exits(0);
    let store = home.path("state/policy");
    let current = store.join("current");
    let profile = store
        .join("bundles")
        .join(digest.trim_start_matches("sha256:"))
        .join("profiles/work.toml");
    let older = fs::read(store.join("history/1")).unwrap();
    let damage: [(&Path, Damage<'_>); 6] = [
        (&current, &|bytes| Some(flipped(bytes))),
        (&current, &|_| Some(Vec::new())),
        (&current, &|_| None),
        (&current, &|_| Some(older.clone())),
        (&profile, &|bytes| Some([bytes, b"\n"].concat())),
        (&profile, &|_| None),
    ];
    for (number, (path, damage)) in damage.iter().enumerate() {
        let whole = fs::read(path).unwrap();
        match damage(&whole) {
            Some(bytes) => fs::write(path, bytes).unwrap(),
            None => fs::remove_file(path).unwrap(),
        }
        let ran = shell(&home);
        assert_ne!(ran.0.status.code(), Some(0), "{number}: {ran:?}");
        assert_eq!(ran.stdout(), "", "{number}: {ran:?}");
        let ran = home.run(["serve"]);
        assert_ne!(ran.0.status.code(), Some(0), "{number}: {ran:?}");
        assert!(!home.path("state/run/casemate.sock").exists(), "{number}");
        fs::write(path, &whole).unwrap();
        shell(&home).exits(0);
    }
    home.run(["audit", "verify"]).exits(0);
}

fn flipped(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    bytes
}
