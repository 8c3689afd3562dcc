//! Taking artefacts out of a dead sandbox.
//!
//! Every process that could change them is dead, and the tree is reached through a descriptor of
//! `/workspace/out`: no path is ever resolved that the sandbox could have bent.

use std::{
    fs::File,
    io::{self, Read},
    os::fd::{AsFd, OwnedFd},
};

use casemate_model::{Artefact, Digest, Hasher, Text};
use casemate_ports::ArtefactSink;
use rustix::{
    fs::{Dir, FileType, Mode, OFlags, ResolveFlags, fstat, openat2},
    io::{Errno, fcntl_dupfd_cloexec},
};

/// The most artefacts that are listed; what is beyond is named in one last entry.
pub(crate) const MAX_ARTEFACTS: usize = 10_000;

/// The deepest directory that is looked into.
const MAX_DEPTH: usize = 64;

/// The longest path, in bytes.
const MAX_PATH_BYTES: usize = 4096;

/// Gives every regular file below `root` to `sink`, in the order of their names.
pub(crate) fn collect(
    root: &OwnedFd,
    bytes_max: u64,
    sink: &mut dyn ArtefactSink,
) -> io::Result<Vec<Artefact>> {
    let mut collection = Collection {
        sink,
        bytes_left: bytes_max,
        artefacts: Vec::new(),
        overflowed: false,
    };
    collection.directory(root, &[], 0)?;
    Ok(collection.artefacts)
}

struct Collection<'a> {
    sink: &'a mut dyn ArtefactSink,
    bytes_left: u64,
    artefacts: Vec<Artefact>,
    overflowed: bool,
}

impl Collection<'_> {
    fn skip(&mut self, path: Vec<u8>, bytes: u64, why: &str) {
        let path = Text::from(path);
        self.artefacts.push(Artefact {
            path,
            bytes,
            sha256: None,
            skipped: Some(why.into()),
        });
    }

    fn directory(&mut self, directory: &OwnedFd, path: &[u8], depth: usize) -> io::Result<()> {
        for name in names(directory)? {
            if self.artefacts.len() >= MAX_ARTEFACTS {
                if !self.overflowed {
                    self.overflowed = true;
                    let why =
                        "and everything after it: more than 10000 files, pack them into an archive";
                    self.skip(join(path, &name), 0, why);
                }
                return Ok(());
            }
            let path = join(path, &name);
            if path.len() > MAX_PATH_BYTES {
                self.skip(
                    path.get(..64).unwrap_or_default().to_vec(),
                    0,
                    "its path is too long",
                );
                continue;
            }
            self.entry(directory, &name, path, depth)?;
        }
        Ok(())
    }

    fn entry(
        &mut self,
        directory: &OwnedFd,
        name: &[u8],
        path: Vec<u8>,
        depth: usize,
    ) -> io::Result<()> {
        let open = |flags: OFlags| {
            openat2(
                directory,
                name,
                flags | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                Mode::empty(),
                ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV,
            )
        };
        // Without opening it: a pipe would block, a device would act.
        let stat = match open(OFlags::PATH).and_then(fstat) {
            Ok(stat) => stat,
            Err(error) => {
                let link = error == Errno::LOOP;
                self.skip(
                    path,
                    0,
                    if link {
                        "a symbolic link"
                    } else {
                        "it cannot be reached"
                    },
                );
                return Ok(());
            }
        };
        let bytes = u64::try_from(stat.st_size).unwrap_or(0);
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory if depth >= MAX_DEPTH => {
                self.skip(path, 0, "a directory deeper than 64 levels");
            }
            FileType::Directory => match open(OFlags::RDONLY | OFlags::DIRECTORY) {
                Ok(inner) => self.directory(&inner, &path, depth + 1)?,
                Err(_) => self.skip(path, 0, "a directory that cannot be read"),
            },
            FileType::RegularFile => match open(OFlags::RDONLY | OFlags::NONBLOCK) {
                Ok(_) if bytes > self.bytes_left => {
                    self.skip(
                        path,
                        bytes,
                        "more bytes than the disk limit, with what came before",
                    );
                }
                Ok(file) => self.file(file.into(), path, stat.st_mode & 0o100 != 0)?,
                Err(_) => self.skip(path, bytes, "a file that cannot be read"),
            },
            FileType::Symlink => self.skip(path, 0, "a symbolic link"),
            _ => self.skip(path, 0, "not a regular file"),
        }
        Ok(())
    }

    fn file(&mut self, file: File, path: Vec<u8>, executable: bool) -> io::Result<()> {
        let path = Text::from(path);
        let mut content = Hashed {
            file,
            hasher: Hasher::default(),
            bytes: 0,
        };
        let skipped = self.sink.file(&path, executable, &mut content)?;
        let (bytes, sha256) = content.finish()?;
        self.bytes_left = self.bytes_left.saturating_sub(bytes);
        self.artefacts.push(Artefact {
            path,
            bytes,
            sha256: Some(sha256),
            skipped,
        });
        Ok(())
    }
}

fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    if path.is_empty() {
        name.to_vec()
    } else {
        [path, b"/", name].concat()
    }
}

fn names(directory: &impl AsFd) -> io::Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    // Not `read_from`: it opens the directory again, for which its permissions may be missing by now.
    for entry in Dir::new(fcntl_dupfd_cloexec(directory, 0)?)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
        }
    }
    names.sort();
    Ok(names)
}

/// Hashes what is read through it, and the rest at the end.
struct Hashed {
    file: File,
    hasher: Hasher,
    bytes: u64,
}

impl Read for Hashed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.hasher.update(buffer.get(..count).unwrap_or_default());
        self.bytes += count as u64;
        Ok(count)
    }
}

impl Hashed {
    fn finish(mut self) -> io::Result<(u64, Digest)> {
        io::copy(&mut self, &mut io::sink())?;
        Ok((self.bytes, self.hasher.finish()))
    }
}
