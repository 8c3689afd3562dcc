//! Who else may have to do with a file.

use std::path::Path;

use crate::FileError;

const OTHERS_WRITE: u32 = 0o022;
const OTHERS: u32 = 0o077;
const ROOT: u32 = 0;

/// Who may read a file or a directory. Nobody but its owner may ever write to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privacy {
    /// This user, who owns it.
    Secret,
    /// Others too. This user owns it.
    Readable,
    /// Others too. This user or root owns it, and a link may lead to it, as to mounted configuration.
    Configured,
}

impl Privacy {
    /// Refuses what belongs to others, or what they have more access to than this.
    pub(crate) fn check(self, owner: u32, mode: u32, path: &Path) -> Result<(), FileError> {
        let path = path.to_owned();
        let user = rustix::process::geteuid().as_raw();
        let mode = mode & 0o7777;
        if owner != user && !(self == Self::Configured && owner == ROOT) {
            Err(FileError::ForeignOwner { path, owner, user })
        } else if self == Self::Secret && mode & OTHERS != 0 {
            Err(FileError::OpenToOthers { path, mode })
        } else if mode & OTHERS_WRITE != 0 {
            Err(FileError::WritableByOthers { path, mode })
        } else {
            Ok(())
        }
    }
}
