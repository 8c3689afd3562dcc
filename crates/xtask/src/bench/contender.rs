//! Ways to run a program.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Result, ensure};

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
    /// What it needs beside the host's userland.
    pub(super) needs: Needs,
}

/// What a program needs beside the host's userland.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Needs {
    /// Nothing.
    Host,
    /// The packages of an image.
    Image,
}

/// The programs that are measured.
pub(super) const PROGRAMS: [Program; 2] = [
    Program {
        name: "`true`",
        argv: &["/usr/bin/true"],
        expected: "",
        needs: Needs::Host,
    },
    Program {
        name: "`python3 -c 'print(1)'`",
        argv: &["/usr/bin/python3", "-c", "print(1)"],
        expected: "1\n",
        needs: Needs::Host,
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
    environment: Vec<(&'static str, OsString)>,
}

/// What bubblewrap is measured with: the same namespaces and the same parts of the host.
const BUBBLEWRAP: &str = "bwrap --unshare-all --die-with-parent --new-session --ro-bind /usr /usr \
    --symlink usr/bin /bin --symlink usr/lib /lib --symlink usr/lib64 /lib64 --proc /proc --dev /dev \
    --tmpfs /tmp";

/// A line of the built-in profile's section on sandboxes.
const WORKSPACE: &str = "workspace = \"/workspace\"";

/// Where an image's packages are, in the image and in every sandbox that shows it.
pub(super) const PACKAGES: &str = "site-packages";
/// Where a sandbox shows an image.
pub(super) const IMAGE: &str = "/opt/image";

impl Prefix {
    /// The program alone.
    pub(super) fn bare(image: Option<&Path>) -> Self {
        Self::new("bare process", "", image)
    }

    /// Bubblewrap.
    pub(super) fn bubblewrap(image: Option<&Path>) -> Self {
        let mut way = Self::new("bubblewrap", BUBBLEWRAP, None);
        if let Some(image) = image {
            way.prefix
                .extend(["--ro-bind".into(), image.into(), IMAGE.into()]);
            way.environment = vec![("PYTHONPATH", Path::new(IMAGE).join(PACKAGES).into())];
        }
        way.prefix.push("--".into());
        way
    }

    /// The sandbox of Codex, which shows the host's files.
    pub(super) fn codex(image: Option<&Path>) -> Self {
        Self::new("codex sandbox", "codex sandbox --", image)
    }

    /// `binary run --` with its records in `state`.
    pub(super) fn casemate(binary: &Path, state: &Path) -> Self {
        let prefix = vec![binary.into(), "run".into(), "--".into()];
        Self {
            name: "casemate run",
            prefix,
            environment: vec![("CASEMATE_STATE_DIR", state.into())],
        }
    }

    /// The same with a profile in `directory` that demands the tier `gvisor`.
    pub(super) fn casemate_in_gvisor(
        binary: &Path,
        state: &Path,
        directory: &Path,
    ) -> Result<Self> {
        let shown = Command::new(binary).args(["profile", "show"]).output()?;
        let shown = String::from_utf8(shown.stdout)?;
        let wanted = shown.replacen(WORKSPACE, &format!("{WORKSPACE}\ntier = \"gvisor\""), 1);
        ensure!(wanted != shown, "the built-in profile has no {WORKSPACE}");
        let profile = directory.join("gvisor.toml");
        fs::write(&profile, wanted)?;
        let mut way = Self::casemate(binary, state);
        way.name = "casemate run, tier gvisor";
        way.prefix = vec![
            binary.into(),
            "run".into(),
            "--profile".into(),
            profile.into(),
            "--".into(),
        ];
        Ok(way)
    }

    fn new(name: &'static str, prefix: &str, image: Option<&Path>) -> Self {
        let packages = image.map(|image| ("PYTHONPATH", image.join(PACKAGES).into()));
        Self {
            name,
            prefix: prefix.split_whitespace().map(OsString::from).collect(),
            environment: packages.into_iter().collect(),
        }
    }

    /// The command that runs `program`.
    pub(super) fn command(&self, program: &Program) -> Command {
        let program = program.argv.iter().map(OsString::from);
        let mut words = self.prefix.iter().cloned().chain(program);
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words).envs(self.environment.iter().cloned());
        command
    }
}

impl Contender for Prefix {
    fn name(&self) -> &'static str {
        self.name
    }

    fn time(&mut self, program: &Program) -> Result<Duration> {
        sample::time(&mut self.command(program), program.expected)
    }
}

/// Anthropic's sandbox runtime, which takes a command line for a shell and its rules in a file.
#[derive(Debug)]
pub(super) struct Srt {
    rules: PathBuf,
    packages: Option<PathBuf>,
}

impl Srt {
    /// Writes the rules into `directory`: no network, and no file that may be written.
    pub(super) fn start(directory: &Path, image: Option<&Path>) -> Result<Self> {
        fs::create_dir_all(directory)?;
        let rules = directory.join("srt.json");
        let nothing = serde_json::json!({
            "network": { "allowedDomains": [], "deniedDomains": [] },
            "filesystem": { "denyRead": [], "allowWrite": [], "denyWrite": [] },
        });
        fs::write(&rules, nothing.to_string())?;
        Ok(Self {
            rules,
            packages: image.map(|image| image.join(PACKAGES)),
        })
    }
}

impl Contender for Srt {
    fn name(&self) -> &'static str {
        "srt"
    }

    fn time(&mut self, program: &Program) -> Result<Duration> {
        let words: Vec<_> = program
            .argv
            .iter()
            .map(|word| format!("'{word}'"))
            .collect();
        let mut command = Command::new("srt");
        command
            .arg("-s")
            .arg(&self.rules)
            .args(["-c", &words.join(" ")]);
        if let Some(packages) = &self.packages {
            command.env("PYTHONPATH", packages);
        }
        sample::time(&mut command, program.expected)
    }
}
