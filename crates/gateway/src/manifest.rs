//! What a tool is. Trusted code says so; a caller only names a tool (I14).

use casemate_model::SideEffect;

/// A tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Its name.
    pub name: &'static str,
    /// What it does to the world.
    pub side_effect: SideEffect,
}

/// The tools of `casemate run`. Whatever they make stays in the sandbox until somebody takes it out.
pub const SANDBOX_TOOLS: &[Manifest] = &[
    Manifest {
        name: "python",
        side_effect: SideEffect::Draft,
    },
    Manifest {
        name: "shell",
        side_effect: SideEffect::Draft,
    },
];
