//! I13: a digest is a function of names and bytes, and of nothing else.

use std::{collections::BTreeMap, fs};

use casemate_bundle::{Bundle, MANIFEST, SIGNATURE};
use proptest::prelude::*;

use crate::support::{bundle, files, unsigned, write};

/// A change of this digest is a change of the format: old signatures and records would mean nothing.
#[test]
fn the_digest_of_a_known_bundle_is_known() {
    let files = BTreeMap::from([
        (MANIFEST.to_owned(), b"name = \"p\"\nversion = 1\n".to_vec()),
        (
            "policies/base.cedar".to_owned(),
            b"permit(principal, action, resource);\n".to_vec(),
        ),
    ]);
    let bundle = Bundle::from_files(files, None).unwrap();
    assert_eq!(
        bundle.digest().to_string(),
        "sha256:3ee28316e18fc69071ede6b097febbde92ac22b5f897e9d32228b1fd01c7e687"
    );
}

#[test]
fn order_place_time_mode_and_signature_do_not_matter() {
    let expected = unsigned("p", 1);
    let one = tempfile::tempdir().unwrap();
    write(one.path(), &files("p", 1));
    let other = tempfile::tempdir().unwrap();
    for (path, bytes) in files("p", 1).into_iter().rev() {
        write(
            &other.path().join("deep/down"),
            &BTreeMap::from([(path, bytes)]),
        );
    }
    let other = other.path().join("deep/down");
    fs::write(other.join(SIGNATURE), "anything").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(other.join("policies/base.cedar"), mode).unwrap();
    fs::create_dir(one.path().join("extra")).unwrap();
    fs::remove_dir(one.path().join("extra")).unwrap();
    assert_eq!(Bundle::read(one.path()).unwrap(), expected);
    let other = Bundle::read(&other).unwrap();
    assert_eq!(other.digest(), expected.digest());
    assert_eq!(other.signature(), Some("anything"));
    assert_eq!(bundle("p", 1).digest(), expected.digest());
}

#[test]
fn a_bundle_may_lie_behind_a_link_and_gives_what_it_holds() {
    let dir = tempfile::tempdir().unwrap();
    write(&dir.path().join("real"), &files("p", 7));
    std::os::unix::fs::symlink("real", dir.path().join("link")).unwrap();
    let bundle = Bundle::read(&dir.path().join("link")).unwrap();
    assert_eq!((bundle.name(), bundle.version()), ("p", 7));
    assert_eq!(bundle.description(), None);
    let profiles: Vec<_> = bundle.section("profiles").collect();
    assert_eq!(profiles, [("a.toml", &b"a = 1\n"[..]), ("b.json", b"{}")]);
    assert_eq!(bundle.section("profile").count(), 0);
}

/// Content, names, and how many: each byte of them.
fn any_files() -> impl Strategy<Value = BTreeMap<String, Vec<u8>>> {
    let path = prop_oneof![
        "(profiles|tools)/[a-zA-Z0-9_-]{1,8}\\.(toml|json)",
        "policies/[a-zA-Z0-9_-]{1,8}\\.cedar",
        "tests/[a-zA-Z0-9_-]{1,8}\\.toml",
    ];
    let content = prop::collection::vec(any::<u8>(), 0..40);
    let some = prop::collection::btree_map(path, content, 0..6);
    (
        "[a-z0-9][a-z0-9_-]{0,10}",
        1..=casemate_bundle::MAX_VERSION,
        some,
    )
        .prop_map(|(name, version, mut files)| {
            let manifest = format!("name = \"{name}\"\nversion = {version}\n");
            files.insert(MANIFEST.into(), manifest.into_bytes());
            files
        })
}

proptest! {
    #[test]
    fn any_changed_byte_changes_the_digest(
        files in any_files(),
        file in any::<prop::sample::Index>(),
        byte in any::<prop::sample::Index>(),
        flip in 1..=255_u8,
    ) {
        let digest = Bundle::from_files(files.clone(), None).unwrap().digest();
        let path = file.get(&files.keys().cloned().collect::<Vec<_>>()).clone();
        let mut changed = files.clone();
        let content = changed.get_mut(&path).unwrap();
        if content.is_empty() {
            content.push(flip);
        } else {
            let at = byte.index(content.len());
            content[at] ^= flip;
        }
        if let Ok(changed) = Bundle::from_files(changed, None) {
            prop_assert_ne!(changed.digest(), digest);
        } else {
            prop_assert_eq!(&path, MANIFEST);
        }
        let mut fewer = files.clone();
        fewer.remove(&path);
        if let Ok(fewer) = Bundle::from_files(fewer, None) {
            prop_assert_ne!(fewer.digest(), digest);
        }
    }

    /// Two bundles with one digest are one bundle, also when bytes move from one file to the next.
    #[test]
    fn two_bundles_differ_in_their_digests(one in any_files(), other in any_files(), at in 0..40_usize) {
        let [a, b] = [&one, &other].map(|files| Bundle::from_files(files.clone(), None).unwrap());
        prop_assert_eq!(one == other, a.digest() == b.digest());
        let mut moved = one.clone();
        let paths: Vec<_> = one.keys().filter(|path| *path != MANIFEST).cloned().collect();
        if let [from, to, ..] = paths.as_slice() {
            let rest = moved.get_mut(from).unwrap();
            let rest = rest.split_off(at.min(rest.len()));
            let target = moved.get_mut(to).unwrap();
            target.splice(0..0, rest);
            let moved_digest = Bundle::from_files(moved.clone(), None).unwrap().digest();
            prop_assert_eq!(moved == one, moved_digest == a.digest());
        }
    }

}

proptest! {
    // Few, because each waits for the disk.
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn what_is_staged_is_what_is_loaded(files in any_files()) {
        let bundle = Bundle::from_files(files, None).unwrap();
        let fixture = crate::support::Fixture::new();
        fixture.store.stage(&bundle).unwrap();
        prop_assert_eq!(fixture.store.load(bundle.digest()).unwrap(), bundle);
    }
}
