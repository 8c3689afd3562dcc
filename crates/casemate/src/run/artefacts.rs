//! Writes artefacts to a directory, and nothing outside of it.
//!
//! Their paths are hostile, and so may be what is in the directory already: every step is taken from a
//! descriptor, and no link is followed. A file appears whole or not at all.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{self, Read},
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

use casemate_model::Text;
use casemate_ports::ArtefactSink;
use rustix::{
    fs::{AtFlags, Mode, OFlags, mkdirat, open, openat, renameat, unlinkat},
    io::Errno,
};

/// What a file is called until it is complete, with a number that no artefact before it had.
const TEMPORARY: &str = ".casemate";

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);

/// Where artefacts go.
#[derive(Debug)]
pub(crate) enum Sink {
    /// Nowhere: they are only listed.
    Nowhere,
    /// To a directory.
    Directory(OwnedFd),
}

impl Sink {
    /// Opens the directory, and makes it if there is none.
    ///
    /// # Errors
    /// When it is not a directory or cannot be made.
    pub(crate) fn open(directory: Option<&Path>) -> io::Result<Self> {
        let Some(directory) = directory else {
            return Ok(Self::Nowhere);
        };
        fs::create_dir_all(directory)?;
        Ok(Self::Directory(open(directory, DIRECTORY, Mode::empty())?))
    }
}

impl ArtefactSink for Sink {
    fn file(
        &mut self,
        path: &Text,
        executable: bool,
        content: &mut dyn Read,
    ) -> io::Result<Option<String>> {
        let Self::Directory(root) = self else {
            return Ok(Some("no --out directory was given".into()));
        };
        let mode = if executable { 0o777 } else { 0o666 };
        let written = write(root, path, Mode::from_raw_mode(mode), content);
        // A full disk is one artefact's trouble too: a smaller one may still fit.
        Ok(written
            .err()
            .map(|error| format!("cannot write it: {error}")))
    }
}

fn write(root: &OwnedFd, path: &Text, mode: Mode, content: &mut dyn Read) -> io::Result<()> {
    let mut components = path
        .as_bytes()
        .split(|byte| *byte == b'/')
        .map(OsStr::from_bytes);
    let name = components.next_back().unwrap_or_default();
    let mut below = None;
    for component in components {
        let parent = below.as_ref().unwrap_or(root);
        below = Some(enter(parent, one_component(component)?)?);
    }
    create(
        below.as_ref().unwrap_or(root),
        one_component(name)?,
        mode,
        content,
    )
}

/// Refuses what would lead anywhere but one step down.
fn one_component(name: &OsStr) -> io::Result<&OsStr> {
    match name.as_bytes() {
        b"" | b"." | b".." => Err(io::Error::other("its path leads elsewhere")),
        bytes if bytes.contains(&0) => Err(io::Error::other("its path has a NUL byte")),
        _ => Ok(name),
    }
}

/// The directory `name` in `parent`; a link is none.
fn enter(parent: &OwnedFd, name: &OsStr) -> io::Result<OwnedFd> {
    let flags = DIRECTORY | OFlags::NOFOLLOW;
    match mkdirat(parent, name, Mode::from_raw_mode(0o777)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    openat(parent, name, flags, Mode::empty()).map_err(|error| match error {
        Errno::LOOP | Errno::NOTDIR => {
            let name = Text::from(name.to_owned());
            io::Error::other(format!("`{name}` is there and is not a directory"))
        }
        other => other.into(),
    })
}

/// Writes a file under another name, and then gives it its own.
fn create(directory: &OwnedFd, name: &OsStr, mode: Mode, content: &mut dyn Read) -> io::Result<()> {
    let (temporary, mut file) = temporary(directory, mode)?;
    let copied = io::copy(content, &mut file)
        .and_then(|_| Ok(renameat(directory, &temporary, directory, name)?));
    if copied.is_err() {
        // The first error is the one to tell.
        let _ = unlinkat(directory, &temporary, AtFlags::empty());
    }
    copied
}

/// A new file that nobody else has, in the directory.
fn temporary(directory: &impl AsFd, mode: Mode) -> io::Result<(String, File)> {
    /// Other runs may write to the same directory, or have died there.
    const MAX_ATTEMPTS: u32 = 10_000;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let process = std::process::id();
    for attempt in 0..MAX_ATTEMPTS {
        let name = format!("{TEMPORARY}-{process}-{attempt}");
        match openat(directory, &name, flags, mode) {
            Ok(file) => return Ok((name, file.into())),
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(io::Error::other(
        "the directory is full of unfinished artefacts",
    ))
}

#[cfg(test)]
mod tests;
