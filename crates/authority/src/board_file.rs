//! The bytes of a switchboard: a title with the digest of what follows, and JSON.

use std::{collections::BTreeMap, path::Path};

use casemate_files::{Dir, FileError, Held, Pinned, Privacy};
use casemate_model::Digest;
use serde::{Deserialize, Serialize};

use crate::{
    Damage, Epoch, Switch, Unreadable,
    limits::{MAX_BOARD_BYTES, MAX_FORGETFUL_TENANTS, MAX_SWITCHES},
};

/// The switches.
pub(crate) const BOARD: &str = "board";
/// The newest epoch, by which an older board is found out.
pub(crate) const MARK: &str = "epoch";
const MAX_MARK_BYTES: u64 = 32;
const TITLE: &str = "casemate switchboard 1 ";

/// Everything that a board holds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Content {
    pub(crate) epoch: Epoch,
    /// The newest throw of a switch that works everywhere and was taken off the board to make room.
    pub(crate) forgotten: Epoch,
    /// The same of switches within a tenant, of which others know nothing.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) forgotten_within: BTreeMap<String, Epoch>,
    /// By epoch.
    pub(crate) switches: Vec<Switch>,
}

/// A board that was read.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) content: Content,
    pub(crate) digest: Digest,
    pub(crate) file: Pinned,
}

/// The bytes of a board.
pub(crate) fn encode(content: &Content) -> Result<Vec<u8>, serde_json::Error> {
    let json = serde_json::to_vec(content)?;
    let mut bytes = format!("{TITLE}{}\n", Digest::of(&json)).into_bytes();
    bytes.extend(json);
    bytes.push(b'\n');
    Ok(bytes)
}

fn decode(bytes: &[u8]) -> Result<(Content, Digest), Damage> {
    let rest = bytes.strip_prefix(TITLE.as_bytes()).ok_or(Damage::Title)?;
    let end = rest.iter().position(|byte| *byte == b'\n');
    let (written, json) = end
        .and_then(|end| rest.split_at_checked(end))
        .ok_or(Damage::Title)?;
    let json = json
        .strip_prefix(b"\n")
        .and_then(|json| json.strip_suffix(b"\n"));
    let json = json.ok_or(Damage::Unsound("a board without an end"))?;
    let found = Digest::of(json);
    if found.to_string().as_bytes() != written {
        let written = String::from_utf8_lossy(written).chars().take(100).collect();
        return Err(Damage::Digest { found, written });
    }
    let content: Content = serde_json::from_slice(json).map_err(Damage::Json)?;
    check(&content)?;
    Ok((content, found))
}

fn check(content: &Content) -> Result<(), Damage> {
    if content.switches.len() > MAX_SWITCHES {
        return Err(Damage::Unsound("so many switches"));
    }
    let mut last = Epoch::default();
    for switch in &content.switches {
        if switch.epoch <= last || switch.epoch > content.epoch {
            return Err(Damage::Unsound("a switch with such an epoch"));
        }
        if !switch.is_sound() {
            return Err(Damage::Unsound("a switch with such a name"));
        }
        last = switch.epoch;
    }
    if content.forgotten_within.len() > MAX_FORGETFUL_TENANTS {
        return Err(Damage::Unsound("so many tenants"));
    }
    let forgotten = content.forgotten_within.values().copied();
    match content.forgotten.max(forgotten.max().unwrap_or_default()) > content.epoch {
        true => Err(Damage::Unsound("a board that forgot its future")),
        false => Ok(()),
    }
}

/// Reads the board in `dir`, which must not be older than its mark. Nothing if there never was one.
pub(crate) fn find(dir: &Dir) -> Result<Option<Found>, Unreadable> {
    // The mark first: it is written after the board.
    let mark = find_mark(dir)?;
    let path = || dir.path(BOARD);
    let Some(read) = dir.read(BOARD, MAX_BOARD_BYTES, Privacy::Secret)? else {
        return match mark {
            None => Ok(None),
            Some(_) => Err(Unreadable::Missing { path: path() }),
        };
    };
    let (file, bytes) = read.pin();
    let (content, digest) = decode(&bytes).map_err(damaged(&path()))?;
    match mark {
        Some(newest) if newest > content.epoch => Err(Unreadable::WentBack {
            path: path(),
            found: content.epoch,
            newest,
        }),
        // Only the first board is made before its mark.
        None if content.epoch > Epoch::default() => Err(damaged(&dir.path(MARK))(Damage::Mark)),
        _ => Ok(Some(Found {
            content,
            digest,
            file,
        })),
    }
}

/// The newest epoch that the board is known to have had. Nothing if it never had one.
pub(crate) fn find_mark(dir: &Dir) -> Result<Option<Epoch>, Unreadable> {
    let Some(mark) = dir.read(MARK, MAX_MARK_BYTES, Privacy::Secret)? else {
        return Ok(None);
    };
    let text = std::str::from_utf8(&mark.content).ok();
    let epoch = text
        .and_then(|text| text.strip_suffix('\n'))
        .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|digits| digits.parse().ok());
    match epoch {
        Some(epoch) => Ok(Some(Epoch::new(epoch))),
        None => Err(damaged(&dir.path(MARK))(Damage::Mark)),
    }
}

/// Puts the mark at `epoch`, unless it is there.
pub(crate) fn mark(dir: &Dir, held: &Held, epoch: Epoch) -> Result<(), FileError> {
    let text = format!("{epoch}\n");
    let now = dir.read(MARK, MAX_MARK_BYTES, Privacy::Secret)?;
    match now.is_some_and(|now| now.content == text.as_bytes()) {
        true => Ok(()),
        false => dir.replace(held, MARK, text.as_bytes()),
    }
}

fn damaged(path: &Path) -> impl FnOnce(Damage) -> Unreadable {
    let path = path.to_owned();
    move |source| Unreadable::Damaged { path, source }
}
