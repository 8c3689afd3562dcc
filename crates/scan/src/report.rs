//! What was found.

use casemate_model::{Capability, words};

/// The most source that is looked at, in bytes.
pub const MAX_SOURCE_BYTES: usize = 1 << 20;

/// The most findings that are kept.
pub const MAX_FINDINGS: usize = 64;

words! {
    /// What a source is written in.
    Language {
        /// Python.
        Python = "python",
        /// A POSIX shell, or bash.
        Shell = "shell",
        /// Something else.
        Unknown = "unknown",
    }
}
words! {
    /// Why not everything was understood.
    Gap {
        /// It is a language that the scanner does not know.
        UnknownLanguage = "unknown_language",
        /// There is more than is looked at, or a name is longer.
        TooLarge = "too_large",
        /// It is not UTF-8.
        NotText = "not_text",
        /// A string has no end.
        Unfinished = "unfinished",
        /// A name is written so that it is not followed: beyond ASCII, by a star, in pieces; or what is executed is not in
        /// the source.
        Unclear = "unclear",
        /// There were more findings, or more imported names, than are kept.
        TooMany = "too_many",
    }
}

/// Something that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// What it allows the program to do.
    pub capability: Capability,
    /// By what, a name of the tables.
    pub what: &'static str,
    /// In which line, the first time.
    pub line: usize,
}

/// What was found in a source.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Report {
    /// In which language it was read.
    pub language: Language,
    /// Why not everything was understood, if it was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gap: Option<Gap>,
    /// What was found, each once.
    pub findings: Vec<Finding>,
}

impl Report {
    pub(crate) const fn new(language: Language) -> Self {
        Self {
            language,
            gap: None,
            findings: Vec::new(),
        }
    }

    /// Notes that not everything was understood; the first reason stays.
    pub(crate) fn leave(&mut self, gap: Gap) {
        self.gap.get_or_insert(gap);
    }

    pub(crate) fn find(&mut self, capability: Capability, what: &'static str, line: usize) {
        let known = self
            .findings
            .iter()
            .any(|finding| (finding.capability, finding.what) == (capability, what));
        if known {
            return;
        }
        if self.findings.len() == MAX_FINDINGS {
            self.leave(Gap::TooMany);
            return;
        }
        self.findings.push(Finding {
            capability,
            what,
            line,
        });
    }

    /// Whether something of this kind was found.
    #[must_use]
    pub fn has(&self, capability: Capability) -> bool {
        self.findings
            .iter()
            .any(|finding| finding.capability == capability)
    }

    /// What the program could do, each once, in the order of the list.
    #[must_use]
    pub fn capabilities(&self) -> Vec<Capability> {
        Capability::ALL
            .iter()
            .copied()
            .filter(|capability| self.has(*capability))
            .collect()
    }
}
