//! gVisor's program, and what it can do here.

use std::{
    env,
    ffi::OsString,
    fmt,
    fs::File,
    io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    rc::Rc,
};

use rustix::fs::{Access, AtFlags, CWD, accessat};

/// The oldest build whose options these are, by its date.
const OLDEST: u32 = 20_221_219;

/// The first builds that have the platform `systrap`, and a kernel that can be kept from opening files of the host.
const SYSTRAP_SINCE: u32 = 20_230_701;

/// The name under which it is looked for.
const NAME: &str = "runsc";

/// How gVisor gets hold of the system calls of programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Platform {
    /// By signals that seccomp sends.
    Systrap,
    /// By ptrace.
    Ptrace,
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Systrap => "systrap",
            Self::Ptrace => "ptrace",
        })
    }
}

/// Why there can be no sandbox of the `gvisor` tier.
#[derive(Debug, thiserror::Error)]
pub enum NoGvisor {
    /// It is not installed.
    #[error(
        "the tier `gvisor` needs gVisor, and there is no `runsc` in PATH: install it (Debian: `apt-get install runsc`)"
    )]
    Missing,
    /// It cannot be executed or opened.
    #[error("the tier `gvisor` needs gVisor, and {} cannot be used", path.display())]
    Unusable {
        /// Where it is.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// It does not say how old it is.
    #[error("{} does not say its version by a date: install a release of gVisor", path.display())]
    Unknown {
        /// Where it is.
        path: PathBuf,
    },
    /// It is too old.
    #[error(
        "{} is gVisor of {version}: the oldest that can be used is 20221219, install a newer one", path.display()
    )]
    Old {
        /// Where it is.
        path: PathBuf,
        /// Its version, as it says it.
        version: String,
    },
}

/// A `runsc` that can be used.
#[derive(Clone, Debug)]
pub struct Runsc {
    file: Rc<OwnedFd>,
    version: String,
    date: u32,
}

impl Runsc {
    /// The first one in the directories of `path`, in the form of the variable `PATH`.
    ///
    /// # Errors
    /// What is missing, in words that say what to install.
    pub fn find(path: Option<OsString>) -> Result<Self, NoGvisor> {
        let path = path.unwrap_or_default();
        let mut places = env::split_paths(&path).map(|directory| directory.join(NAME));
        let found = places.find(|place| place.is_absolute() && is_executable(place));
        Self::at(&found.ok_or(NoGvisor::Missing)?)
    }

    /// This one.
    ///
    /// # Errors
    /// As [`Runsc::find`].
    pub fn at(path: &Path) -> Result<Self, NoGvisor> {
        let unusable = |source| NoGvisor::Unusable {
            path: path.into(),
            source,
        };
        let said = Command::new(path)
            .arg("--version")
            .env_clear()
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output()
            .map_err(unusable)?;
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        let (version, date) =
            version(&said).ok_or_else(|| NoGvisor::Unknown { path: path.into() })?;
        if date < OLDEST {
            return Err(NoGvisor::Old {
                path: path.into(),
                version,
            });
        }
        let file = File::open(path).map_err(unusable)?;
        Ok(Self {
            file: Rc::new(file.into()),
            version,
            date,
        })
    }

    /// Its version, as it says it.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The platforms that it has, best first; which of them works here only a try can say.
    pub(super) fn platforms(&self) -> &'static [Platform] {
        if self.is_new() {
            &[Platform::Systrap, Platform::Ptrace]
        } else {
            &[Platform::Ptrace]
        }
    }

    /// Whether it knows what builds know since [`SYSTRAP_SINCE`].
    pub(super) const fn is_new(&self) -> bool {
        self.date >= SYSTRAP_SINCE
    }

    pub(super) fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn is_executable(path: &Path) -> bool {
    path.is_file() && accessat(CWD, path, Access::EXEC_OK, AtFlags::empty()).is_ok()
}

/// The version in what `--version` prints, and the date in it: `runsc version release-20240729.0`.
fn version(said: &str) -> Option<(String, u32)> {
    let line = said.lines().next()?;
    let version = line.strip_prefix("runsc version ")?.trim();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-.~+_".contains(&byte);
    if version.len() > MAX_VERSION_BYTES || !version.bytes().all(plain) {
        return None;
    }
    let mut words = version.split(|letter: char| !letter.is_ascii_digit());
    let date = words.rfind(|word| word.len() == DATE_DIGITS)?;
    Some((version.to_owned(), date.parse().ok()?))
}

const DATE_DIGITS: usize = 8;
const MAX_VERSION_BYTES: usize = 64;

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    #[test]
    fn a_version_is_read_by_its_date() {
        let date = |said: &str| version(said).map(|(_, date)| date);
        for (said, wanted) in [
            (
                "runsc version release-20240729.0\nspec: 1.1.0\n",
                Some(20_240_729),
            ),
            (
                "runsc version 0.0~20221219.0\nspec: 1.0.2-dev",
                Some(20_221_219),
            ),
            (
                "runsc version release-20231009.0-12-gabcdef012345",
                Some(20_231_009),
            ),
            ("runsc version VERSION_MISSING", None),
            ("runsc version 1.2.3", None),
            ("runsc version \u{1b}[31m20240729", None),
            ("crun version 20240729", None),
            ("", None),
        ] {
            assert_eq!(date(said), wanted, "{said}");
        }
    }

    /// I7, R71: where it is missing, too old or not itself, it is said what to install, and nothing weaker is taken.
    #[test]
    fn what_cannot_be_used_is_refused_with_what_to_install() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(NAME);
        let find = || Runsc::find(Some(directory.path().into())).map(|found| found.version);
        let why = |found: Result<String, NoGvisor>| found.unwrap_err().to_string();
        assert!(why(find()).contains("apt-get install runsc"));
        assert!(why(Runsc::find(None).map(|found| found.version)).contains("apt-get"));
        fs::write(&path, "#!/bin/sh\necho runsc version release-20210101.0\n").unwrap();
        assert!(why(find()).contains("apt-get"), "it cannot be executed");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(why(find()).contains("release-20210101.0: the oldest"));
        fs::write(&path, "#!/bin/sh\necho hello\n").unwrap();
        assert!(why(find()).contains("does not say its version"));
        fs::write(&path, "#!/bin/sh\necho runsc version release-20221219.0\n").unwrap();
        assert_eq!(find().unwrap(), "release-20221219.0");
    }
}
