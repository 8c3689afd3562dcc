//! Shell: the words of a script, wherever they stand. A word that means nothing in its place is found all the same.

use casemate_model::Capability;

use crate::{
    Gap, Report,
    commands::are_hidden,
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
    if is_in_pieces(source) || are_hidden(source) {
        report.leave(Gap::Unclear);
    }
    if let Some(number) = decodes.filter(|_| executes) {
        report.find(Capability::Obfuscation, "executes what it decodes", number);
    }
}

/// Whether a word goes on over a quote or has an escape in it, as `c''url` and `c\url` do.
fn is_in_pieces(source: &str) -> bool {
    let is_of_word = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    let mut chars = source.chars().peekable();
    let (mut before, mut quote) = (None, None);
    while let Some(c) = chars.next() {
        match (quote, c) {
            (None, '\\') if is_of_word(chars.peek().copied()) => return true,
            (None | Some('"'), '\\') => _ = chars.next(),
            (None, '\'' | '"') if is_of_word(before) => return true,
            (None, '\'' | '"') => quote = Some(c),
            (Some(opened), _) if opened == c => {
                if is_of_word(chars.peek().copied()) {
                    return true;
                }
                quote = None;
            }
            (None, '#') if before.is_none_or(char::is_whitespace) => {
                while chars.next_if(|c| *c != '\n').is_some() {}
            }
            _ => {}
        }
        before = Some(c);
    }
    false
}
