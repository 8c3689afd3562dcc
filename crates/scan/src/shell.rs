//! Shell: the words of a script, wherever they stand. A word that means nothing in its place is found all the same.

use casemate_model::Capability;

use crate::{
    Report,
    tables::{SHELL, outside},
};

pub(crate) fn scan(source: &str, report: &mut Report) {
    let (mut decodes, mut executes) = (None, false);
    for (number, line) in (1..).zip(source.lines()) {
        let parts = line.split(|c: char| c.is_whitespace() || "|&;()<>`$\"'{}=,:@".contains(c));
        for word in parts.filter(|word| !word.is_empty()) {
            let name = word.rsplit('/').next().unwrap_or(word);
            for (known, capability) in SHELL {
                if name == *known || word.starts_with("/dev/") && word.starts_with(known) {
                    report.find(*capability, known, number);
                }
            }
            if ["base64", "xxd", "openssl", "uudecode"].contains(&name) {
                decodes = Some(number);
            }
            executes |= ["sh", "bash", "dash", "eval", "source", "python3", "perl"].contains(&name);
            // Programs are called by their paths.
            let program = ["/usr/bin/", "/bin/", "/usr/local/bin/", "/dev/null"];
            if let Some((known, capability)) = outside(word)
                && (word.contains("..") || !program.iter().any(|start| word.starts_with(start)))
            {
                report.find(capability, known, number);
            }
        }
    }
    if let Some(number) = decodes.filter(|_| executes) {
        report.find(Capability::Obfuscation, "executes what it decodes", number);
    }
}
