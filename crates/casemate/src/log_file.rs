//! The logs of processes that this program starts.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

/// From here on a log is put aside when its process starts; the one that was aside before is gone.
const MAX_LOG_BYTES: u64 = 1024 * 1024;

/// Opens the log at `path` for a process that is about to be started.
///
/// # Errors
/// When it cannot be opened, or is a symbolic link.
pub(crate) fn open_log(path: &Path) -> io::Result<File> {
    if fs::symlink_metadata(path).is_ok_and(|facts| facts.len() > MAX_LOG_BYTES) {
        fs::rename(path, path.with_added_extension("old"))?;
    }
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
        .open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_log_is_put_aside_once() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("identity.log");
        for round in 0..3 {
            fs::write(&log, vec![b'a' + round; 1 + 1024 * 1024]).unwrap();
            assert_eq!(open_log(&log).unwrap().metadata().unwrap().len(), 0);
            let aside = fs::read(directory.path().join("identity.log.old")).unwrap();
            assert_eq!(aside[0], b'a' + round);
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_link_is_no_log() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        let elsewhere = directory.path().join("elsewhere");
        std::os::unix::fs::symlink(&elsewhere, &log).unwrap();
        assert!(open_log(&log).is_err());
        assert!(!elsewhere.exists());
    }
}
