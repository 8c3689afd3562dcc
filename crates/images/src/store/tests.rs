use std::{
    collections::BTreeSet,
    os::unix::fs::{PermissionsExt as _, symlink},
    thread,
};

use super::*;
use crate::{Difference, sample};

/// The names in the store's directory.
fn inside(store: &ImageStore) -> BTreeSet<String> {
    let entries = fs::read_dir(store.path()).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

/// Lets a file or directory of an image be changed, as only its owner can.
fn unseal(path: &Path) {
    for path in [path, path.parent().unwrap()] {
        if let Ok(found) = fs::symlink_metadata(path)
            && !found.is_symlink()
        {
            let mode = found.permissions().mode() | 0o200;
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
    }
}

fn reseal(path: &Path) {
    crate::settle::seal(path).unwrap();
}

fn start(text: &str, chars: usize) -> &str {
    text.get(..chars).unwrap()
}

#[test]
fn an_image_is_found_by_its_name_and_its_digest() {
    let (_dir, store) = sample::store();
    assert!(store.list().unwrap().is_empty());
    let old = sample::image(&store, "data", "1");
    let new = sample::image(&store, "data", "2");
    let other = sample::image(&store, "other", "1");
    assert_eq!(
        BTreeSet::from([old.digest, new.digest, other.digest]).len(),
        3,
        "the name and the content count"
    );
    assert_eq!(store.find("data").unwrap().digest, new.digest);
    let text = old.digest.to_string();
    let digits = directory_of(&old.digest);
    for word in [&*text, &*digits, start(&digits, 8), start(&text, 20)] {
        assert_eq!(store.find(word).unwrap().digest, old.digest, "{word}");
    }
    let listed = store.list().unwrap();
    let shown: Vec<_> = listed
        .iter()
        .map(|listed| {
            (
                listed.image.as_ref().unwrap().name.as_str(),
                listed.names.len(),
            )
        })
        .collect();
    assert_eq!(
        shown.iter().filter(|shown| **shown == ("data", 1)).count(),
        1
    );
    assert_eq!(
        shown.iter().filter(|shown| **shown == ("data", 0)).count(),
        1
    );
    assert_eq!(shown.last(), Some(&("other", 1)));

    let image = store.get(&new.digest).unwrap();
    assert!(image.tree.is_absolute());
    assert_eq!(image.site(), Path::new("/opt/image/site-packages"));
    assert_eq!(fs::read(image.tree.join("variant")).unwrap(), b"2");
    let manifest = fs::read(image.tree.parent().unwrap().join(MANIFEST)).unwrap();
    assert_eq!(
        Digest::of(&manifest),
        image.digest,
        "as the documentation says"
    );
}

/// The same image built again is the same image; it stays where sandboxes may have it.
#[test]
fn the_same_is_built_into_the_same_place() {
    let (_dir, store) = sample::store();
    let first = sample::image(&store, "data", "1");
    let inode = fs::metadata(&first.tree).unwrap().ino();
    sample::image(&store, "data", "2");
    let again = sample::image(&store, "data", "1");
    assert_eq!(first.digest, again.digest);
    assert_eq!(fs::metadata(&again.tree).unwrap().ino(), inode);
    assert_eq!(store.find("data").unwrap().digest, first.digest);
    let (_elsewhere, other) = sample::store();
    assert_eq!(sample::image(&other, "data", "1").digest, first.digest);
}

#[test]
fn what_means_nothing_or_too_much_is_refused() {
    let (_dir, store) = sample::store();
    let image = sample::image(&store, "data", "1");
    for word in [
        "",
        "..",
        "../data",
        "names/data",
        "data\0",
        "/",
        "Data",
        "sha256:",
        "a/b",
        ".new",
    ] {
        assert!(
            matches!(store.find(word), Err(ImageError::Word(_))),
            "{word:?}"
        );
        assert!(
            matches!(store.remove(word), Err(ImageError::Word(_))),
            "{word:?}"
        );
    }
    assert!(matches!(
        store.find("names"),
        Err(ImageError::UnknownName { .. })
    ));
    assert!(matches!(
        store.remove("missing"),
        Err(ImageError::UnknownName { .. })
    ));
    let unknown = Digest::of(b"unknown");
    for refused in [
        store.remove("01234567").map(drop),
        store.get(&unknown).map(drop),
        store.verify(&unknown).map(drop),
        store.hold(&unknown).map(drop),
    ] {
        assert!(
            matches!(refused, Err(ImageError::UnknownDigest { .. })),
            "{refused:?}"
        );
    }
    // Nobody can be made to find digests that begin alike, but a directory is quickly made.
    let digits = directory_of(&image.digest);
    let flipped = if digits.ends_with('0') { '1' } else { '0' };
    let twin = format!("{}{flipped}", start(&digits, 63));
    fs::create_dir(store.path().join(&twin)).unwrap();
    for refused in [
        store.find(start(&digits, 8)).map(drop),
        store.remove(start(&digits, 63)).map(drop),
    ] {
        assert!(
            matches!(refused, Err(ImageError::Ambiguous { .. })),
            "{refused:?}"
        );
    }
    assert_eq!(store.find(&digits).unwrap().digest, image.digest);
    assert!(inside(&store).is_superset(&BTreeSet::from([digits, twin])));
}

#[test]
fn a_removed_image_is_gone_with_its_name() {
    let (_dir, store) = sample::store();
    let old = sample::image(&store, "data", "1");
    let new = sample::image(&store, "data", "2");
    let hold = store.hold(&new.digest).unwrap();
    let second = store.hold(&new.digest).unwrap();
    assert!(matches!(
        store.remove("data"),
        Err(ImageError::InUse { .. })
    ));
    drop(hold);
    assert!(matches!(
        store.remove("data"),
        Err(ImageError::InUse { .. })
    ));
    assert!(store.verify(&new.digest).unwrap().is_empty());
    drop(second);
    assert_eq!(store.remove("data").unwrap(), new.digest);
    assert!(matches!(
        store.find("data"),
        Err(ImageError::UnknownName { .. })
    ));
    assert!(store.hold(&new.digest).is_err());
    assert_eq!(store.get(&old.digest).unwrap().digest, old.digest);
    store.remove(&directory_of(&old.digest)).unwrap();
    assert_eq!(inside(&store), BTreeSet::from([NAMES.to_owned()]));
}

/// Each change is found, and named, and nothing else is. R212
#[test]
fn verify_names_every_difference() {
    use Difference::{Added, Changed, Foreign, Mode, Removed};
    type Change = fn(&Path);
    let changes: [(&str, Difference, Change); 13] = [
        ("site-packages/pkg/__init__.py", Changed, |path| {
            fs::write(path, "x = 2\n").unwrap()
        }),
        ("site-packages/pkg/data", Changed, |path| {
            fs::write(path, "\0").unwrap()
        }),
        ("site-packages/pkg/data", Removed, |path| {
            fs::remove_file(path).unwrap()
        }),
        ("site-packages/pkg/new.py", Added, |path| {
            fs::write(path, "").unwrap()
        }),
        ("site-packages/pkg/new\n.py", Added, |path| {
            fs::create_dir(path).unwrap()
        }),
        ("site-packages/tool", Mode, |path| set_mode(path, 0o444)),
        ("site-packages/pkg/data", Mode, |path| set_mode(path, 0o555)),
        ("site-packages/pkg/data", Mode, |path| {
            set_mode(path, 0o4444)
        }),
        ("site-packages/pkg", Mode, |path| set_mode(path, 0o777)),
        ("site-packages/link", Changed, |path| relink(path, "pkg")),
        ("site-packages/link", Foreign, |path| {
            relink(path, "/etc/passwd")
        }),
        ("site-packages/link", Foreign, |path| {
            relink(path, "../../../../manifest.json")
        }),
        ("site-packages/pkg/data", Changed, |path| {
            relink(path, "__init__.py")
        }),
    ];
    for (place, difference, change) in changes {
        let (_dir, store) = sample::store();
        let image = sample::image(&store, "data", "1");
        assert_eq!(store.verify(&image.digest).unwrap(), []);
        let path = image.tree.join(place);
        let had_mode = fs::symlink_metadata(&path)
            .ok()
            .map(|found| found.permissions());
        unseal(&path);
        change(&path);
        if difference != Mode {
            // The change, and not the way to it, is to be found.
            if let (Some(mode), Ok(found)) = (had_mode, fs::symlink_metadata(&path))
                && found.is_file()
            {
                fs::set_permissions(&path, mode).unwrap();
            }
            if place.contains('\n') {
                set_mode(&path, 0o555);
            }
        }
        set_mode(path.parent().unwrap(), 0o555);
        let expected = Finding {
            path: format!("tree/{place}").into(),
            difference,
        };
        assert_eq!(store.verify(&image.digest).unwrap(), [expected], "{place}");
    }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn relink(path: &Path, target: &str) {
    fs::remove_file(path).unwrap();
    symlink(target, path).unwrap();
}

/// Whoever edits the manifest or the index cannot make the digest follow.
#[test]
fn an_edited_manifest_is_refused_and_an_edited_index_found() {
    let (_dir, store) = sample::store();
    let image = sample::image(&store, "data", "1");
    let place = image.tree.parent().unwrap().to_owned();
    let changed = |name: &str| Finding {
        path: name.into(),
        difference: Difference::Changed,
    };

    let index = fs::read_to_string(place.join(INDEX)).unwrap();
    let file = image.tree.join("variant");
    unseal(&file);
    fs::write(&file, "evil").unwrap();
    reseal(&image.tree);
    let evil = index.replace(
        &Digest::of(b"1").to_string(),
        &Digest::of(b"evil").to_string(),
    );
    assert_ne!(index, evil);
    fs::write(place.join(INDEX), &evil).unwrap();
    assert_eq!(store.verify(&image.digest).unwrap(), [changed(INDEX)]);

    let manifest = fs::read_to_string(place.join(MANIFEST)).unwrap();
    let followed = manifest.replace(
        &Digest::of(index.as_bytes()).to_string(),
        &Digest::of(evil.as_bytes()).to_string(),
    );
    assert_ne!(manifest, followed);
    fs::write(place.join(MANIFEST), &followed).unwrap();
    assert_eq!(store.verify(&image.digest).unwrap(), [changed(MANIFEST)]);
    for refused in [store.find("data"), store.get(&image.digest)] {
        assert!(matches!(refused, Err(ImageError::ManifestChanged { .. })));
    }
    assert!(store.list().unwrap()[0].image.is_err());
    for garbage in ["", "{}", "\0"] {
        fs::write(place.join(MANIFEST), garbage).unwrap();
        fs::write(place.join(INDEX), garbage).unwrap();
        assert!(store.get(&image.digest).is_err());
        assert!(
            store
                .verify(&image.digest)
                .unwrap()
                .contains(&changed(MANIFEST))
        );
    }
    fs::remove_file(place.join(INDEX)).unwrap();
    fs::remove_file(place.join(MANIFEST)).unwrap();
    assert_eq!(store.verify(&image.digest).unwrap().len(), 2);
    // What is not genuine can still be removed.
    store.remove("data").unwrap();
    assert_eq!(inside(&store), BTreeSet::from([NAMES.to_owned()]));
}

/// A tree that is only half there, or beside which something lies, is no image.
#[test]
fn a_half_built_directory_is_not_an_image() {
    let (_dir, store) = sample::store();
    let digest = Digest::of(b"half");
    let place = store.path().join(directory_of(&digest));
    fs::create_dir_all(place.join("tree/site-packages")).unwrap();
    assert!(matches!(store.get(&digest), Err(ImageError::Io { .. })));
    assert_eq!(store.verify(&digest).unwrap().len(), 2);
    assert!(store.list().unwrap()[0].image.is_err());
    fs::remove_dir_all(place).unwrap();

    let image = sample::image(&store, "data", "1");
    let place = image.tree.parent().unwrap();
    fs::write(place.join("stranger"), "").unwrap();
    let stranger = Finding {
        path: "stranger".into(),
        difference: Difference::Added,
    };
    assert_eq!(store.verify(&image.digest).unwrap(), [stranger]);
    fs::remove_file(place.join("stranger")).unwrap();
    fs::rename(&image.tree, place.join("aside")).unwrap();
    symlink("aside", &image.tree).unwrap();
    let findings = store.verify(&image.digest).unwrap();
    assert!(
        findings.iter().any(|finding| finding.path == "tree".into()),
        "{findings:?}"
    );
}

/// Nothing is put in the place of something that was changed.
#[test]
fn a_damaged_image_is_not_mended_in_silence() {
    let (_dir, store) = sample::store();
    let image = sample::image(&store, "data", "1");
    let file = image.tree.join("variant");
    unseal(&file);
    fs::write(&file, "evil").unwrap();
    let staging = store.stage().unwrap();
    let manifest = fs::read(image.tree.parent().unwrap().join(MANIFEST)).unwrap();
    let refused = store.publish(&staging.path("image"), &manifest);
    assert!(
        matches!(refused, Err(ImageError::Damaged { .. })),
        "{refused:?}"
    );
    assert_eq!(fs::read(file).unwrap(), b"evil");
}

#[test]
fn leftovers_go_and_builds_that_live_stay() {
    let (_dir, store) = sample::store();
    let alive = store.stage().unwrap();
    fs::write(alive.path("wheel"), "x").unwrap();
    for (name, lock) in [
        (".build-1-0", true),
        (".build-1-1", false),
        (".leaving-1-x", false),
    ] {
        let dead = store.path().join(name);
        fs::create_dir_all(dead.join("image/tree/site-packages")).unwrap();
        fs::write(dead.join("image/tree/site-packages/x"), "").unwrap();
        reseal(&dead.join("image/tree"));
        if lock {
            fs::write(dead.join("lock"), "").unwrap();
        }
    }
    // Images that only begin to be are not to be seen.
    assert!(store.list().unwrap().is_empty());
    let image = sample::image(&store, "data", "1");
    assert_eq!(fs::read(alive.path("wheel")).unwrap(), b"x");
    let alive_name = alive
        .path("")
        .file_name()
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned();
    let expected = [NAMES.to_owned(), directory_of(&image.digest), alive_name];
    assert_eq!(inside(&store), BTreeSet::from(expected));
    drop(alive);
    assert_eq!(inside(&store).len(), 2);
}

/// A program of a build can outlive it: its directory is not a leftover before the program ends.
#[test]
fn a_program_of_a_dead_build_keeps_its_directory() {
    let (_dir, store) = sample::store();
    let staging = store.stage().unwrap();
    let path = staging.path("");
    let mut child = std::process::Command::new("sleep")
        .arg("1000")
        .stdin(staging.stdin().unwrap())
        .spawn()
        .unwrap();
    // Dies without a chance to clean up: closed, not dropped.
    let copy = store.path().join("copy");
    fs::rename(&path, &copy).unwrap();
    drop(staging);
    fs::rename(&copy, &path).unwrap();

    sample::image(&store, "data", "1");
    assert!(path.exists());
    child.kill().unwrap();
    child.wait().unwrap();
    sample::image(&store, "data", "2");
    assert!(!path.exists());
}

#[test]
fn builds_at_once_do_not_disturb_each_other() {
    let (_dir, store) = sample::store();
    thread::scope(|scope| {
        for number in 0..8 {
            let store = &store;
            scope.spawn(move || {
                for round in 0..4 {
                    sample::image(store, "same", "1");
                    let own = format!("own-{number}");
                    let image = sample::image(store, &own, &round.to_string());
                    assert_eq!(store.find(&own).unwrap().digest, image.digest);
                    store.remove(&own).unwrap();
                }
            });
        }
    });
    let listed = store.list().unwrap();
    assert_eq!(listed.len(), 1);
    assert!(store.verify(&listed[0].digest).unwrap().is_empty());
    assert_eq!(inside(&store).len(), 2);
}

/// What an image holds is nobody's to write, as modes say it.
#[test]
fn nothing_in_a_tree_is_writable() {
    let (_dir, store) = sample::store();
    let image = sample::image(&store, "data", "1");
    let mut seen = 0;
    for sight in crate::index::scan(&image.tree).unwrap() {
        let crate::index::Sight::Fine(found) = sight else {
            panic!("{sight:?}");
        };
        if !matches!(found.entry.kind, crate::index::Kind::Link { .. }) {
            assert_eq!(found.mode & 0o7222, 0, "{found:?}");
            assert_eq!(found.mode & 0o444, 0o444, "{found:?}");
            seen += 1;
        }
    }
    assert_eq!(seen, 7);
    let private = fs::metadata(store.path()).unwrap().permissions().mode();
    assert_eq!(private & 0o777, 0o700);
}

#[test]
fn a_store_that_others_can_change_is_not_used() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("images");
    fs::write(&path, "").unwrap();
    assert!(matches!(
        ImageStore::open(&path),
        Err(ImageError::NotADirectory { .. })
    ));
    fs::remove_file(&path).unwrap();
    ImageStore::open(&path).unwrap();
    set_mode(&path, 0o777);
    assert!(matches!(
        ImageStore::open(&path),
        Err(ImageError::WritableByOthers { .. })
    ));
    set_mode(&path, 0o700);
    set_mode(&path.join(NAMES), 0o720);
    assert!(matches!(
        ImageStore::open(&path),
        Err(ImageError::WritableByOthers { .. })
    ));
    set_mode(&path.join(NAMES), 0o700);
    let link = dir.path().join("link");
    symlink(&path, &link).unwrap();
    let opened = ImageStore::open(&link).unwrap();
    assert_eq!(opened.path(), fs::canonicalize(&path).unwrap());
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&path, Some(60_001), None).unwrap();
        assert!(matches!(
            ImageStore::open(&link),
            Err(ImageError::ForeignOwner { .. })
        ));
    }
}

/// The file of a name is data: what does not look like a digest leads nowhere.
#[test]
fn a_name_leads_to_a_digest_or_nowhere() {
    let (_dir, store) = sample::store();
    let image = sample::image(&store, "data", "1");
    let file = store.path().join("names/data");
    for content in ["", "x\n", "../..\n", "sha256:00\n", &"x".repeat(200)] {
        fs::write(&file, content).unwrap();
        assert!(store.find("data").is_err(), "{content:?}");
        assert_eq!(store.list().unwrap()[0].names, []);
    }
    fs::write(&file, format!("{}\n", Digest::of(b"gone"))).unwrap();
    assert!(matches!(
        store.find("data"),
        Err(ImageError::UnknownDigest { .. })
    ));
    store.remove("data").unwrap();
    assert!(matches!(
        store.find("data"),
        Err(ImageError::UnknownName { .. })
    ));
    symlink("/etc/hostname", &file).unwrap();
    assert!(store.find("data").is_err());
    assert_eq!(store.get(&image.digest).unwrap().digest, image.digest);
}
