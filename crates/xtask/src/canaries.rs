//! What tests did not leave: their secrets, in any file that is there when they have ended.
//!
//! Tests look for their own secrets where they worked before they clean up, and report in which spellings they did. Here all of
//! them are looked for once more, where something could have been left beside: temporary files, core files, the tree.

use std::{
    collections::BTreeSet,
    env, fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result, bail, ensure};
use tempfile::TempDir;

/// The variable that tells tests where to report.
pub const REPORTS: &str = "CASEMATE_CANARIES";

/// A larger file is not looked into, and said.
const MAX_FILE_BYTES: u64 = 256 << 20;
/// More files than this are not looked into.
const MAX_FILES: usize = 200_000;
/// By how much the time of a file that is written now can be behind the clock: file systems take theirs from a coarser one.
const COARSENESS: Duration = Duration::from_secs(1);

/// What tests reported.
#[derive(Debug)]
pub struct Canaries {
    reports: TempDir,
    since: SystemTime,
}

/// What was looked for, and where.
#[derive(Debug, Default)]
struct Told {
    tests: usize,
    secrets: BTreeSet<String>,
    files: usize,
    spellings: Vec<Vec<u8>>,
}

impl Canaries {
    /// From now on tests may report.
    ///
    /// # Errors
    /// When there is no place for it.
    pub fn new() -> Result<Self> {
        Ok(Self {
            reports: tempfile::tempdir().context("cannot make a directory for reports")?,
            since: SystemTime::now() - COARSENESS,
        })
    }

    /// Where tests report.
    #[must_use]
    pub fn reports(&self) -> &Path {
        self.reports.path()
    }

    /// Looks for all secrets of all tests in every file below `places` that is newer than the first test, and says how much that
    /// was.
    ///
    /// # Errors
    /// Names the files in which there is one. Also when nobody reported a secret: then nothing was looked for.
    pub fn look(&self, places: &[PathBuf]) -> Result<String> {
        let told = self.told()?;
        ensure!(!told.secrets.is_empty(), "no test reported a secret");
        let (mut looked, mut large, mut found) = (0, 0, Vec::new());
        let mut open = places.to_vec();
        while let Some(dir) = open.pop() {
            if dir == self.reports.path() {
                continue;
            }
            for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
                let (path, Ok(about)) = (entry.path(), entry.metadata()) else {
                    continue;
                };
                if about.is_dir() {
                    open.push(path);
                    continue;
                }
                let is_new = about.modified().is_ok_and(|time| time >= self.since);
                if !about.is_file() || !is_new {
                    continue;
                }
                if about.size() > MAX_FILE_BYTES {
                    large += 1;
                    continue;
                }
                ensure!(looked < MAX_FILES, "more than {MAX_FILES} files were left");
                // What went meanwhile has nothing in it.
                let Ok(bytes) = fs::read(&path) else {
                    continue;
                };
                looked += 1;
                let has = |spelling: &Vec<u8>| memchr::memmem::find(&bytes, spelling).is_some();
                if told.spellings.iter().any(has) {
                    found.push(path.display().to_string());
                }
            }
        }
        ensure!(
            found.is_empty(),
            "secrets of tests are in {}",
            found.join(", ")
        );
        Ok(format!(
            "{} secrets of {} homes, in {} spellings: none in {} files of theirs, nor in {looked} that are new ({large} too large to look into)",
            told.secrets.len(),
            told.tests,
            told.spellings.len(),
            told.files
        ))
    }

    fn told(&self) -> Result<Told> {
        let mut told = Told::default();
        for entry in fs::read_dir(self.reports.path())? {
            let report = fs::read_to_string(entry?.path())?;
            told.tests += 1;
            for line in report.lines() {
                match line.split_once(' ') {
                    Some(("files", count)) => told.files += count.parse::<usize>()?,
                    // A test with several homes says it for each.
                    Some(("secret", hex)) => _ = told.secrets.insert(hex.to_owned()),
                    Some(("spelling", hex)) => told.spellings.push(bytes(hex)?),
                    _ => bail!("a report says `{line}`"),
                }
            }
        }
        told.spellings.sort_unstable();
        told.spellings.dedup();
        Ok(told)
    }
}

fn bytes(hex: &str) -> Result<Vec<u8>> {
    let pairs = hex.as_bytes().chunks(2);
    pairs
        .map(|pair| Ok(u8::from_str_radix(str::from_utf8(pair)?, 16)?))
        .collect()
}

/// Where tests of `root` could leave something.
#[must_use]
pub fn places(root: &Path) -> Vec<PathBuf> {
    let fixed = ["/dev/shm", "/var/crash", "/var/lib/systemd/coredump"];
    let mut places: Vec<_> = fixed.into_iter().map(PathBuf::from).collect();
    places.push(env::temp_dir());
    places.extend(["crates", "docs", "examples", "images"].map(|name| root.join(name)));
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    /// I2: what a test left is found, and it is an error if none told of any.
    #[test]
    fn what_is_left_is_found() {
        let left = tempfile::tempdir().unwrap();
        let places = [left.path().to_owned()];
        let canaries = Canaries::new().unwrap();
        let report = |text: &str| {
            fs::write(canaries.reports().join("one"), text).unwrap();
        };
        assert!(canaries.look(&places).is_err());
        report("files 3\nsecret 6361\nspelling 6361\nspelling 63614e\n");
        fs::write(canaries.reports().join("two"), "files 0\nsecret 6361\n").unwrap();
        fs::create_dir(left.path().join("deep")).unwrap();
        let path = left.path().join("deep/core");
        fs::write(&path, "nothing").unwrap();
        let said = canaries.look(&places).unwrap();
        assert!(
            said.starts_with("1 secrets of 2 homes, in 2 spellings: none in 3 files of theirs, nor in 1 that are new"),
            "{said}"
        );
        fs::write(&path, "a caN of it").unwrap();
        let said = canaries.look(&places).unwrap_err().to_string();
        assert!(said.contains("deep/core"), "{said}");
        report("odd\n");
        assert!(canaries.look(&places).is_err());
    }

    /// The time of a file is of a coarser clock than ours: one that is written now can seem a little older than now.
    #[test]
    fn what_seems_a_little_older_is_looked_into() {
        let left = tempfile::tempdir().unwrap();
        let file = fs::File::create(left.path().join("core")).unwrap();
        let before = SystemTime::now();
        let canaries = Canaries::new().unwrap();
        let report = "files 0\nsecret 6361\nspelling 6361\n";
        fs::write(canaries.reports().join("one"), report).unwrap();
        let looked = || canaries.look(&[left.path().to_owned()]).unwrap();
        file.set_modified(before).unwrap();
        assert!(looked().contains("nor in 1 that are new"), "{}", looked());
        file.set_modified(before - Duration::from_secs(3600))
            .unwrap();
        assert!(looked().contains("nor in 0 that are new"), "{}", looked());
    }
}
