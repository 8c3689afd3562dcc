//! `cargo xtask clients`: real clients of others, installed from their registries, against a gateway of ours.

use std::process::Command;

use anyhow::Result;

use crate::{Tree, process};

/// A client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Client {
    /// The official SDK of the Model Context Protocol for Python
    Mcp,
}

impl Client {
    const fn name(self) -> &'static str {
        match self {
            Self::Mcp => "mcp",
        }
    }

    /// What pip installs for it.
    const fn packages(self) -> &'static [&'static str] {
        match self {
            Self::Mcp => &["mcp>=1.20,<2"],
        }
    }
}

/// Installs a client into an environment of its own below cargo's target directory, unless it is there, and runs it.
///
/// # Errors
/// When it cannot be installed, and when it does not get what it is to get.
pub fn clients(tree: &Tree, client: Client) -> Result<()> {
    process::run(process::cargo().args(["build", "--quiet", "--package", "casemate"]))?;
    let target = process::target_directory()?;
    let environment = target.join("clients").join(client.name());
    let python = environment.join("bin/python");
    if !python.exists() {
        process::run(
            Command::new("/usr/bin/python3")
                .args(["-m", "venv"])
                .arg(&environment),
        )?;
    }
    let mut install = Command::new(&python);
    install.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ]);
    process::run(install.args(client.packages()))?;
    let script = tree
        .root()
        .join("crates/xtask/clients")
        .join(client.name())
        .with_extension("py");
    process::run(
        Command::new(python)
            .arg(script)
            .arg(target.join("debug/casemate")),
    )
}
