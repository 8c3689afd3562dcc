//! What a tool is. Trusted code says so; a caller only names a tool (I14).

use casemate_model::SideEffect;
use casemate_ports::Command;

use crate::Code;

/// Where a sandbox has its input files.
const INPUTS: &str = "/workspace/in/";

/// A tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Its name.
    pub name: &'static str,
    /// What it does to the world.
    pub side_effect: SideEffect,
    /// What it runs.
    pub runs: Runs,
}

/// What a tool runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runs {
    /// Python code: a cell, or a script that is one of the call's inputs.
    Python,
    /// Any program of the sandbox.
    Programs,
}

impl Runs {
    /// Whether a call of such a tool may be of this program: otherwise the tool's name would say nothing.
    pub(crate) fn takes(self, command: &Command, code: Option<&Code>) -> bool {
        match self {
            Self::Programs => command.cell.is_none(),
            Self::Python if command.cell.is_some() => true,
            Self::Python => {
                let script = code.and_then(|code| code.input.as_ref());
                let path = script.map(|name| [INPUTS.as_bytes(), name.as_bytes()].concat());
                let mut words = command.argv.iter().map(|word| word.as_bytes());
                words.next() == Some(b"python3")
                    && path.is_some()
                    && words.next() == path.as_deref()
            }
        }
    }
}

/// The tools of `casemate run`. Whatever they make stays in the sandbox until somebody takes it out.
pub const SANDBOX_TOOLS: &[Manifest] = &[
    Manifest {
        name: "python",
        side_effect: SideEffect::Draft,
        runs: Runs::Python,
    },
    Manifest {
        name: "shell",
        side_effect: SideEffect::Draft,
        runs: Runs::Programs,
    },
];
