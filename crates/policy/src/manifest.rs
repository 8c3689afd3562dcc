//! What a tool is: what it takes, what it does to the world, and what it needs for that.

mod close;
mod expected;
mod input;
mod keys;
pub(crate) mod keywords;
mod sound;
mod words;

use std::path::Path;

use casemate_model::{Digest, SideEffect, Tier};
use serde::Serialize;

use self::input::InputSchema;
pub use self::{
    input::{MAX_INPUT_SCHEMA_BYTES, MAX_INPUT_SCHEMA_DEPTH},
    words::{ApprovalRule, Idempotency, Reads, Redaction, Returns},
};
use crate::{
    arguments::{ArgumentFault, Arguments},
    diagnostic::{Diagnostic, Fault, Report, render_diagnostics},
    domain::DomainRule,
    profile::Syntax,
    secrets::secret_in,
    source::{Paper, SourceError},
    walk::walk,
};

/// The largest manifest, in bytes.
pub const MAX_MANIFEST_BYTES: usize = 128 << 10;

const PAPER: Paper = Paper {
    noun: "manifest",
    max_bytes: MAX_MANIFEST_BYTES,
    needs: "`name`, and is read as a most risky tool until it says more",
};

/// The tools that every build has.
const BUILTIN: &[(&str, &[u8])] = &[
    (
        "the built-in manifest of `python`",
        include_bytes!("../tools/python.toml"),
    ),
    (
        "the built-in manifest of `shell`",
        include_bytes!("../tools/shell.toml"),
    ),
];

/// What one tool is. Every field is described in [`manifest_reference`](crate::manifest_reference).
///
/// Only its name has to be said: whatever else is left out is read as what risks more, and
/// [`assumed`](Self::assumed) tells what that was.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// The tool.
    pub name: String,
    /// For people.
    pub version: String,
    /// What it does, for models and people.
    pub description: String,
    /// What it does to the world.
    pub side_effect: SideEffect,
    /// The least tier of a profile that may list it.
    pub tier: Tier,
    /// Scopes that a caller needs for it, beside those of the profile.
    pub scopes: Vec<String>,
    /// Where it may connect to, if the profile allows it too.
    pub destinations: Vec<DomainRule>,
    /// The handle of the credential that its requests get outside of the sandbox.
    pub credential: Option<String>,
    /// Who says whether a call waits for a person.
    pub approval: ApprovalRule,
    /// A call ends after so long, in milliseconds.
    pub timeout_ms: u64,
    /// Whether a call needs an idempotency key.
    pub idempotency: Idempotency,
    /// Which fields are never shown.
    pub redact: Redaction,
    /// What flows in and out.
    pub labels: Flows,
    /// What a call costs at most, beside its time and output.
    pub cost: Cost,
    pub(crate) input: InputSchema,
    pub(crate) assumed: Vec<&'static str>,
    pub(crate) digest: Digest,
}

/// What flows into a tool and out of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Flows {
    /// What it gets to see.
    pub reads: Reads,
    /// What its results are worth as instructions.
    pub returns: Returns,
}

/// The most that a call may cost of anything.
pub(crate) const MAX_COST: u64 = 1_000_000_000_000;

/// What a call costs at most, as budgets count it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Cost {
    /// Tokens of models.
    pub tokens: u64,
    /// Money, in millionths of the one currency that a deployment counts in.
    pub money_micros: u64,
}

impl Cost {
    fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// Why there is no manifest.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// The file could not be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The file was read and is wrong.
    #[error("the manifest {name} has {} error{}", .diagnostics.len(), if .diagnostics.len() == 1 { "" } else { "s" })]
    Invalid {
        /// How the reader knows it.
        name: String,
        /// Its bytes.
        text: Vec<u8>,
        /// Everything that is wrong with it.
        diagnostics: Vec<Diagnostic>,
    },
}

impl ManifestError {
    /// The errors with their lines, as plain text, if the file could be read.
    #[must_use]
    pub fn rendered(&self) -> Option<String> {
        match self {
            Self::Invalid {
                name,
                text,
                diagnostics,
            } => Some(render_diagnostics(name, text, diagnostics)),
            Self::Source(_) => None,
        }
    }
}

impl Manifest {
    /// Reads the file at `path`, which is called `*.json` or `*.toml`.
    ///
    /// # Errors
    /// When the file cannot be read or anything in it is wrong.
    pub fn load(path: &Path) -> Result<Self, ManifestError> {
        let (text, syntax) = PAPER.load(path)?;
        Self::parse_named(&path.to_string_lossy(), &text, syntax)
    }

    /// The tools that every build has: `python` and `shell`.
    ///
    /// # Errors
    /// Never in a build that passed its tests.
    pub fn builtin() -> Result<Vec<Self>, ManifestError> {
        BUILTIN
            .iter()
            .map(|(name, text)| Self::parse_named(name, text, Syntax::Toml))
            .collect()
    }

    /// Reads a manifest from its bytes.
    ///
    /// # Errors
    /// Everything that is wrong, in the order of the file; at most [`MAX_DIAGNOSTICS`](crate::MAX_DIAGNOSTICS)
    /// and a note that there are more.
    pub fn parse(source: &[u8], syntax: Syntax) -> Result<Self, Vec<Diagnostic>> {
        let mut report = Report::new(source);
        let mut manifest = Self::blank();
        if let Some(root) = PAPER.tree(source, syntax, &mut report) {
            walk(&root, &mut manifest, &mut report);
        }
        if let Some(what) = secret_in(source) {
            report.add(0, "", || {
                Fault::new(
                    format!("somewhere in the file is what looks like {what}"),
                    "take it out and revoke it: models and logs see manifests",
                )
            });
        }
        if manifest.assumed.contains(&"scopes") {
            manifest.scopes = vec![manifest.name.clone()];
        }
        match manifest.canonical() {
            Ok(form) => manifest.digest = Digest::of(&form),
            Err(error) => report.add(0, "", || {
                Fault::new(
                    format!("the manifest has no canonical form: {error}"),
                    "write its numbers as JSON has them",
                )
            }),
        }
        report.finish(manifest)
    }

    fn parse_named(name: &str, text: &[u8], syntax: Syntax) -> Result<Self, ManifestError> {
        Self::parse(text, syntax).map_err(|diagnostics| ManifestError::Invalid {
            name: name.to_owned(),
            text: text.to_vec(),
            diagnostics,
        })
    }

    /// Whether `arguments` are what the tool takes.
    ///
    /// # Errors
    /// The first field that is wrong, and what was expected there; never what was found.
    pub fn check(&self, arguments: &Arguments) -> Result<(), ArgumentFault> {
        self.input.check(arguments.value())
    }

    /// The JSON Schema of its arguments, as it was written.
    #[must_use]
    pub const fn input(&self) -> &serde_json::Value {
        self.input.written()
    }

    /// The keys that were left out and are read as what risks more.
    #[must_use]
    pub fn assumed(&self) -> &[&'static str] {
        &self.assumed
    }

    /// The SHA-256 of the canonical form: what an approval, a decision or a record means by this tool.
    ///
    /// It is the same for both languages, and whether something is said or left out and read so.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// The canonical form (RFC 8785): a manifest in JSON that says everything.
    ///
    /// # Errors
    /// Never for a manifest that was parsed.
    pub fn canonical(&self) -> Result<Vec<u8>, serde_json::Error> {
        let Self {
            name,
            version,
            description,
            side_effect,
            tier,
            scopes,
            destinations,
            credential,
            approval,
            timeout_ms,
            idempotency,
            redact,
            labels,
            cost,
            input,
            assumed: _,
            digest: _,
        } = self;
        serde_json_canonicalizer::to_vec(&Canonical {
            name,
            version,
            description,
            side_effect: *side_effect,
            tier: *tier,
            scopes,
            destinations: destinations.iter().map(DomainRule::as_str).collect(),
            credential: credential.as_deref(),
            approval: *approval,
            timeout_ms: *timeout_ms,
            idempotency: *idempotency,
            redact: match redact {
                Redaction::Everything => None,
                Redaction::Fields(fields) => Some(fields),
            },
            labels: *labels,
            cost: *cost,
            input: input.written(),
        })
    }

    /// Where a reader starts: everything reads as what risks more.
    fn blank() -> Self {
        Self {
            name: String::new(),
            version: "0".to_owned(),
            description: String::new(),
            side_effect: SideEffect::ExternalSend,
            tier: Tier::Code,
            scopes: Vec::new(),
            destinations: Vec::new(),
            credential: None,
            approval: ApprovalRule::Required,
            timeout_ms: 0,
            idempotency: Idempotency::Required,
            redact: Redaction::Everything,
            labels: Flows {
                reads: Reads::Private,
                returns: Returns::Untrusted,
            },
            cost: Cost::default(),
            input: InputSchema::none(),
            assumed: Vec::new(),
            digest: Digest::of(b""),
        }
    }
}

#[derive(Serialize)]
struct Canonical<'m> {
    name: &'m str,
    version: &'m str,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'m str,
    side_effect: SideEffect,
    tier: Tier,
    scopes: &'m [String],
    destinations: Vec<&'m str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    credential: Option<&'m str>,
    approval: ApprovalRule,
    timeout_ms: u64,
    idempotency: Idempotency,
    #[serde(skip_serializing_if = "Option::is_none")]
    redact: Option<&'m Vec<String>>,
    labels: Flows,
    // Left out as long as there is none, so that it changes no digest.
    #[serde(skip_serializing_if = "Cost::is_none")]
    cost: Cost,
    input: &'m serde_json::Value,
}
