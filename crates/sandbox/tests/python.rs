//! Runs the tests of `python/`, what a sandbox's interpreter runs, in the host's Python: R56.
//!
//! Twice: with the standard library alone, and with the packages of the tree that `CASEMATE_TEST_SITE` names
//! (numpy, pandas, matplotlib, Pillow and IPython for that Python). Without the variable the second half is
//! listed as ignored.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::{env, ffi::OsString, path::Path, process::Command};

use libtest_mimic::{Arguments, Failed, Trial};

const PYTHON: &str = "/usr/bin/python3";
const TESTS: &[&str] = &["test_cells", "test_forked", "test_kernel", "test_streams"];

/// They measure time and fork: two at once on a small machine.
const MAX_THREADS: usize = 2;

fn main() {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(
        arguments
            .test_threads
            .unwrap_or(MAX_THREADS)
            .min(MAX_THREADS),
    );
    let site = env::var_os("CASEMATE_TEST_SITE").filter(|site| !site.is_empty());
    let mut trials = Vec::new();
    for &name in TESTS {
        trials.push(Trial::test(format!("host/{name}"), move || run(name, None)));
        let tree = site.clone();
        let trial = Trial::test(format!("packages/{name}"), move || run(name, tree));
        trials.push(trial.with_ignored_flag(site.is_none()));
    }
    libtest_mimic::run(&arguments, trials).exit();
}

/// Runs one file of tests; its report is the failure's message.
fn run(name: &str, site: Option<OsString>) -> Result<(), Failed> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/tests");
    let scratch = tempfile::tempdir()?;
    let mut command = Command::new(PYTHON);
    command
        .args(["-B", "-m", "unittest", "-v", name])
        .current_dir(folder)
        .env_clear()
        .envs(env::var_os("PATH").map(|path| ("PATH", path)))
        .env("LANG", "C.UTF-8")
        .env("OPENBLAS_NUM_THREADS", "1")
        .env("MPLCONFIGDIR", scratch.path())
        .env("TMPDIR", scratch.path());
    if let Some(site) = site {
        command.env("CASEMATE_TEST_SITE", site);
    }
    let output = command.output()?;
    let report = String::from_utf8_lossy(&output.stderr);
    // Python 3.12 and later exit with 5 where nothing ran, the earlier ones with success.
    if output.status.success() && !report.contains("Ran 0 tests") {
        return Ok(());
    }
    Err(Failed::from(format!("{}:\n{report}", output.status)))
}
