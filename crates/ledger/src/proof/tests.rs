use tlog_tiles::node_hash;

use super::*;
use crate::{
    read_from,
    testing::{Fixture, key},
};

/// The root to which a path leads, as RFC 9162 section 2.1.3.2 says it: written down a second time.
fn root_of(leaf: Hash, index: u64, size: u64, path: &[Digest]) -> Option<Hash> {
    let (mut index, mut last, mut root) = (index, size.checked_sub(1)?, leaf);
    for sibling in path {
        let sibling = Hash(*sibling.as_bytes());
        if last == 0 {
            return None;
        }
        if index % 2 == 1 || index == last {
            root = node_hash(sibling, root);
            while index.is_multiple_of(2) && index != 0 {
                index >>= 1;
                last >>= 1;
            }
        } else {
            root = node_hash(root, sibling);
        }
        index >>= 1;
        last >>= 1;
    }
    (last == 0).then_some(root)
}

/// I12: for every record of every shape of log there is a path from its bytes to a root that the log's key signed, and it is of
/// that record in that place only.
#[test]
fn every_record_is_proven_to_whoever_has_the_key() {
    for batches in [
        vec![1],
        vec![2, 1],
        vec![3, 4, 1],
        vec![5, 7, 1, 1, 9],
        vec![1; 17],
        vec![16, 1],
        vec![7, 33],
    ] {
        let fixture = Fixture::new(&batches);
        let public = key().public();
        let size: u64 = batches.iter().sum();
        for index in 0..size {
            let proof = prove(fixture.dir.path(), &public, index).unwrap().unwrap();
            let signed = public.open_own(&proof.checkpoint).unwrap();
            assert_eq!((signed.size, proof.record.index), (proof.size, index));
            let leaf = record_hash(&proof.bytes);
            let root = root_of(leaf, index, proof.size, &proof.path);
            assert_eq!(root, Some(signed.root), "{batches:?} {index}");
            assert_eq!(proof.root, Digest::from_bytes(signed.root.0));
            let entry: StoredEntry = serde_json::from_slice(&proof.bytes).unwrap();
            assert_eq!(entry, proof.record.entry);
            // Of no other place, and of nothing else.
            for other in (0..proof.size).filter(|other| *other != index) {
                assert_ne!(root_of(leaf, other, proof.size, &proof.path), root);
            }
            let other = record_hash(b"another");
            assert_ne!(root_of(other, index, proof.size, &proof.path), root);
        }
        assert_eq!(prove(fixture.dir.path(), &public, size).unwrap(), None);
    }
}

/// What was changed is not proven, whichever byte of its batch it was.
#[test]
fn nothing_that_was_changed_is_proven() {
    let fixture = Fixture::new(&[3, 2]);
    let (log, public) = (fixture.log(), key().public());
    let first = fixture.batches()[0].bytes().len();
    let genuine = prove(fixture.dir.path(), &public, 3).unwrap();
    let mut refused = 0;
    for at in first..log.len() {
        let mut changed = log.clone();
        changed[at] ^= 1;
        fixture.set_log(&changed);
        match prove(fixture.dir.path(), &public, 3) {
            Err(_) => refused += 1,
            // A byte that the proof is not made from.
            Ok(proof) => assert_eq!(proof, genuine, "byte {at}"),
        }
    }
    let proven = genuine.unwrap();
    assert!(refused > proven.bytes.len() + proven.checkpoint.len());
}

#[test]
fn reading_goes_on_from_any_record() {
    let fixture = Fixture::new(&[3, 1, 4]);
    for from in 0..8 {
        let place = place_of(fixture.dir.path(), from).unwrap().unwrap();
        let records = read_from(fixture.dir.path(), place);
        let indexes: Vec<_> = records.map(|record| record.unwrap().index).collect();
        assert_eq!(indexes, (from..8).collect::<Vec<_>>());
    }
    assert_eq!(place_of(fixture.dir.path(), 8).unwrap(), None);
}
