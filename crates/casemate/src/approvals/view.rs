//! What an approver sees: every byte that would run, in characters that hide nothing, and where each part comes from.

use std::fmt::Write as _;

use casemate_model::{Text, is_hidden};
use jiff::Timestamp;
use serde_json::Value;

use super::case::Case;

/// The most lines, and the most bytes, of one part that are shown without `--full`.
const MAX_LINES: usize = 200;
const MAX_BYTES: usize = 16 << 10;

/// What is done by a request on the way out.
const REQUEST: &str = "egress.request";

/// The mark before every line that the agent wrote.
const UNTRUSTED: &str = "\u{2502} ";

/// A call, and how many of its bytes are not shown.
pub(super) fn whole(case: &Case, full: bool) -> (String, usize) {
    let mut page = Page {
        text: String::new(),
        full,
        hidden: 0,
    };
    page.facts(case);
    page.program(case);
    if page.hidden > 0 {
        let hidden = page.hidden;
        page.line(&format!(
            "\n{hidden} bytes of this call are NOT shown above: --full shows all of it"
        ));
    }
    (page.text, page.hidden)
}

struct Page {
    text: String,
    full: bool,
    hidden: usize,
}

impl Page {
    fn line(&mut self, text: &str) {
        self.text.push_str(text);
        self.text.push('\n');
    }

    fn fact(&mut self, name: &str, value: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "{name:<12} {}", visible(value));
    }

    /// What the gateway knows.
    fn facts(&mut self, case: &Case) {
        let (call, said) = (&case.call, &case.said);
        self.line(&format!("{}  {}", case.decision, visible(&said.state)));
        self.fact(
            "asked by",
            &format!("{} of the tenant {}", call.user, call.tenant),
        );
        self.fact(
            "agent",
            &format!("{}, on the route {}", call.agent, call.route),
        );
        self.fact(
            "tool",
            &format!("{}, which is a {}", call.tool, call.side_effect),
        );
        if let Some(destination) = &call.destination {
            self.fact("sends to", destination);
        }
        if let Some(within) = &call.within {
            let names = [
                within
                    .thread
                    .as_ref()
                    .map(|thread| format!("the thread {thread}")),
                within
                    .session
                    .map(|session| format!("the session {session}")),
                within
                    .context
                    .map(|context| format!("the context {context}")),
            ];
            let names: Vec<_> = names.into_iter().flatten().collect();
            self.fact("runs in", &names.join(", "));
        }
        self.fact("may use", &limits(case));
        self.fact("waits since", &time(said.held_at_ms));
        self.fact("until", &time(said.expires_at_ms));
        self.fact("because", &said.detail);
        if !said.policies.is_empty() {
            self.fact("policies", &said.policies.join(", "));
        }
        let of = match said.roles.as_slice() {
            [] => String::new(),
            roles => format!(" of {}", roles.join(", ")),
        };
        self.fact("needs", &format!("{} consent{of}", said.needed));
        for vote in &said.votes {
            let why = match vote.reason.as_str() {
                "" => String::new(),
                reason => format!(": {reason}"),
            };
            self.fact("answered", &format!("{} by {}{why}", vote.vote, vote.user));
        }
        self.fact("policy", &call.policy.to_string());
        self.fact("action hash", &case.action.to_string());
    }

    /// What the agent wrote: every line of it is marked.
    fn program(&mut self, case: &Case) {
        let program = &case.call.program;
        self.line("\nWritten by the agent, and not to be trusted (marked \u{2502}; what hides is shown as \\u{\u{2026}}):");
        for (number, word) in program.argv.iter().enumerate() {
            self.part(&format!("argument {number}"), word.as_bytes());
        }
        // A request has its fields where a program has its variables.
        let kind = match case.call.tool == REQUEST {
            true => "field",
            false => "variable",
        };
        for (name, value) in &program.env {
            self.part(&format!("{kind} {name}"), value.as_bytes());
        }
        if let Some(code) = &case.code {
            let kind = if program.cell.is_some() {
                "cell"
            } else {
                "source"
            };
            self.part(kind, code.as_bytes());
        }
        for (name, content) in &case.files {
            // The source was shown.
            if Some(content) == case.code.as_ref() {
                self.line(&format!(
                    "{UNTRUSTED}file {}: the source above",
                    shown(name)
                ));
            } else {
                self.part(&format!("file {}", shown(name)), content.as_bytes());
            }
        }
        for name in &case.missing {
            self.line(&format!(
                "{UNTRUSTED}file {}: not kept any more",
                shown(name)
            ));
        }
        // Its own name is nothing that the agent chose.
        let own = case.decision.to_string();
        let key = case.call.idempotency_key.as_ref();
        if let Some(key) = key.filter(|key| **key != own) {
            self.part("idempotency key", key.as_bytes());
        }
    }

    /// One part: all of it, or as much as fits and a line that says how much more there is.
    fn part(&mut self, name: &str, bytes: &[u8]) {
        let text = as_text(bytes);
        let name = visible(name);
        let mut lines = text.split('\n').peekable();
        let first = lines.peek().copied().unwrap_or_default();
        if text.len() <= 60 && !text.contains('\n') {
            return self.line(&format!("{UNTRUSTED}{name}: {}", visible(first)));
        }
        self.line(&format!("{UNTRUSTED}{name} ({} bytes):", bytes.len()));
        let (mut shown_bytes, mut shown_lines) = (0, 0);
        for line in lines {
            let over = shown_lines >= MAX_LINES || shown_bytes + line.len() > MAX_BYTES;
            if over && !self.full {
                let mut end = MAX_BYTES.saturating_sub(shown_bytes).min(line.len());
                while !line.is_char_boundary(end) {
                    end -= 1;
                }
                let head = line.get(..end).unwrap_or_default();
                if shown_lines < MAX_LINES && end > 0 {
                    self.line(&format!("{UNTRUSTED}  {}", visible(head)));
                    shown_bytes += end;
                }
                let left = text.len().saturating_sub(shown_bytes);
                self.hidden += left;
                self.line(&format!(
                    "{UNTRUSTED}  \u{2026} {left} more bytes are NOT shown"
                ));
                return;
            }
            self.line(&format!("{UNTRUSTED}  {}", visible(line)));
            shown_bytes += line.len() + 1;
            shown_lines += 1;
        }
    }
}

fn limits(case: &Case) -> String {
    let limits = &case.call.limits;
    format!(
        "{} s, {} MiB of memory, {} processes, {} KiB of output",
        limits.wall_ms.div_ceil(1_000),
        limits.memory_bytes >> 20,
        limits.processes,
        limits.output_bytes >> 10
    )
}

/// Bytes as text: what is not UTF-8 as escapes.
fn as_text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

fn shown(text: &Text) -> String {
    visible(&as_text(text.as_bytes()))
}

/// Text in which nothing drives a terminal, hides, or changes the order of what is read.
pub(super) fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '\t' => out.push_str("\\t"),
            char if char.is_control() || is_hidden(char) => {
                let _ = write!(out, "{}", char.escape_unicode());
            }
            char => out.push(char),
        }
    }
    out
}

fn time(at_ms: u64) -> String {
    let at = i64::try_from(at_ms / 1_000).unwrap_or(i64::MAX);
    match Timestamp::from_second(at) {
        Ok(at) => at.to_string(),
        Err(_) => "for ever".to_owned(),
    }
}

/// Calls that wait, a line each.
pub(super) fn table(found: &Value) -> String {
    let mut text = String::new();
    let all = found.get("approvals").and_then(Value::as_array);
    let all = all.map_or(&[][..], Vec::as_slice);
    if all.is_empty() {
        text.push_str("no call waits\n");
    }
    for row in all {
        let word = |name: &str| visible(row.get(name).and_then(Value::as_str).unwrap_or_default());
        let at = |name: &str| time(row.get(name).and_then(Value::as_u64).unwrap_or_default());
        let votes = row.get("votes").and_then(Value::as_array);
        let _ = writeln!(
            text,
            "{}  {:<17} {:<12} {:<12} {} until {}  {} answered",
            word("decision"),
            word("state"),
            word("agent"),
            word("tool"),
            at("held_at_ms"),
            at("expires_at_ms"),
            votes.map_or(0, Vec::len)
        );
    }
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn nothing_hides_in_what_is_shown() {
        let text = "a\u{1b}[2J\u{202e}gpj.exe\u{200b}\u{e0041}\u{7}b";
        let shown = visible(text);
        assert_eq!(
            shown,
            "a\\u{1b}[2J\\u{202e}gpj.exe\\u{200b}\\u{e0041}\\u{7}b"
        );
        assert!(
            shown
                .chars()
                .all(|char| !char.is_control() && !is_hidden(char))
        );
    }

    #[test]
    fn what_is_cut_is_counted_and_said() {
        let page = |full: bool, bytes: &[u8]| {
            let mut page = Page {
                text: String::new(),
                full,
                hidden: 0,
            };
            page.part("source", bytes);
            (page.text, page.hidden)
        };
        let long = "x = 1\n".repeat(40_000);
        let (text, hidden) = page(false, long.as_bytes());
        assert!(text.contains(&format!("{hidden} more bytes are NOT shown")));
        let shown = text.matches("x = 1").count() * 6;
        assert_eq!(shown + hidden, long.len());
        let (text, hidden) = page(true, long.as_bytes());
        assert_eq!(hidden, 0);
        assert_eq!(text.matches("x = 1").count(), 40_000);
        let line = "q".repeat(200_000);
        let (text, hidden) = page(false, line.as_bytes());
        assert_eq!(text.matches('q').count() + hidden, 200_000);
        // Every line of it is marked.
        assert!(text.lines().all(|line| line.starts_with(UNTRUSTED)));
    }
}
