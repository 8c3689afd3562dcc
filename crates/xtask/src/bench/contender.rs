//! Ways to run a program.

use std::{ffi::OsString, path::Path, process::Command, time::Duration};

use anyhow::Result;

use super::sample;

/// A program to run in every way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Program {
    /// As the page calls it.
    pub(super) name: &'static str,
    /// Its command line.
    pub(super) argv: &'static [&'static str],
    /// What it prints.
    pub(super) expected: &'static str,
}

/// The programs that are measured.
pub(super) const PROGRAMS: [Program; 2] = [
    Program {
        name: "`true`",
        argv: &["/usr/bin/true"],
        expected: "",
    },
    Program {
        name: "`python3 -c 'print(1)'`",
        argv: &["/usr/bin/python3", "-c", "print(1)"],
        expected: "1\n",
    },
];

/// A way to run a program that can be timed.
pub(super) trait Contender {
    /// As the page calls it.
    fn name(&self) -> &'static str;

    /// Runs `program` once.
    fn time(&mut self, program: &Program) -> Result<Duration>;
}

/// A way that is one command with the program's command line at its end.
#[derive(Debug)]
pub(super) struct Prefix {
    name: &'static str,
    prefix: Vec<OsString>,
    state: Option<OsString>,
}

/// What bubblewrap is measured with: the same namespaces and the same parts of the host.
const BUBBLEWRAP: &str = "bwrap --unshare-all --die-with-parent --new-session --ro-bind /usr /usr \
    --symlink usr/bin /bin --symlink usr/lib /lib --symlink usr/lib64 /lib64 --proc /proc --dev /dev \
    --tmpfs /tmp --";

impl Prefix {
    /// The program alone.
    pub(super) fn bare() -> Self {
        Self::new("bare process", Vec::new(), None)
    }

    /// Bubblewrap.
    pub(super) fn bubblewrap() -> Self {
        let prefix = BUBBLEWRAP.split_whitespace().map(OsString::from).collect();
        Self::new("bubblewrap", prefix, None)
    }

    /// `binary run --` with its records in `state`.
    pub(super) fn casemate(binary: &Path, state: &Path) -> Self {
        let prefix = vec![binary.into(), "run".into(), "--".into()];
        Self::new("casemate run", prefix, Some(state.into()))
    }

    const fn new(name: &'static str, prefix: Vec<OsString>, state: Option<OsString>) -> Self {
        Self {
            name,
            prefix,
            state,
        }
    }
}

impl Contender for Prefix {
    fn name(&self) -> &'static str {
        self.name
    }

    fn time(&mut self, program: &Program) -> Result<Duration> {
        let mut words = self
            .prefix
            .iter()
            .cloned()
            .chain(program.argv.iter().map(OsString::from));
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words);
        if let Some(state) = &self.state {
            command.env("CASEMATE_STATE_DIR", state);
        }
        sample::time(&mut command, program.expected)
    }
}
