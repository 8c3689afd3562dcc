//! Traps on the host: things that a program in a sandbox must not reach, and that tell when it did.

use std::{
    collections::BTreeMap,
    fs::{self, File, Permissions},
    io,
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

use casemate_model::Text;
use casemate_ports::InputFile;
use tempfile::TempDir;

use self::{canary::Canary, listeners::Listeners};
use super::{
    EscapeError, attempt::Input, drive::Observed, error::During as _, random, sink::Captured,
};

mod canary;
mod listeners;

/// What a program prints when it believes that it got out.
const ESCAPED: &str = "ESCAPED";

/// Traps for one attempt. They go away with this value.
#[derive(Debug)]
pub struct Traps {
    nonce: String,
    neighbour: Neighbour,
    /// Where on the host an attempt shall try to get.
    places: BTreeMap<&'static str, String>,
    /// What must not come out of a sandbox, and where it is.
    secrets: Vec<(&'static str, String)>,
    canary: Canary,
    listeners: Listeners,
    directory: TempDir,
}

/// By what the program of another sandbox is known.
#[derive(Clone, Debug)]
pub(super) struct Neighbour {
    pub(super) nonce: String,
    pub(super) secret: String,
}

impl Traps {
    /// Lays traps for one attempt. `own_secret` stands in this process's environment, if whoever started
    /// it put one there.
    ///
    /// # Errors
    /// When the host does not let us.
    pub fn lay(own_secret: Option<String>) -> Result<Self, EscapeError> {
        let nonce = random::text();
        let neighbour = Neighbour {
            nonce: random::text(),
            secret: random::text(),
        };
        let directory = open_directory().during("make a directory for the traps")?;
        let canary = Canary::lay(directory.path()).during("lay the canaries")?;
        let listeners = Listeners::lay(directory.path(), &nonce).during("listen for visitors")?;
        let mut places = listeners.places().during("listen for visitors")?;
        places.insert("nonce", nonce.clone());
        places.insert("traps_path", directory.path().display().to_string());
        places.insert("canary_path", canary.path().display().to_string());
        places.insert("canary_pid", canary.pid().to_string());
        places.insert("keeper_pid", std::process::id().to_string());
        places.insert("neighbour_nonce", neighbour.nonce.clone());
        let mut secrets = Vec::from(canary.secrets());
        secrets.push(("another call", neighbour.secret.clone()));
        secrets.extend(own_secret.map(|secret| ("the keeper's environment", secret)));
        Ok(Self {
            nonce,
            neighbour,
            places,
            secrets,
            canary,
            listeners,
            directory,
        })
    }

    /// By what everything that the attempt starts is known.
    pub(super) fn nonce(&self) -> &str {
        &self.nonce
    }

    pub(super) const fn neighbour(&self) -> &Neighbour {
        &self.neighbour
    }

    /// Says where the program of the other sandbox is.
    pub(super) fn neighbour_is(&mut self, pid: u32) {
        self.places.insert("neighbour_pid", pid.to_string());
    }

    /// `text` with the places in it, each written `{name}`.
    pub(super) fn fill(&self, text: &str) -> String {
        let fill = |text: String, (name, place): (&&str, &String)| {
            text.replace(&format!("{{{name}}}"), place)
        };
        self.places.iter().fold(text.to_owned(), fill)
    }

    /// The inputs as open files.
    pub(super) fn write_inputs(&self, inputs: &[Input]) -> Result<Vec<InputFile>, EscapeError> {
        let write = |(index, input): (usize, &Input)| {
            let path = self.directory.path().join(format!("input-{index}"));
            fs::write(&path, &input.text)?;
            Ok(InputFile {
                name: input.name.as_str().into(),
                file: File::open(path)?,
            })
        };
        let files: io::Result<_> = inputs.iter().enumerate().map(write).collect();
        files.during("write the inputs")
    }

    /// Every trap into which the attempt fell.
    pub(super) fn sprung(
        &self,
        observed: &Observed,
        captured: &Captured,
    ) -> Result<Vec<String>, EscapeError> {
        let mut findings = self.listeners.visits().during("look for visitors")?;
        findings.extend(self.canary.harm().during("look at the canaries")?);
        for (stream, bytes) in observed.streams() {
            for (place, secret) in &self.secrets {
                if holds(bytes, secret) {
                    findings.push(format!("the secret of {place} came out on {stream}"));
                }
            }
            let text = String::from_utf8_lossy(bytes);
            let escapes = text.lines().filter(|line| line.starts_with(ESCAPED));
            let short = |line: &str| line.chars().take(MAX_LINE).collect::<String>();
            findings.extend(escapes.map(|line| Text::from(short(line)).to_string()));
        }
        for (path, bytes) in captured.files() {
            for (place, secret) in &self.secrets {
                if holds(bytes, secret) || path.contains(secret) {
                    findings.push(format!("the secret of {place} came out in `{path}`"));
                }
            }
        }
        findings.truncate(MAX_FINDINGS);
        Ok(findings)
    }
}

/// More would not say more.
const MAX_FINDINGS: usize = 32;
const MAX_LINE: usize = 300;

fn holds(bytes: &[u8], secret: &str) -> bool {
    let secret = secret.as_bytes();
    bytes.windows(secret.len()).any(|window| window == secret)
}

/// A directory that everybody may look into: not permissions shall keep an attempt away.
fn open_directory() -> io::Result<TempDir> {
    let directory = tempfile::Builder::new()
        .prefix("casemate-traps-")
        .tempdir()?;
    open_to_all(directory.path(), 0o755)?;
    Ok(directory)
}

fn open_to_all(path: &Path, mode: u32) -> io::Result<()> {
    fs::set_permissions(path, Permissions::from_mode(mode))
}
