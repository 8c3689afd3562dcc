//! What is looked for in the source of a call before it runs.

use std::sync::LazyLock;

use casemate_model::Capability;
use casemate_scan::{Gap, Language, Report, Seen, scan};

use crate::Ask;

/// Shells that run what comes after `-c`.
const SHELLS: &[&str] = &["sh", "bash", "dash"];

/// Where they are, if they are not called by their names alone.
const DIRECTORIES: &[&str] = &["/bin/", "/usr/bin/"];

/// Variables by which shells run more than that.
const STARTS: &[&str] = &["BASH_ENV", "ENV", "SHELLOPTS"];

/// What was looked at before.
static SEEN: LazyLock<Seen> = LazyLock::new(Seen::default);

/// Looks at the source of a tenant's call, wherever it is.
pub(crate) fn look(tenant: &str, ask: &Ask) -> Report {
    let scan = |language, source: &[u8]| SEEN.report(tenant, language, source, scan);
    if let Some(source) = ask.source() {
        return scan(Language::Python, source);
    }
    let mut words = ask.command.argv.iter().map(|word| word.as_bytes());
    match (words.next(), words.next(), words.next()) {
        (Some(program), Some(b"-c"), Some(script)) if is_shell(program) => {
            let mut report = scan(Language::Shell, script);
            let env = &ask.command.env;
            // What is given to it can be executed by it.
            if words.next().is_some() || STARTS.iter().any(|name| env.contains_key(*name)) {
                report.gap.get_or_insert(Gap::Unclear);
            }
            report
        }
        _ => look_at_program(),
    }
}

/// A program that is executed has no source here.
pub(crate) fn look_at_program() -> Report {
    scan(Language::Unknown, b"")
}

/// Whether it is a shell of the sandbox, and not one that a call has put somewhere.
fn is_shell(program: &[u8]) -> bool {
    let is = |name: &str| program == name.as_bytes();
    SHELLS.iter().any(|shell| {
        let path = |directory: &&str| is(&format!("{directory}{shell}"));
        is(shell) || DIRECTORIES.iter().any(path)
    })
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
