use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, chown, symlink},
    path::Path,
};

use casemate_files::{Dir, FileError, Privacy, create_file, make, read_file};
use tempfile::TempDir;

const MAX: u64 = 10;
const ALL: [Privacy; 3] = [Privacy::Secret, Privacy::Readable, Privacy::Configured];

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A private directory with the file `name`.
fn with_file() -> (TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("name");
    create_file(&file, b"content").unwrap();
    (dir, file)
}

/// What is found at the path, and in the directory by the name: they must agree.
fn read(path: &Path, privacy: Privacy) -> Result<Vec<u8>, FileError> {
    let found = read_file(path, MAX, privacy);
    let dir = Dir::open(path.parent().unwrap(), Privacy::Readable).unwrap();
    let name = path.file_name().unwrap().to_str().unwrap();
    match (found, dir.read(name, MAX, privacy)) {
        (Ok(found), Ok(Some(read))) => {
            assert_eq!(found, read.content);
            Ok(found)
        }
        (Err(error), Err(same)) => {
            assert_eq!(error.to_string(), same.to_string());
            Err(error)
        }
        (found, read) => panic!("{found:?} is not {read:?}"),
    }
}

#[test]
fn who_may_read_decides_the_mode() {
    let (_dir, file) = with_file();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode(), 0o100_600);
    for (bits, good) in [
        (0o600, &ALL[..]),
        (0o400, &ALL),
        (0o644, &ALL[1..]),
        (0o640, &ALL[1..]),
        (0o601, &ALL[1..]),
        (0o620, &[]),
        (0o602, &[]),
        (0o666, &[]),
    ] {
        mode(&file, bits);
        for privacy in ALL {
            match read(&file, privacy) {
                Ok(content) => {
                    assert!(good.contains(&privacy), "{bits:o} {privacy:?}");
                    assert_eq!(content, b"content");
                }
                Err(FileError::OpenToOthers { .. }) => assert_eq!(privacy, Privacy::Secret),
                Err(FileError::WritableByOthers { .. }) => assert!(!good.contains(&privacy)),
                Err(error) => panic!("{error:?}"),
            }
        }
    }
}

/// Needs root, as whom the tests run.
#[test]
fn what_belongs_to_others_is_refused() {
    let (dir, file) = with_file();
    chown(&file, Some(12_345), None).unwrap();
    for privacy in ALL {
        let read = read(&file, privacy);
        let foreign = matches!(read, Err(FileError::ForeignOwner { owner: 12_345, .. }));
        assert!(foreign, "{read:?}");
    }
    chown(dir.path(), Some(12_345), None).unwrap();
    let opened = Dir::open(dir.path(), Privacy::Readable);
    assert!(
        matches!(opened, Err(FileError::ForeignOwner { owner: 12_345, .. })),
        "{opened:?}"
    );
}

/// Only configuration may be reached by a link.
#[test]
fn a_link_leads_to_configuration_only() {
    let (dir, file) = with_file();
    let link = dir.path().join("link");
    symlink(&file, &link).unwrap();
    for privacy in [Privacy::Secret, Privacy::Readable] {
        let read = read(&link, privacy);
        assert!(matches!(read, Err(FileError::NotAFile { .. })), "{read:?}");
    }
    assert_eq!(read(&link, Privacy::Configured).unwrap(), b"content");

    let aside = tempfile::tempdir().unwrap();
    let link = aside.path().join("dir");
    symlink(dir.path(), &link).unwrap();
    let opened = Dir::open(&link, Privacy::Readable);
    assert!(
        matches!(opened, Err(FileError::NotADirectory { .. })),
        "{opened:?}"
    );
    let found = Dir::find(&link, Privacy::Readable).unwrap();
    assert_eq!(found.as_path(), dir.path().canonicalize().unwrap());
}

/// A pipe without a writer must not keep its reader waiting.
#[test]
fn only_regular_files_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let (pipe, sub) = (dir.path().join("pipe"), dir.path().join("sub"));
    let owner = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, owner, 0).unwrap();
    make(&sub).unwrap();
    for path in [&pipe, &sub] {
        for privacy in ALL {
            let read = read(path, privacy);
            assert!(matches!(read, Err(FileError::NotAFile { .. })), "{read:?}");
        }
    }
    let opened = Dir::open(dir.path(), Privacy::Readable).unwrap();
    for name in ["pipe", "sub"] {
        let read = opened.read_to_change(name, MAX);
        assert!(matches!(read, Err(FileError::NotAFile { .. })), "{read:?}");
    }
}

#[test]
fn a_file_is_read_up_to_its_limit() {
    let (_dir, file) = with_file();
    fs::write(&file, [b'x'; 10]).unwrap();
    assert_eq!(read(&file, Privacy::Secret).unwrap().len() as u64, MAX);
    fs::write(&file, [b'x'; 11]).unwrap();
    let read = read(&file, Privacy::Secret);
    assert!(
        matches!(read, Err(FileError::TooLarge { max: MAX, .. })),
        "{read:?}"
    );
}

#[test]
fn a_directory_that_others_can_use_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for (bits, privacy, good) in [
        (0o700, Privacy::Secret, true),
        (0o755, Privacy::Secret, false),
        (0o755, Privacy::Readable, true),
        (0o775, Privacy::Readable, false),
        (0o1777, Privacy::Configured, false),
    ] {
        mode(dir.path(), bits);
        let opened = Dir::open(dir.path(), privacy);
        assert_eq!(opened.is_ok(), good, "{bits:o} {opened:?}");
    }
}

/// Nothing that is there is written over.
#[test]
fn a_new_file_is_new() {
    let (dir, file) = with_file();
    let aside = dir.path().join("aside");
    symlink(&aside, dir.path().join("link")).unwrap();
    for name in ["name", "link"] {
        assert!(create_file(&dir.path().join(name), b"other").is_err());
    }
    assert_eq!(fs::read(&file).unwrap(), b"content");
    assert!(!aside.exists());
}
