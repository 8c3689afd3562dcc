//! `cargo xtask clients`: real clients of others, installed from their registries, against a gateway of ours.

use std::process::Command;

use anyhow::Result;

use crate::{Tree, process};

/// A client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Client {
    /// The official SDK of the Model Context Protocol for Python, in both versions that people have
    Mcp,
    /// schemathesis, which makes requests from the description of the interface
    Schemathesis,
}

/// A program that uses a client, and what pip installs for it.
struct Script {
    name: &'static str,
    package: &'static str,
}

impl Client {
    const fn scripts(self) -> &'static [Script] {
        match self {
            Self::Mcp => &[
                Script {
                    name: "mcp_sdk_1",
                    package: "mcp>=1.20,<2",
                },
                Script {
                    name: "mcp_sdk_2",
                    package: "mcp>=2,<3",
                },
            ],
            Self::Schemathesis => &[Script {
                name: "openapi_fuzz",
                package: "schemathesis>=4,<5",
            }],
        }
    }
}

/// Installs a client into environments of its own below cargo's target directory, unless it is there, and runs it.
///
/// # Errors
/// When it cannot be installed, and when it does not get what it is to get.
pub fn clients(tree: &Tree, client: Client) -> Result<()> {
    process::run(process::cargo().args(["build", "--quiet", "--package", "casemate"]))?;
    let target = process::target_directory()?;
    for Script { name, package } in client.scripts() {
        println!("{name}: {package}");
        let environment = target.join("clients").join(name);
        let python = environment.join("bin/python");
        if !python.exists() {
            let mut make = Command::new("/usr/bin/python3");
            process::run(make.args(["-m", "venv"]).arg(&environment))?;
        }
        let mut install = Command::new(&python);
        install.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ]);
        process::run(install.arg(package))?;
        let script = tree.root().join("crates/xtask/clients").join(name);
        let mut run = Command::new(python);
        run.arg("-B").arg(script.with_extension("py"));
        process::run(run.arg(target.join("debug/casemate")))?;
    }
    Ok(())
}
