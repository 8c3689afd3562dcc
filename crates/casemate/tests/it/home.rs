//! A user with a directory of their own, who runs `casemate`.

use std::{
    ffi::OsStr,
    fmt, fs,
    io::Write as _,
    os::unix::{
        fs::{PermissionsExt as _, chown},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{Arc, Mutex, Weak},
};

use tempfile::TempDir;

use crate::canary;

/// A user id that nothing else uses; it needs no account.
const ORDINARY: u32 = 60_001;

/// Who runs `casemate`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum User {
    /// Whoever runs the tests.
    Tester,
    /// Somebody without any rights.
    Ordinary,
}

/// Runs a test as everybody whom we can be.
pub(crate) fn for_everybody(test: impl Fn(&Home)) {
    for user in users() {
        test(&Home::of(user));
    }
}

pub(crate) fn users() -> Vec<User> {
    if rustix::process::geteuid().is_root() {
        vec![User::Tester, User::Ordinary]
    } else {
        vec![User::Tester]
    }
}

/// A directory of a user, in which their commands run.
pub(crate) struct Home {
    dir: TempDir,
    user: User,
    binary: Arc<Binary>,
}

impl Drop for Home {
    /// Nothing of a test's secrets is in what is left of it.
    fn drop(&mut self) {
        canary::leave(self.dir.path());
    }
}

impl fmt::Debug for Home {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} in {:?}", self.user, self.dir.path())
    }
}

/// A copy of the executable that everybody can reach.
struct Binary(TempDir);

impl Binary {
    /// One for all tests that run now; the last one removes it.
    fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Binary>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap();
        shared.upgrade().unwrap_or_else(|| {
            let binary = Arc::new(Self::copy());
            *shared = Arc::downgrade(&binary);
            binary
        })
    }

    fn copy() -> Self {
        let dir = tempfile::tempdir().unwrap();
        open_to_all(dir.path());
        let path = dir.path().join("casemate");
        fs::copy(env!("CARGO_BIN_EXE_casemate"), &path).unwrap();
        open_to_all(&path);
        Self(dir)
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("casemate")
    }
}

fn open_to_all(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

impl Home {
    /// A directory for whoever runs the tests.
    pub(crate) fn new() -> Self {
        Self::of(User::Tester)
    }

    pub(crate) fn of(user: User) -> Self {
        let dir = tempfile::tempdir().unwrap();
        if user == User::Ordinary {
            chown(dir.path(), Some(ORDINARY), Some(ORDINARY)).unwrap();
        }
        Self {
            dir,
            user,
            binary: Binary::shared(),
        }
    }

    /// A path in the directory.
    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file that the user can read.
    pub(crate) fn write(&self, name: impl AsRef<Path>, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        path
    }

    /// Whose it is.
    pub(crate) const fn user(&self) -> User {
        self.user
    }

    /// Gives something in the directory to the user.
    pub(crate) fn give(&self, name: &str) {
        if self.user == User::Ordinary {
            chown(self.path(name), Some(ORDINARY), Some(ORDINARY)).unwrap();
        }
    }

    /// `casemate` with these words, in the user's directory, with an environment that names the state
    /// directory and nothing else but a canary that no sandbox may see.
    pub(crate) fn casemate<I: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = I>) -> Command {
        let mut command = Command::new(self.binary.path());
        command
            .args(words)
            .current_dir(self.dir.path())
            .env_clear()
            .env("CASEMATE_STATE_DIR", self.path("state"))
            .env("HOST_CANARY", "of the host")
            .stdin(Stdio::null());
        if self.user == User::Ordinary {
            command.uid(ORDINARY).gid(ORDINARY);
        }
        command
    }

    /// Runs `casemate` to its end.
    pub(crate) fn run<I: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = I>) -> Ran {
        Ran(self.casemate(words).output().unwrap())
    }

    /// Runs `casemate` with this standard input.
    pub(crate) fn feed<I: AsRef<OsStr>>(
        &self,
        words: impl IntoIterator<Item = I>,
        input: &[u8],
    ) -> Ran {
        let mut child = self
            .casemate(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        let fed = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let output = child.wait_with_output().unwrap();
        fed.join().unwrap();
        Ran(output)
    }

    /// What the log says, oldest first.
    pub(crate) fn log(&self) -> Vec<serde_json::Value> {
        let ran = self.run(["audit", "tail", "-n", "10000", "--json"]);
        ran.exits(0);
        let lines = ran.stdout();
        lines
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["record"].take())
            .collect()
    }

    /// What kinds of records there are.
    pub(crate) fn kinds(&self) -> Vec<String> {
        let kind = |record: &serde_json::Value| record["kind"].as_str().unwrap().to_owned();
        self.log().iter().map(kind).collect()
    }

    /// Whether anything durable happened at all.
    pub(crate) fn is_untouched(&self) -> bool {
        !self.path("state").exists()
    }
}

/// A command that ended.
pub(crate) struct Ran(pub(crate) Output);

impl Ran {
    pub(crate) fn stdout(&self) -> String {
        String::from_utf8(self.0.stdout.clone()).unwrap()
    }

    pub(crate) fn stderr(&self) -> String {
        String::from_utf8(self.0.stderr.clone()).unwrap()
    }

    /// Its exit code has to be this.
    #[track_caller]
    pub(crate) fn exits(&self, code: i32) -> &Self {
        assert_eq!(self.0.status.code(), Some(code), "{self:?}");
        self
    }

    /// Its standard error has to contain this.
    #[track_caller]
    pub(crate) fn says(&self, text: &str) -> &Self {
        assert!(self.stderr().contains(text), "no `{text}` in {self:?}");
        self
    }

    /// Its standard output has to be this.
    #[track_caller]
    pub(crate) fn prints(&self, text: &str) -> &Self {
        assert_eq!(self.stdout(), text, "{self:?}");
        self
    }

    /// Its standard output has to be one JSON object.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        let stdout = self.stdout();
        assert_eq!(stdout.lines().count(), 1, "{self:?}");
        serde_json::from_str(&stdout).unwrap()
    }
}

impl fmt::Debug for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes);
            text.chars().take(2_000).collect::<String>()
        };
        let Output {
            status,
            stdout,
            stderr,
        } = &self.0;
        write!(
            f,
            "{status}\nstdout: {}\nstderr: {}",
            text(stdout),
            text(stderr)
        )
    }
}
