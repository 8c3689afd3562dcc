//! What is done with files of the workspace in place of a program, with a program's rights.

use std::{
    ffi::{CStr, CString, OsStr},
    fs::File,
    io::{self, Read as _},
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
};

use casemate_frames::{
    DirectoryEntry, EntryKind, Exited, FileAction, FileRequest, FromGuest, MAX_CHUNK_BYTES,
    MAX_ENTRIES, ToGuest,
};
use rustix::{
    fs::{
        AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, linkat, mkdirat, openat2,
        renameat, statat, unlinkat,
    },
    io::Errno,
};

use crate::{keeper::Keeper, pack, unpack};

const WORKSPACE: &CStr = c"/workspace";

/// A name that nobody else chooses: there is one such process in each pid namespace, and the rest is the inode's number.
const UPLOAD_PREFIX: &str = ".casemate-upload-";

/// Does what was asked, and says how that went.
pub(crate) fn serve(mut keeper: Keeper, request: &FileRequest) -> io::Result<()> {
    let done = match request.action {
        FileAction::Write => write(&mut keeper, &request.path),
        FileAction::Read => read(&keeper, &request.path),
        FileAction::List => list(&keeper, &request.path),
        FileAction::Remove => remove(&request.path),
        FileAction::Pack => pack::pack(&keeper),
        FileAction::Unpack => unpack::unpack(&mut keeper),
    };
    match done {
        Ok(()) => keeper.send(&FromGuest::Exited(Exited {
            code: Some(0),
            signal: None,
            cpu_us: 0,
            memory_peak_bytes: 0,
        })),
        Err(error) => match Errno::from_io_error(&error) {
            Some(errno) => keeper.send(&FromGuest::FileFailed(errno.raw_os_error().unsigned_abs())),
            // The keeper went away, or sent what is not the protocol.
            None => Err(error),
        },
    }
}

/// Opens below the workspace, and never through a link that leads out of it.
pub(crate) fn open(path: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let root = rustix::fs::open(WORKSPACE, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let path = if path.is_empty() { b"." } else { path };
    openat2(
        root,
        OsStr::from_bytes(path),
        flags | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS,
    )
}

/// The directory that a path is in, and its last part.
pub(crate) fn split(path: &[u8]) -> Result<(&[u8], CString), Errno> {
    let (parent, name) = match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => path.split_at_checked(slash).unwrap_or((b"", path)),
        None => (&b""[..], path),
    };
    let name = name.strip_prefix(b"/").unwrap_or(name);
    if name.is_empty() {
        return Err(Errno::ISDIR);
    }
    Ok((parent, CString::new(name).map_err(|_| Errno::INVAL)?))
}

/// Makes the directories on the way to `path` that are not there.
fn make_directories(path: &[u8]) -> Result<(), Errno> {
    let ends = path
        .iter()
        .enumerate()
        .filter(|(_, byte)| **byte == b'/')
        .map(|(end, _)| end)
        .chain([path.len()]);
    for end in ends {
        let Some(part) = path.get(..end).filter(|part| !part.is_empty()) else {
            continue;
        };
        let (parent, name) = split(part)?;
        let parent = open(parent, OFlags::PATH | OFlags::DIRECTORY)?;
        match mkdirat(&parent, &name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Takes the whole content into a file without a name; only then it gets one.
fn write(keeper: &mut Keeper, path: &[u8]) -> io::Result<()> {
    let (parent, name) = split(path)?;
    make_directories(parent)?;
    let parent = open(parent, OFlags::RDONLY | OFlags::DIRECTORY)?;
    if statat(&parent, &name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|found| FileType::from_raw_mode(found.st_mode).is_dir())
    {
        return Err(Errno::ISDIR.into());
    }
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(&parent, c".", flags, Mode::from_raw_mode(0o644))?;
    keeper.send(&FromGuest::Started)?;
    loop {
        match keeper.wait()? {
            ToGuest::Stdin(chunk) => {
                write_chunk(&file, &chunk)?;
                keeper.send(&FromGuest::StdinTaken)?;
            }
            ToGuest::StdinClosed => break,
            _ => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
    let inode = rustix::fs::fstat(&file)?.st_ino;
    let temporary = CString::new(format!("{UPLOAD_PREFIX}{inode}"))?;
    let this = CString::new(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
    linkat(CWD, &this, &parent, &temporary, AtFlags::SYMLINK_FOLLOW)?;
    renameat(&parent, &temporary, &parent, &name).inspect_err(|_| {
        // It must not be seen under another name either.
        let _ = unlinkat(&parent, &temporary, AtFlags::empty());
    })?;
    Ok(())
}

fn write_chunk(file: &OwnedFd, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::write(file, bytes) {
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn read(keeper: &Keeper, path: &[u8]) -> io::Result<()> {
    // A pipe or device must not make us wait.
    let file = open(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?;
    let stat = rustix::fs::fstat(&file)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => {}
        FileType::Directory => return Err(Errno::ISDIR.into()),
        _ => return Err(Errno::NOTSUP.into()),
    }
    keeper.send(&FromGuest::FileSize(size(&stat)))?;
    // No more than was announced, whoever appends to it meanwhile.
    let mut file = File::from(file).take(size(&stat));
    let mut buffer = vec![0; MAX_CHUNK_BYTES];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(()),
            count => {
                let bytes = buffer.get(..count).unwrap_or_default().to_vec();
                keeper.send(&FromGuest::Stdout(bytes))?;
            }
        }
    }
}

fn list(keeper: &Keeper, path: &[u8]) -> io::Result<()> {
    let directory = open(path, OFlags::RDONLY | OFlags::DIRECTORY)?;
    let mut bytes = Vec::new();
    let mut count = 0;
    for entry in Dir::new(directory.try_clone()?)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        // What is gone meanwhile is not listed.
        let Ok(stat) = statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) else {
            continue;
        };
        count += 1;
        if count > MAX_ENTRIES {
            return Err(Errno::OVERFLOW.into());
        }
        listed(name.to_bytes(), &stat).encode(&mut bytes)?;
    }
    for chunk in bytes.chunks(MAX_CHUNK_BYTES) {
        keeper.send(&FromGuest::Stdout(chunk.to_vec()))?;
    }
    Ok(())
}

fn listed(name: &[u8], stat: &Stat) -> DirectoryEntry {
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => EntryKind::File,
        FileType::Directory => EntryKind::Directory,
        FileType::Symlink => EntryKind::Link,
        _ => EntryKind::Other,
    };
    let ms = stat.st_mtime.saturating_mul(1000);
    DirectoryEntry {
        name: name.to_vec(),
        kind,
        bytes: size(stat),
        modified_ms: u64::try_from(ms)
            .unwrap_or(0)
            .saturating_add(stat.st_mtime_nsec / 1_000_000),
    }
}

fn size(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}

fn remove(path: &[u8]) -> io::Result<()> {
    let (parent, name) = split(path)?;
    let parent = open(parent, OFlags::PATH | OFlags::DIRECTORY)?;
    match unlinkat(&parent, &name, AtFlags::empty()) {
        Err(Errno::ISDIR) => Ok(unlinkat(&parent, &name, AtFlags::REMOVEDIR)?),
        result => Ok(result?),
    }
}
