//! Credentials at rest.

use std::{fs, os::unix::fs::PermissionsExt as _, sync::Barrier, thread};

use casemate_identity::{By, Kind, KindError, State, StoreError};

use crate::world::{MINUTE_MS, START_MS, World, handle, oauth_client, secret, secrets, store_in};

const TEXT: &str = "canary-of-the-store-7d1f";

/// Everything in the state directory, in one text.
fn everything(world: &World) -> Vec<u8> {
    let mut all = Vec::new();
    let mut open = vec![world.dir.path().to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).unwrap().flatten() {
            if entry.file_type().unwrap().is_dir() {
                open.push(entry.path());
            } else {
                all.extend(fs::read(entry.path()).unwrap());
            }
        }
    }
    all
}

fn holds(all: &[u8], text: &str) -> bool {
    all.windows(text.len()).any(|part| part == text.as_bytes())
}

/// R73, I2: what was added comes back in another process, and no file shows it.
#[test]
fn a_secret_is_kept_and_not_readable() {
    let world = World::new();
    let added = world.add("cred:orders", Kind::Bearer {}, TEXT);
    assert_eq!((added.version, added.state), (1, State::Active));
    let read = world.store().read(&handle("orders")).unwrap();
    assert_eq!(read.secrets.main.expose(), TEXT);
    assert_eq!(world.store().list().unwrap(), [added]);
    assert!(!holds(&everything(&world), TEXT));
    // It is only readable with the provider's key.
    fs::write(world.dir.path().join("keys/provider.key"), [7; 32]).unwrap();
    assert!(matches!(
        world.store().read(&handle("orders")),
        Err(StoreError::Record { .. })
    ));
}

/// I1: whatever is changed of a record, or wherever it is moved, there is no secret.
#[test]
fn a_record_that_was_changed_or_moved_has_no_secret() {
    let world = World::new();
    world.add(
        "cred:orders",
        Kind::Header {
            name: "x-key".into(),
        },
        TEXT,
    );
    world.add("cred:other", Kind::Bearer {}, "another-secret");
    let (path, other) = (
        world.path().join("orders.json"),
        world.path().join("other.json"),
    );
    let genuine = fs::read_to_string(&path).unwrap();
    let foreign = fs::read_to_string(&other).unwrap();
    let sealed = |text: &str| {
        text.split("\"sealed\": \"")
            .nth(1)
            .unwrap()
            .split('"')
            .next()
            .unwrap()
            .to_owned()
    };
    for changed in [
        genuine.replace("x-key", "x-kez"),
        genuine.replace("\"version\": 1", "\"version\": 2"),
        genuine.replace("cred:orders", "cred:other"),
        genuine.replace("\"reflected\": false", "\"reflected\": true"),
        genuine.replace(&sealed(&genuine), &sealed(&foreign)),
        genuine.replace(&sealed(&genuine)[..4], "AAAA"),
        genuine[..genuine.len() / 2].to_owned(),
        genuine.replace("\"format\": 1", "\"format\": 2"),
        foreign,
        String::new(),
    ] {
        assert_ne!(changed, genuine);
        fs::write(&path, &changed).unwrap();
        let read = world.store().read(&handle("orders"));
        assert!(matches!(read, Err(StoreError::Record { .. })), "{changed}");
    }
    fs::write(&path, &genuine).unwrap();
    world.store().read(&handle("orders")).unwrap();
}

/// What others could read or have put there is not used (case I18 of the corpus).
#[test]
fn what_others_have_access_to_is_refused() {
    let world = World::new();
    world.add("cred:orders", Kind::Bearer {}, TEXT);
    let path = world.path().join("orders.json");
    let mode = |path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    mode(&path, 0o640);
    assert!(matches!(
        world.store().read(&handle("orders")),
        Err(StoreError::File(_))
    ));
    mode(&path, 0o600);
    let aside = world.dir.path().join("aside.json");
    fs::rename(&path, &aside).unwrap();
    std::os::unix::fs::symlink(&aside, &path).unwrap();
    assert!(matches!(
        world.store().read(&handle("orders")),
        Err(StoreError::File(_))
    ));
    fs::remove_file(&path).unwrap();
    fs::rename(&aside, &path).unwrap();
    world.store().read(&handle("orders")).unwrap();
    mode(&world.path(), 0o755);
    let state = casemate_store::StateDir::open(world.dir.path()).unwrap();
    let provider = casemate_store::FileProvider::open(&state).unwrap();
    let opened = casemate_identity::Store::open(&world.path(), Box::new(provider));
    assert!(matches!(opened, Err(StoreError::File(_))));
}

/// Of many who change a credential at once one wins, and the others have written nothing.
#[test]
fn of_many_who_renew_at_once_one_wins() {
    const MANY: usize = 16;
    let world = World::new();
    let seen = world.add("cred:orders", Kind::Bearer {}, TEXT);
    let start = Barrier::new(MANY);
    let won: Vec<_> = thread::scope(|scope| {
        let racing: Vec<_> = (0..MANY)
            .map(|nth| {
                let (root, start, seen) = (world.dir.path(), &start, &seen);
                scope.spawn(move || {
                    let store = store_in(root);
                    start.wait();
                    store
                        .renew(
                            seen,
                            &secrets(&format!("renewed-by-{nth:04}")),
                            By::Person,
                            START_MS,
                        )
                        .map(|_| nth)
                })
            })
            .collect();
        racing
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    let winners: Vec<_> = won.iter().flatten().collect();
    let [winner] = winners.as_slice() else {
        panic!("{won:?}")
    };
    assert!(
        won.iter()
            .filter_map(|won| won.as_ref().err())
            .all(|error| matches!(error, StoreError::Stale { found: 2, .. }))
    );
    let read = world.store().read(&handle("orders")).unwrap();
    assert_eq!(
        read.secrets.main.expose(),
        format!("renewed-by-{winner:04}")
    );
    assert_eq!(read.header.version, 2);
}

/// R95: what was revoked is destroyed, stays revoked, and only a new secret makes it one again; its version never goes back.
#[test]
fn what_was_revoked_is_gone() {
    let world = World::new();
    let seen = world.add("cred:orders", Kind::Bearer {}, TEXT);
    let store = world.store();
    let revoked = store.revoke(&handle("orders")).unwrap();
    assert_eq!((revoked.version, revoked.state), (2, State::Revoked));
    assert!(
        !fs::read_to_string(world.path().join("orders.json"))
            .unwrap()
            .contains("sealed")
    );
    assert!(matches!(
        store.read(&handle("orders")),
        Err(StoreError::Revoked(_))
    ));
    for renewed in [
        store.renew(&seen, &secrets(TEXT), By::Person, 0),
        store.renew(&revoked, &secrets(TEXT), By::Person, 0),
    ] {
        assert!(matches!(renewed, Err(StoreError::Revoked(_))));
    }
    assert!(matches!(
        store.quarantine(&seen),
        Err(StoreError::Revoked(_))
    ));
    assert!(matches!(
        store.revoke(&handle("absent")),
        Err(StoreError::Absent(_))
    ));
    // Whoever edits the file to say that it is active has no secret.
    let path = world.path().join("orders.json");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("revoked", "active")).unwrap();
    assert!(matches!(
        store.read(&handle("orders")),
        Err(StoreError::Revoked(_))
    ));
    fs::write(&path, text).unwrap();
    let again = world.add("cred:orders", Kind::Bearer {}, "a-new-secret");
    assert_eq!((again.version, again.state), (3, State::Active));
}

#[test]
fn what_is_there_is_not_replaced_and_what_is_wrong_is_not_kept() {
    let world = World::new();
    world.add("cred:orders", Kind::Bearer {}, TEXT);
    let store = world.store();
    let again = store.add(
        handle("orders"),
        Kind::Bearer {},
        &secrets("another-one"),
        0,
    );
    assert!(matches!(again, Err(StoreError::Exists(_))));
    let mut two = secrets("first-secret");
    two.second = Some(secret("second-secret"));
    let second = store.add(handle("two"), Kind::Bearer {}, &two, 0);
    assert!(matches!(
        second,
        Err(StoreError::Kind(KindError::Second("bearer")))
    ));
    let pem = Kind::GithubApp {
        api_url: "https://api.github.com".into(),
        app_id: "1".into(),
        installation: 1,
        repositories: Vec::new(),
        permissions: [].into(),
    };
    let key = store.add(
        handle("app"),
        pem,
        &secrets("-----BEGIN PRIVATE KEY-----"),
        0,
    );
    assert!(matches!(key, Err(StoreError::Kind(KindError::Key))));
    assert_eq!(store.list().unwrap().len(), 1);
}

/// A mark stays until a person gives a new secret: one of the issuer's does not take it away.
#[test]
fn what_was_seen_in_an_answer_stays_marked_until_it_is_rotated() {
    let world = World::new();
    world.add("cred:orders", oauth_client(), TEXT);
    let store = world.store();
    let marked = store.reflect(&handle("orders")).unwrap();
    assert!(marked.reflected);
    assert_eq!(store.reflect(&handle("orders")).unwrap(), marked);
    let renewed = store
        .renew(&marked, &secrets("from-the-issuer"), By::Issuer, START_MS)
        .unwrap();
    assert!(renewed.reflected);
    let rotated = store
        .renew(
            &renewed,
            &secrets("from-a-person"),
            By::Person,
            START_MS + MINUTE_MS,
        )
        .unwrap();
    assert!(!rotated.reflected);
    assert_eq!(rotated.renewed_at_ms, START_MS + MINUTE_MS);
}
