//! `casemate audit`: what the log says, and how its falsification is found out.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::Stdio,
};

use serde_json::Value;

use crate::home::{Home, for_everybody};

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            let copied = to.join(entry.file_name());
            fs::copy(entry.path(), &copied).unwrap();
            fs::set_permissions(copied, fs::Permissions::from_mode(0o644)).unwrap();
        }
    }
}

#[test]
fn the_log_is_read_by_people_and_programs() {
    for_everybody(|home| {
        home.run(["run", "--", "true"]).exits(0);
        home.run(["run", "--timeout", "2h", "--", "true"])
            .exits(120);
        let tail = home.run(["audit", "tail"]).exits(0).stdout();
        let lines: Vec<_> = tail.lines().collect();
        assert_eq!(lines.len(), 3, "{tail}");
        assert!(lines[1].contains("outcome") && lines[1].contains("succeeded completed"));
        assert!(lines[2].contains("denied") && lines[2].contains("limit_exceeded"));
        let last = home.run(["audit", "tail", "-n", "1"]).exits(0).stdout();
        assert_eq!(last.trim_end(), lines[2]);
        home.run(["audit", "tail", "-n", "0"]).exits(0).prints("");

        let decision = home.log()[0]["decision"].as_str().unwrap().to_owned();
        let shown = home.run(["audit", "show", &decision]).exits(0).stdout();
        assert!(
            shown.contains("allowed") && shown.contains("outcome"),
            "{shown}"
        );
        assert!(
            shown.contains("\"argv\"") && shown.contains("\"true\""),
            "{shown}"
        );
        let json = home.run(["audit", "show", "0", "--json"]).exits(0).stdout();
        let json: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json[0]["record"]["decision"], decision);
        assert_eq!(json[0]["content"]["call"]["program"]["argv"][0], "true");
        home.run(["audit", "show", "99"]).exits(1).says("no record");
        home.run(["audit", "show", "x"]).exits(2);
    });
}

#[test]
fn without_a_log_nothing_is_made() {
    let home = Home::new();
    for words in [
        &["audit", "tail"][..],
        &["audit", "show", "0"],
        &["audit", "verify"],
    ] {
        home.run(words).exits(123).says("there is no log");
    }
    home.run(["audit", "verify", "--dir", "nowhere"]).exits(2);
    assert!(home.is_untouched());
}

/// I12: offline, with a copy and a public key.
#[test]
fn a_copy_verifies_offline_and_its_falsification_does_not() {
    for_everybody(|home| {
        for _ in 0..3 {
            home.run(["run", "--", "true"]).exits(0);
        }
        let key = home.run(["audit", "key"]).exits(0).stdout();
        let key = key.trim();
        home.run(["audit", "verify"]).exits(0);
        let ledger = home.path("state/ledger");
        copy(&ledger, &home.path("copy"));
        home.write("key.txt", format!("{key}\n"));
        for given in [key, "key.txt"] {
            let ran = home.run(["audit", "verify", "--dir", "copy", "--public-key", given]);
            assert!(ran.exits(0).stdout().contains("verified: 6 records"));
        }
        let ran = home
            .run(["audit", "verify", "--dir", "copy"])
            .exits(0)
            .stdout();
        assert!(ran.contains("say --public-key"), "{ran}");

        let genuine = fs::read(home.path("copy/log")).unwrap();
        let verify = ["audit", "verify", "--dir", "copy", "--public-key", key];
        for at in (0..genuine.len()).step_by(997) {
            let mut log = genuine.clone();
            log[at] ^= 0x20;
            fs::write(home.path("copy/log"), log).unwrap();
            home.run(verify).exits(1).says("the log does not verify");
        }
        fs::write(home.path("copy/log"), &genuine[..genuine.len() / 2]).unwrap();
        home.run(verify).exits(1).says("the log does not verify");
    });
}

/// The log of another key is not ours, whatever it says of itself.
#[test]
fn a_forged_log_does_not_verify_with_the_key_kept_elsewhere() {
    let (home, forger) = (Home::new(), Home::new());
    for home in [&home, &forger] {
        home.run(["run", "--", "true"]).exits(0);
    }
    let key = home.run(["audit", "key"]).stdout();
    copy(&forger.path("state/ledger"), &home.path("forged"));
    let ran = home.run([
        "audit",
        "verify",
        "--dir",
        "forged",
        "--public-key",
        key.trim(),
    ]);
    ran.exits(1);
    home.run(["audit", "verify", "--dir", "forged"]).exits(0);
    for bad in ["nonsense", "casemate+00000000+AAAA"] {
        home.run(["audit", "verify", "--public-key", bad])
            .exits(2)
            .says("public key");
    }
}

/// A log and its head that were both put back are found out by a checkpoint kept elsewhere.
#[test]
fn a_rollback_is_found_by_a_checkpoint() {
    let home = Home::new();
    home.run(["run", "--", "true"]).exits(0);
    copy(&home.path("state/ledger"), &home.path("old"));
    let answer = home.run(["run", "--json", "--", "true"]).exits(0).json();
    home.write(
        "checkpoint",
        answer["record"]["checkpoint"].as_str().unwrap(),
    );
    let with = ["--checkpoint", "checkpoint"];
    home.run(["audit", "verify"].iter().chain(&with)).exits(0);
    home.run(["audit", "verify", "--dir", "old"]).exits(0);
    home.run(["audit", "verify", "--dir", "old"].iter().chain(&with))
        .exits(1);
    home.write("checkpoint", "nonsense");
    home.run(["audit", "verify"].iter().chain(&with)).exits(1);
    home.run(["audit", "verify", "--checkpoint", "missing"])
        .exits(2);
}

/// I12: erasing content does not break the log.
#[test]
fn an_erased_agent_leaves_a_log_that_verifies() {
    for_everybody(|home| {
        home.run(["run", "--agent", "billing", "--", "echo", "private"])
            .exits(0);
        home.run(["run", "--", "echo", "other"]).exits(0);
        let contents = |index: &str| {
            let json = home
                .run(["audit", "show", index, "--json"])
                .exits(0)
                .stdout();
            serde_json::from_str::<Value>(&json).unwrap()[0]["content"].take()
        };
        assert_eq!(contents("0")["call"]["program"]["argv"][1], "private");
        let erased = home.run(["audit", "erase", "--agent", "billing", "--yes"]);
        assert!(erased.exits(0).stdout().contains("key_"));
        assert!(contents("0")["erased"].is_string());
        assert_eq!(contents("2")["call"]["program"]["argv"][1], "other");
        home.run(["audit", "verify"]).exits(0);
        assert_eq!(home.kinds()[4..], ["erased", "erased"]);
        home.run(["run", "--agent", "billing", "--", "echo", "again"])
            .exits(0);
        assert_eq!(contents("6")["call"]["program"]["argv"][1], "again");
    });
}

#[test]
fn new_records_are_followed_as_they_come() {
    let home = Home::new();
    home.run(["run", "--", "true"]).exits(0);
    let mut tail = home
        .casemate(["audit", "tail", "-n", "1", "--follow", "--json"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(tail.stdout.take().unwrap()).lines();
    let mut index = || {
        let line: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        line["record"]["index"].as_u64().unwrap()
    };
    assert_eq!(index(), 1);
    for round in 1..3 {
        home.run(["run", "--", "true"]).exits(0);
        assert_eq!(index(), 2 * round);
        assert_eq!(index(), 2 * round + 1);
    }
    tail.kill().unwrap();
    tail.wait().unwrap();
}

/// Many at once: one log, every call in it, and it verifies.
#[test]
fn runs_at_the_same_time_share_one_log() {
    let home = Home::new();
    let children: Vec<_> = (0..8)
        .map(|_| home.casemate(["run", "-q", "--", "true"]).spawn().unwrap())
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(home.log().len(), 16);
    let verified = home.run(["audit", "verify"]).exits(0).stdout();
    assert!(
        verified.contains("verified: 16 records\u{2c} root") || verified.contains("16 records")
    );
}
