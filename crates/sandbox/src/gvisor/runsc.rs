//! gVisor's program, and what it can do here.

use std::{
    env,
    ffi::OsString,
    fmt,
    fs::File,
    io,
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        unix::process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    rc::Rc,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{Access, AtFlags, CWD, accessat},
    io::Errno,
    process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open},
};

/// The build of Debian, by its date: its options are known, and its kernel opens no file of the host.
const OLDEST: u32 = 20_221_219;

/// The first builds that all have the platform `systrap`, and a kernel that can be kept from opening files of the host. Some
/// before them open files and cannot be told from others by their date.
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
        "{} is gVisor of {version}: those that can be used are 20221219, and any since 20230701, install a newer one", path.display()
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
        let said = said(path).map_err(unusable)?;
        let (version, date) =
            version(&said).ok_or_else(|| NoGvisor::Unknown { path: path.into() })?;
        if date != OLDEST && date < SYSTRAP_SINCE {
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

/// What `--version` prints, from its start.
fn said(path: &Path) -> io::Result<String> {
    let mut child = Command::new(path)
        .arg("--version")
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        // Whatever it starts ends with it.
        .process_group(0)
        .spawn()?;
    let in_time = ends_in_time(&child);
    // It is not waited for yet: the number is its own.
    let _ = kill_process_group(Pid::from_child(&child), Signal::KILL);
    child.wait()?;
    if !in_time? {
        return Err(io::ErrorKind::TimedOut.into());
    }
    let Some(stdout) = child.stdout.take() else {
        return Ok(String::new());
    };
    // Whoever else has the other end writes no more that counts.
    rustix::io::ioctl_fionbio(&stdout, true)?;
    let mut bytes = [0; MAX_SAID_BYTES];
    let count = match rustix::io::read(&stdout, &mut bytes) {
        Err(Errno::AGAIN) => 0,
        read => read?,
    };
    let said = bytes.get(..count).unwrap_or_default();
    Ok(String::from_utf8_lossy(said).into_owned())
}

/// Whether it ends within [`VERSION_TIME`]. What says more than a pipe holds does not.
fn ends_in_time(child: &Child) -> io::Result<bool> {
    let pidfd = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    loop {
        match poll(
            &mut [PollFd::new(&pidfd, PollFlags::IN)],
            Some(&VERSION_TIME),
        ) {
            Err(Errno::INTR) => {}
            ready => return Ok(ready? == 1),
        }
    }
}

/// How long it may take to say its version.
const VERSION_TIME: Timespec = Timespec {
    tv_sec: 5,
    tv_nsec: 0,
};

/// More of what it says is not read.
const MAX_SAID_BYTES: usize = 4096;

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
        assert!(why(find()).contains("release-20210101.0: those that"));
        // One that may open files of the host in spite of being told not to.
        fs::write(&path, "#!/bin/sh\necho runsc version release-20230605.0\n").unwrap();
        assert!(why(find()).contains("release-20230605.0: those that"));
        fs::write(&path, "#!/bin/sh\necho hello\n").unwrap();
        assert!(why(find()).contains("does not say its version"));
        fs::write(&path, "#!/bin/sh\necho runsc version release-20221219.0\n").unwrap();
        assert_eq!(find().unwrap(), "release-20221219.0");
    }

    /// R71: what never says its version, or never ends saying it, is given up with all that it started, however it holds on to
    /// its output.
    #[test]
    fn what_does_not_say_its_version_is_not_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(NAME);
        let said = "echo runsc version release-20240101.0";
        let at = |text: &str| {
            fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            Runsc::at(&path)
        };
        for silent in ["sleep 1000", "yes", &format!("{said}\nyes")] {
            let refused = at(silent).unwrap_err();
            assert!(
                matches!(&refused, NoGvisor::Unusable { source, .. } if source.kind() == io::ErrorKind::TimedOut),
                "{refused:?}"
            );
        }
        assert_eq!(
            at(&format!("{said}\nsleep 1000 &")).unwrap().version,
            "release-20240101.0"
        );
    }
}
