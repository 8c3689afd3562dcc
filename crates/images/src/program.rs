//! Running a program of the build: nothing of our environment, its words in a file, and not for ever.

use std::{
    env,
    ffi::OsString,
    fs::{self, File},
    io::{self, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use crate::{BuildError, staging::Staging};

/// How long a program of the build may take.
const LIMIT: Duration = Duration::from_secs(30 * 60);
/// How often a running program is looked at.
const POLL: Duration = Duration::from_millis(10);
/// How much of what a program said is repeated: the end.
const LOG_BYTES: u64 = 4_096;
/// How much of it is looked at.
const SEEN_BYTES: u64 = 1024 * 1024;

/// Where programs are found when the environment does not say.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// A program that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    /// The end of what it said.
    pub(crate) said: String,
}

impl Ended {
    /// The end of what it said, for people.
    pub(crate) fn log(&self) -> String {
        let max = usize::try_from(LOG_BYTES).unwrap_or(usize::MAX);
        let mut lines: Vec<&str> = Vec::new();
        let mut bytes = 0_usize;
        for line in self.said.trim_end().lines().rev() {
            bytes = bytes.saturating_add(line.len() + 1);
            if bytes > max {
                break;
            }
            lines.push(line);
        }
        lines.reverse();
        lines.join("\n")
    }
}

/// A command of the build, in `staging`.
pub(crate) fn command(staging: &Staging, program: &Path) -> Result<Command, BuildError> {
    let scratch = staging.make("scratch")?;
    let home = staging.make("scratch/home")?;
    let mut command = Command::new(program);
    command
        .current_dir(&scratch)
        .env_clear()
        .env("PATH", path())
        .env("HOME", home)
        .env("TMPDIR", &scratch)
        .env("LANG", "C.UTF-8")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("PYTHONHASHSEED", "0")
        .env("PYTHONSAFEPATH", "1");
    Ok(command)
}

/// The directories in which programs are found.
pub(crate) fn path() -> OsString {
    env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into())
}

/// Runs a command to its end. What it says goes to the file `log` in `staging`.
pub(crate) fn run(
    staging: &Staging,
    program: &'static str,
    command: &mut Command,
    log: &str,
) -> Result<Ended, BuildError> {
    let failed = |source| BuildError::Run { program, source };
    let path = staging.path(log);
    let written = File::create(&path).map_err(failed)?;
    let also = written.try_clone().map_err(failed)?;
    let mut child = command
        .stdin(staging.stdin()?)
        .stdout(Stdio::from(written))
        .stderr(Stdio::from(also))
        .spawn()
        .map_err(failed)?;
    let status = wait(&mut child, LIMIT).map_err(failed)?;
    let status = status.ok_or(BuildError::TimedOut {
        program,
        limit_s: LIMIT.as_secs(),
    })?;
    let said = tail(path).map_err(failed)?;
    Ok(Ended { status, said })
}

/// Waits for a program, and kills it when its time is over.
fn wait(child: &mut Child, limit: Duration) -> io::Result<Option<ExitStatus>> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if start.elapsed() >= limit {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        sleep(POLL);
    }
}

fn tail(path: PathBuf) -> io::Result<String> {
    let mut file = File::open(&path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(SEEN_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(SEEN_BYTES).read_to_end(&mut bytes)?;
    fs::remove_file(path)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_does_not_end_is_killed() {
        let mut child = Command::new("sleep").arg("100").spawn().unwrap();
        assert!(
            wait(&mut child, Duration::from_millis(50))
                .unwrap()
                .is_none()
        );
        assert!(child.try_wait().unwrap().is_some());
        let mut child = Command::new("true").spawn().unwrap();
        assert!(wait(&mut child, LIMIT).unwrap().unwrap().success());
    }

    #[test]
    fn the_end_of_a_log_is_shown_whole_lines_at_a_time() {
        let said = (0..10_000).map(|line| format!("line {line}\n")).collect();
        let status = Command::new("true").status().unwrap();
        let log = Ended { status, said }.log();
        assert!(log.len() < 5_000 && log.starts_with("line 9") && log.ends_with("line 9999"));
    }
}
