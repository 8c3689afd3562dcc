//! What is looked for in the source of a call before it runs.

use casemate_model::Capability;
use casemate_scan::{Language, Report, scan};

use crate::Ask;

/// Shells that run what comes after `-c`.
const SHELLS: &[&[u8]] = &[b"sh", b"bash", b"dash"];

/// Looks at the source of a call, wherever it is.
pub(crate) fn look(ask: &Ask) -> Report {
    if let Some(source) = ask.source() {
        return scan(Language::Python, source);
    }
    let mut words = ask.command.argv.iter().map(|word| word.as_bytes());
    let program = words.next().unwrap_or_default();
    let name = program
        .rsplit(|byte| *byte == b'/')
        .next()
        .unwrap_or_default();
    match (SHELLS.contains(&name), words.next(), words.next()) {
        (true, Some(b"-c"), Some(script)) => scan(Language::Shell, script),
        // A program that is executed has no source here.
        _ => scan(Language::Unknown, b""),
    }
}

/// Why a profile that forbids these does not take a call in which that was found, if it does not.
pub(crate) fn refusal(report: &Report, forbidden: &[Capability]) -> Option<String> {
    if forbidden.is_empty() {
        return None;
    }
    let found = report
        .findings
        .iter()
        .find(|finding| forbidden.contains(&finding.capability));
    match (found, report.gap) {
        (Some(finding), _) => Some(format!(
            "sandbox.scan.forbidden has `{}`, and line {} of the source has it: {}",
            finding.capability, finding.line, finding.what
        )),
        (None, Some(gap)) => Some(format!(
            "sandbox.scan.forbidden cannot be looked for in this source: {gap}"
        )),
        (None, None) => None,
    }
}
