//! API keys, and what is none.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::PathBuf,
};

use casemate_callers::{
    API_KEY_PREFIX, ApiKeys, Authenticator, EXPIRED_KEPT_MS, KeptError, MAX_API_KEY_TTL_MS,
    MAX_API_KEYS, MAX_TENANT_API_KEYS, NewApiKey, Permission, RefusalCode as Code, Role,
};
use casemate_files::FileError;
use tempfile::TempDir;

use crate::support::{AUDIENCE, NOW, refused, set};

const DAY_MS: u64 = 86_400_000;

fn new(subject: &str) -> NewApiKey {
    NewApiKey {
        subject: subject.to_owned(),
        tenant: "acme".to_owned(),
        scopes: set(&["calls:run"]),
        roles: [Role::Operator].into(),
        ttl_ms: DAY_MS,
    }
}

struct Store {
    dir: TempDir,
    keys: ApiKeys,
}

impl Store {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let keys = ApiKeys::open(&dir.path().join("keys.jsonl"), AUDIENCE).unwrap();
        Self { dir, keys }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("keys.jsonl")
    }
}

/// Who holds a key is what was said when it was made.
#[test]
fn a_key_says_who_holds_it() {
    let store = Store::new();
    let (key, text) = store.keys.create(&new("ci"), NOW).unwrap();
    let caller = store.keys.verify(&text, NOW).unwrap();
    assert_eq!(caller.subject(), "ci");
    assert_eq!((caller.tenant(), caller.audience()), ("acme", AUDIENCE));
    assert_eq!(*caller.scopes(), set(&["calls:run"]));
    assert_eq!(caller.authority(), Authenticator::ApiKey);
    assert_eq!(caller.credential(), key.id);
    assert_eq!(caller.expires_at_ms(), NOW + DAY_MS);
    assert!(caller.may(Permission::RunCalls) && !caller.may(Permission::ManageCallers));
    assert_eq!(store.keys.list().unwrap(), [key]);
}

/// The file holds nothing by which anybody could call.
#[test]
fn only_a_digest_is_kept() {
    let store = Store::new();
    let (key, text) = store.keys.create(&new("ci"), NOW).unwrap();
    assert_eq!(text.len(), 92);
    let rest = text.strip_prefix(API_KEY_PREFIX).unwrap();
    let (id, secret) = rest.split_once('_').unwrap();
    assert_eq!(id, key.id);
    let content = fs::read_to_string(store.path()).unwrap();
    for start in 0..=secret.len() - 8 {
        assert!(!content.contains(&secret[start..start + 8]), "{start}");
    }
    assert!(!format!("{store:?}{key:?}", store = store.keys).contains(&secret[..64]));
    let mode = fs::metadata(store.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let (_, other) = store.keys.create(&new("ci"), NOW).unwrap();
    assert_ne!(*other, *text);
}

/// R95: a key that was taken back counts no more, also where another process took it back.
#[test]
fn a_revocation_counts_at_once_and_everywhere() {
    let store = Store::new();
    let elsewhere = ApiKeys::open(&store.path(), AUDIENCE).unwrap();
    let mut texts = Vec::new();
    for n in 0..20 {
        let (key, text) = elsewhere.create(&new(&format!("s{n}")), NOW).unwrap();
        assert!(store.keys.verify(&text, NOW).is_ok());
        assert!(elsewhere.verify(&text, NOW).is_ok());
        texts.push((key, text));
    }
    for (key, text) in &texts {
        assert!(store.keys.verify(text, NOW).is_ok());
        elsewhere.revoke(&key.id, NOW + 1).unwrap();
        refused(store.keys.verify(text, NOW), Code::Revoked);
        refused(elsewhere.verify(text, NOW), Code::Revoked);
        elsewhere.revoke(&key.id, NOW + 2).unwrap();
    }
    assert!(
        store
            .keys
            .list()
            .unwrap()
            .iter()
            .all(|key| key.revoked_ms == Some(NOW + 1))
    );
    refused(store.keys.revoke("0000000000000000", NOW), Code::UnknownKey);
}

/// R95: the same from a process that shares nothing with this one but the file.
#[test]
fn a_revocation_by_another_program_counts_at_once() {
    let store = Store::new();
    let (_, text) = store.keys.create(&new("ci"), NOW).unwrap();
    assert!(store.keys.verify(&text, NOW).is_ok());
    let script = r#"sed 's/"expires_ms":\([0-9]*\)/"expires_ms":\1,"revoked_ms":1/' "$1" > "$1.x"
        chmod 600 "$1.x" && mv "$1.x" "$1""#;
    let done = std::process::Command::new("sh")
        .args(["-c", script, "sh"])
        .arg(store.path())
        .status()
        .unwrap();
    assert!(done.success());
    refused(store.keys.verify(&text, NOW), Code::Revoked);
}

#[test]
fn a_key_ends() {
    let store = Store::new();
    let (_, text) = store.keys.create(&new("ci"), NOW).unwrap();
    assert!(store.keys.verify(&text, NOW + DAY_MS - 1).is_ok());
    for late in [DAY_MS, DAY_MS + 1, 1_000 * DAY_MS] {
        refused(store.keys.verify(&text, NOW + late), Code::Expired);
    }
    for ttl_ms in [0, MAX_API_KEY_TTL_MS + 1, u64::MAX] {
        let endless = NewApiKey {
            ttl_ms,
            ..new("ci")
        };
        refused(store.keys.create(&endless, NOW), Code::InvalidClaim);
    }
    for subject in ["", " x", "x\n", &"x".repeat(300)] {
        refused(store.keys.create(&new(subject), NOW), Code::InvalidClaim);
    }
}

/// What was mistyped, cut off or made up is told from what is unknown, and none of it is believed.
#[test]
fn what_is_no_key_is_refused() {
    let store = Store::new();
    let (key, text) = store.keys.create(&new("ci"), NOW).unwrap();
    let other = Store::new();
    let (_, strange) = other.keys.create(&new("ci"), NOW).unwrap();
    refused(store.keys.verify(&strange, NOW), Code::UnknownKey);
    // Each digit counts, and the checksum tells.
    for at in API_KEY_PREFIX.len()..text.len() {
        let digit = if &text[at..=at] == "0" { "1" } else { "0" };
        let changed = format!("{}{digit}{}", &text[..at], &text[at + 1..]);
        let refusal = store.keys.verify(&changed, NOW).unwrap_err();
        assert!(
            matches!(refusal.code(), Code::Mistyped | Code::Malformed),
            "{changed}"
        );
    }
    let bad = [
        String::new(),
        API_KEY_PREFIX.to_owned(),
        key.id.clone(),
        text.to_uppercase(),
        format!("{} ", *text),
        format!("\n{}", *text),
        text[..text.len() - 1].to_owned(),
        text.replace("cm_", "CM_"),
        text.replacen('_', "-", 2),
        "é".repeat(46),
        "c".repeat(10 << 20),
    ];
    for text in bad {
        refused(store.keys.verify(&text, NOW), Code::Malformed);
    }
}

/// The right secret under another id, with a checksum that fits, is unknown.
#[test]
fn a_secret_belongs_to_its_id() {
    use casemate_model::Digest;
    let store = Store::new();
    let (_, one) = store.keys.create(&new("one"), NOW).unwrap();
    let (two, _) = store.keys.create(&new("two"), NOW).unwrap();
    let secret = &one[20..84];
    let bytes: Vec<u8> = (0..32)
        .map(|n| u8::from_str_radix(&secret[2 * n..2 * n + 2], 16).unwrap())
        .collect();
    let with_sum = |id: &str| {
        let sum = Digest::of(&[id.as_bytes(), b"_", &bytes].concat()).to_string();
        format!("cm_{id}_{secret}{}", &sum[7..15])
    };
    assert_eq!(with_sum(&one[3..19]), **one);
    refused(store.keys.verify(&with_sum(&two.id), NOW), Code::UnknownKey);
}

/// I1: a file that cannot be read lets nobody in, also who was let in a moment ago.
#[test]
fn a_file_that_cannot_be_read_lets_nobody_in() {
    let store = Store::new();
    let (_, text) = store.keys.create(&new("ci"), NOW).unwrap();
    let good = fs::read_to_string(store.path()).unwrap();
    let line = good.trim_end();
    let bad = [
        line.to_owned(),
        good[..good.len() / 2].to_owned(),
        format!("{good}{good}"),
        format!("{good}\n"),
        format!("{good}garbage\n"),
        good.replace(
            "\"tenant\":\"acme\"",
            "\"tenant\":\"acme\",\"tenant\":\"evil\"",
        ),
        good.replace("\"acme\"", "\"\""),
        good.replace("\"operator\"", "\"root\""),
        good.replace("\"created_ms\":1", "\"created_ms\":0"),
        good.replace("sha256:", "sha1:"),
        good.replace('}', ",\"extra\":1}"),
        good.repeat(MAX_API_KEYS + 1),
    ];
    for content in bad {
        fs::write(store.path(), &content).unwrap();
        let refusal = store.keys.verify(&text, NOW).unwrap_err();
        assert_eq!(refusal.code(), Code::Store, "{content:.300}");
        refused(store.keys.list(), Code::Store);
        refused(store.keys.create(&new("x"), NOW), Code::Store);
        assert_eq!(fs::read_to_string(store.path()).unwrap(), content);
        assert!(ApiKeys::open(&store.path(), AUDIENCE).is_err());
        fs::write(store.path(), &good).unwrap();
        assert!(store.keys.verify(&text, NOW).is_ok());
    }
    for mode in [0o644, 0o660, 0o604] {
        fs::set_permissions(store.path(), fs::Permissions::from_mode(mode)).unwrap();
        refused(store.keys.verify(&text, NOW), Code::Store);
        let opened = ApiKeys::open(&store.path(), AUDIENCE);
        assert!(
            matches!(
                opened,
                Err(KeptError::File(
                    FileError::OpenToOthers { .. } | FileError::WritableByOthers { .. }
                ))
            ),
            "{opened:?}"
        );
    }
    fs::set_permissions(store.path(), fs::Permissions::from_mode(0o600)).unwrap();
    assert!(store.keys.verify(&text, NOW).is_ok());
    // No keys are no reason to let anybody in, and a lost file is no empty one.
    fs::write(store.path(), "").unwrap();
    refused(store.keys.verify(&text, NOW), Code::UnknownKey);
    let aside = store.dir.path().join("aside");
    fs::write(&aside, &good).unwrap();
    fs::remove_file(store.path()).unwrap();
    refused(store.keys.verify(&text, NOW), Code::Store);
    symlink(&aside, store.path()).unwrap();
    refused(store.keys.verify(&text, NOW), Code::Store);
    fs::remove_file(store.path()).unwrap();
    fs::create_dir(store.path()).unwrap();
    refused(store.keys.verify(&text, NOW), Code::Store);
}

/// In a directory of everybody's, everybody could exchange the file.
#[test]
fn a_directory_of_others_is_no_place_for_keys() {
    let dir = tempfile::tempdir().unwrap();
    for mode in [0o777, 0o1777, 0o770] {
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(mode)).unwrap();
        let opened = ApiKeys::open(&dir.path().join("keys"), AUDIENCE);
        assert!(
            matches!(
                opened,
                Err(KeptError::File(
                    FileError::OpenToOthers { .. } | FileError::WritableByOthers { .. }
                ))
            ),
            "{opened:?}"
        );
    }
    assert!(ApiKeys::open(&dir.path().join("none/keys"), AUDIENCE).is_err());
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    assert!(ApiKeys::open(&dir.path().join("keys"), AUDIENCE).is_ok());
}

/// I15: there is an end to them, and what ended long ago makes room.
#[test]
fn keys_are_bounded() {
    let store = Store::new();
    let (key, _) = store.keys.create(&new("ci"), NOW).unwrap();
    let line = fs::read_to_string(store.path()).unwrap();
    let lines: String = (0..MAX_API_KEYS)
        .map(|n| line.replace(&key.id, &format!("{n:016x}")))
        .collect();
    fs::write(store.path(), lines).unwrap();
    assert_eq!(store.keys.list().unwrap().len(), MAX_API_KEYS);
    refused(store.keys.create(&new("one more"), NOW), Code::Store);
    let later = NOW + DAY_MS + EXPIRED_KEPT_MS;
    refused(store.keys.create(&new("one more"), later - 1), Code::Store);
    store.keys.create(&new("one more"), later).unwrap();
    assert_eq!(store.keys.list().unwrap().len(), 1);
}

/// I15: a tenant that makes as many keys as it may keeps out nobody but itself.
#[test]
fn a_tenant_does_not_use_up_the_keys_of_others() {
    let store = Store::new();
    let (key, _) = store.keys.create(&new("ci"), NOW).unwrap();
    let line = fs::read_to_string(store.path()).unwrap();
    let lines: String = (0..MAX_TENANT_API_KEYS)
        .map(|n| line.replace(&key.id, &format!("{n:016x}")))
        .collect();
    fs::write(store.path(), lines).unwrap();
    refused(store.keys.create(&new("one more"), NOW), Code::Quota);
    assert_eq!(store.keys.list().unwrap().len(), MAX_TENANT_API_KEYS);
    let other = NewApiKey {
        tenant: "other".to_owned(),
        ..new("theirs")
    };
    store.keys.create(&other, NOW).unwrap();
    assert_eq!(store.keys.list().unwrap().len(), MAX_TENANT_API_KEYS + 1);
}

/// Writers wait for each other: no key is lost, and no reader sees half a file.
#[test]
fn many_writers_lose_nothing() {
    let store = Store::new();
    let (_, text) = store.keys.create(&new("first"), NOW).unwrap();
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let path = store.path();
            scope.spawn(move || {
                let keys = ApiKeys::open(&path, AUDIENCE).unwrap();
                for n in 0..10 {
                    keys.create(&new(&format!("w{writer}-{n}")), NOW).unwrap();
                }
            });
        }
        scope.spawn(|| {
            for _ in 0..200 {
                assert!(store.keys.verify(&text, NOW).is_ok());
            }
        });
    });
    assert_eq!(store.keys.list().unwrap().len(), 41);
}
