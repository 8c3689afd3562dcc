//! What the caller of a session can take out of it, file by file.

use std::{collections::VecDeque, io};

use casemate_model::{Artefact, Digest, SessionId, Text};
use casemate_ports::{ArtefactSink, Entry, EntryKind, KeeperError, Owner, SessionKeeper as _};

use crate::NamespaceSessions;

/// Where files for the caller are.
const OUTPUT: &[u8] = b"out";

/// How many directories and files are looked at; the rest is only listed.
const MAX_LOOKS: usize = 48;

/// The most bytes of one file that are taken.
const MAX_FILE_BYTES: u64 = 8 << 20;

/// Takes what is below `/workspace/out`.
pub(super) async fn take(
    keeper: &NamespaceSessions,
    session: SessionId,
    owner: &Owner,
    sink: &mut dyn ArtefactSink,
) -> Result<Vec<Artefact>, KeeperError> {
    let mut taken = Vec::new();
    let mut directories = VecDeque::from([Vec::new()]);
    let mut looks = 0;
    while let Some(directory) = directories.pop_front() {
        looks += 1;
        if looks > MAX_LOOKS {
            break;
        }
        let listed = keeper.list_files(session, owner.clone(), below(OUTPUT, &directory));
        let entries = match listed.await {
            Ok(entries) => entries,
            // It may be gone, closed to all, or too deep to be named.
            Err(KeeperError::File { .. }) => continue,
            Err(error) => return Err(error),
        };
        for entry in entries {
            let path = below(&directory, entry.name.as_bytes());
            match entry.kind {
                EntryKind::Directory => directories.push_back(path.as_bytes().to_vec()),
                EntryKind::File if looks < MAX_LOOKS && entry.bytes <= MAX_FILE_BYTES => {
                    looks += 1;
                    let content = read(keeper, session, owner, &path).await?;
                    taken.push(given(path, content, sink)?);
                }
                kind => taken.push(listed_only(path, kind, &entry)),
            }
        }
    }
    Ok(taken)
}

/// The content, unless it cannot be read.
async fn read(
    keeper: &NamespaceSessions,
    session: SessionId,
    owner: &Owner,
    path: &Text,
) -> Result<Option<Vec<u8>>, KeeperError> {
    let path = below(OUTPUT, path.as_bytes());
    let (bytes, mut chunks) = match keeper.read_file(session, owner.clone(), path).await {
        Ok(opened) => opened,
        Err(KeeperError::File { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut content = Vec::new();
    while let Some(chunk) = chunks.recv().await {
        content.extend(chunk);
        if content.len() as u64 > bytes.min(MAX_FILE_BYTES) {
            return Err(KeeperError::Lost("a file is longer than it was".into()));
        }
    }
    Ok(Some(content))
}

fn given(
    path: Text,
    content: Option<Vec<u8>>,
    sink: &mut dyn ArtefactSink,
) -> Result<Artefact, KeeperError> {
    let Some(content) = content else {
        return Ok(Artefact {
            path,
            bytes: 0,
            sha256: None,
            skipped: Some("it cannot be read".into()),
        });
    };
    let step = || "keep a file".to_owned();
    let kept = sink.file(&path, false, &mut io::Cursor::new(&content));
    let skipped = kept.map_err(|source| KeeperError::Collect {
        step: step(),
        source,
    })?;
    Ok(Artefact {
        path,
        bytes: content.len() as u64,
        sha256: Some(Digest::of(&content)),
        skipped,
    })
}

fn listed_only(path: Text, kind: EntryKind, entry: &Entry) -> Artefact {
    let why = match kind {
        EntryKind::File => "not looked at",
        _ => "not a regular file",
    };
    Artefact {
        path,
        bytes: entry.bytes,
        sha256: None,
        skipped: Some(why.into()),
    }
}

fn below(directory: &[u8], name: &[u8]) -> Text {
    let separator: &[u8] = if directory.is_empty() || name.is_empty() {
        b""
    } else {
        b"/"
    };
    Text::from([directory, separator, name].concat())
}
