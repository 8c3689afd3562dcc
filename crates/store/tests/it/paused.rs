//! The files of paused sessions.

use std::{collections::HashSet, fs};

use casemate_model::SessionId;
use casemate_store::{Keys, PausedFiles, StoreError};

use crate::support::Home;

const PIECE: usize = 4 << 20;

fn id(number: u8) -> SessionId {
    SessionId::new(1, [number; 10])
}

fn written(files: &PausedFiles, keys: &Keys, session: SessionId, content: &[u8]) -> String {
    let mut writer = files.create(keys, "a", session).unwrap();
    for piece in content.chunks(700_001) {
        writer.write(piece).unwrap();
    }
    writer.finish().unwrap()
}

fn read(
    files: &PausedFiles,
    keys: &Keys,
    session: SessionId,
    image: &str,
) -> Result<Option<Vec<u8>>, StoreError> {
    let Some(mut reader) = files.open(keys, "a", session, image)? else {
        return Ok(None);
    };
    let mut all = Vec::new();
    while let Some(piece) = reader.read()? {
        all.extend_from_slice(&piece);
    }
    Ok(Some(all))
}

#[test]
fn files_come_back_as_they_were() {
    let home = Home::new();
    let state = &home.state;
    let (files, keys) = (PausedFiles::new(state.clone()), home.keys());
    for bytes in [0, 1, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE] {
        let content: Vec<u8> = (0..=250_u8).cycle().take(bytes).collect();
        let image = written(&files, &keys, id(1), &content);
        let again = read(&files, &keys, id(1), &image).unwrap().unwrap();
        assert!(again == content, "{bytes}");
        files.remove("a", &image).unwrap();
        assert!(read(&files, &keys, id(1), &image).unwrap().is_none());
    }
}

/// Nothing can be cut off, put elsewhere, or come from another session, pause or agent.
#[test]
fn what_was_changed_is_not_read() {
    let home = Home::new();
    let state = &home.state;
    let (files, keys) = (PausedFiles::new(state.clone()), home.keys());
    let content = vec![7; 2 * PIECE + 5];
    let (one, other) = (
        written(&files, &keys, id(1), &content),
        written(&files, &keys, id(1), &content),
    );
    let dir = state.agent("a").unwrap();
    let good = fs::read(dir.join(&one)).unwrap();
    let piece = 36 + 12 + 4 + PIECE + 16;
    assert_eq!(good.len(), 2 * piece + 36 + 12 + 4 + 5 + 16);
    let swapped = [&good[piece..2 * piece], &good[..piece], &good[2 * piece..]].concat();
    let longer = [&good[..], &good[2 * piece..]].concat();
    let flipped = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        bytes
    };
    for bad in [
        good[..piece].to_vec(),
        good[..2 * piece].to_vec(),
        good[piece..].to_vec(),
        swapped,
        longer,
        Vec::new(),
        flipped(0),
        flipped(40),
        flipped(49),
        flipped(piece - 1),
        fs::read(dir.join(&other)).unwrap(),
    ] {
        fs::write(dir.join(&one), bad).unwrap();
        read(&files, &keys, id(1), &one).unwrap_err();
    }
    fs::write(dir.join(&one), &good).unwrap();
    read(&files, &keys, id(2), &one).unwrap_err();
    assert!(read(&files, &keys, id(1), &one).unwrap().is_some());
    // No name leads elsewhere.
    assert!(read(&files, &keys, id(1), "agent.db").unwrap().is_none());
    files.remove("a", "../a/agent.db").unwrap();
    keys.erase("a").unwrap();
    read(&files, &keys, id(1), &one).unwrap_err();
}

/// What is not finished leaves nothing; what nobody has is swept, and goes with its agent.
#[test]
fn what_nobody_has_does_not_stay() {
    let home = Home::new();
    let state = &home.state;
    let (files, keys) = (PausedFiles::new(state.clone()), home.keys());
    let dir = state.agent("a").unwrap();
    let count = || fs::read_dir(&dir).unwrap().count();
    let mut writer = files.create(&keys, "a", id(1)).unwrap();
    writer.write(&vec![1; PIECE + 1]).unwrap();
    assert_eq!(count(), 1);
    drop(writer);
    assert_eq!(count(), 0);
    let (kept, left) = (
        written(&files, &keys, id(1), b"x"),
        written(&files, &keys, id(2), b"y"),
    );
    fs::write(dir.join("agent.db"), b"not ours to sweep").unwrap();
    let of_row = HashSet::from([kept.clone(), "paused-none".to_owned()]);
    assert_eq!(
        files.sweep("a", &of_row).unwrap(),
        std::slice::from_ref(&kept)
    );
    assert!(!dir.join(&left).exists() && dir.join(&kept).exists());
    assert!(dir.join("agent.db").exists());
    assert!(state.remove_agent("a").unwrap());
    assert!(!dir.exists());
}
