//! Noticing a change before the next decision.

use std::{
    fs,
    sync::atomic::{AtomicBool, Ordering},
};

use casemate_bundle::PolicyStoreError;

use crate::support::{Fixture, bundle};

#[test]
fn a_watch_sees_each_activation_and_nothing_else() {
    let fixture = Fixture::new();
    let mut watch = fixture.store.watch().unwrap();
    assert_eq!(watch.current(), None);
    assert!(!watch.changed());
    assert!(!watch.refresh().unwrap());
    for version in 1..20 {
        let put = fixture.put(&bundle("p", version)).unwrap();
        assert!(watch.changed());
        assert!(watch.refresh().unwrap());
        assert!(!watch.changed());
        assert_eq!(watch.current(), Some(&put));
        fixture.store.stage(&bundle("q", version)).unwrap();
        assert!(!watch.changed(), "staging changes nothing");
    }
    fixture.back(None).unwrap();
    fixture.back(None).unwrap();
    assert!(watch.refresh().unwrap());
    assert_eq!(
        watch.current().map(|current| current.digest),
        Some(bundle("p", 17).digest())
    );
    // The same bytes in a new file: looked at, and nothing new.
    let path = fixture.store.path().join("current");
    let copy = fixture.store.path().join("copy");
    fs::copy(&path, &copy).unwrap();
    fs::rename(&copy, &path).unwrap();
    assert!(watch.changed());
    assert!(!watch.refresh().unwrap());
    assert!(!watch.changed());
}

/// After an error the change stays unseen, so that nobody goes on with the old one.
#[test]
fn a_watch_stays_changed_until_it_understands() {
    let fixture = Fixture::with(&[1, 2]);
    let mut watch = fixture.store.watch().unwrap();
    let path = fixture.store.path().join("current");
    let kept = fs::read(&path).unwrap();
    let refused = |watch: &mut casemate_bundle::Watch| {
        assert!(watch.changed());
        let error = watch.refresh().unwrap_err();
        assert!(watch.changed());
        error
    };
    fs::write(&path, "x").unwrap();
    assert!(matches!(
        refused(&mut watch),
        PolicyStoreError::Record { .. }
    ));
    fs::remove_file(&path).unwrap();
    assert!(matches!(
        refused(&mut watch),
        PolicyStoreError::CurrentLost { .. }
    ));
    // Put back together with the history: only who was there can tell.
    let history = fixture.store.path().join("history");
    fs::copy(history.join("1"), &path).unwrap();
    fs::remove_file(history.join("2")).unwrap();
    assert!(fixture.store.current().is_ok());
    assert!(matches!(
        refused(&mut watch),
        PolicyStoreError::WentBack {
            found: 1,
            newest: 2,
            ..
        }
    ));
    fs::remove_dir_all(&history).unwrap();
    fs::remove_file(&path).unwrap();
    assert!(matches!(
        refused(&mut watch),
        PolicyStoreError::CurrentLost { .. }
    ));
    fs::write(&path, &kept).unwrap();
    assert!(!watch.refresh().unwrap());
    assert!(!watch.changed());

    // The whole store gone.
    let away = fixture.dir.path().join("away");
    fs::rename(fixture.store.path(), &away).unwrap();
    assert!(watch.changed());
    assert!(watch.refresh().is_err());
    fs::rename(&away, fixture.store.path()).unwrap();
    assert!(!watch.changed());
}

/// Readers beside a writer see each state that there was, in order, and never an error.
#[test]
fn a_reader_beside_a_writer_sees_time_go_forward() {
    let fixture = Fixture::with(&[1]);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut watch = fixture.store.watch().unwrap();
                let (mut read, mut watched) = (0, 0);
                while !done.load(Ordering::SeqCst) {
                    let now = fixture.store.current().unwrap().unwrap().sequence;
                    assert!(now >= read.max(watched));
                    read = now;
                    watch.refresh().unwrap();
                    let now = watch.current().unwrap().sequence;
                    assert!(now >= read);
                    watched = now;
                }
                watch.refresh().unwrap();
                assert_eq!(watch.current().unwrap().version, 40);
            });
        }
        for version in 2..=40 {
            fixture.put(&bundle("p", version)).unwrap();
        }
        done.store(true, Ordering::SeqCst);
    });
}
