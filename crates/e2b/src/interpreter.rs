//! The code interpreter: code and contexts, and what code gives, one JSON object in a line.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::Fault;

/// `POST /execute`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Execute {
    /// The code.
    pub code: String,
    /// Where.
    pub context_id: Option<String>,
    /// In which language; Python if nothing is said.
    pub language: Option<String>,
    /// Variables.
    pub env_vars: Option<BTreeMap<String, String>>,
}

/// `POST /contexts`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct NewContext {
    /// In which language.
    pub language: Option<String>,
    /// Where it starts.
    pub cwd: Option<String>,
}

/// A context.
#[derive(Clone, Debug, Serialize)]
pub struct Context {
    /// Its id.
    pub id: String,
    /// Its language.
    pub language: String,
    /// Where it started.
    pub cwd: String,
}

/// A language in which code runs here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// Python, whose variables stay.
    Python,
    /// Bash: a fresh one each time.
    Bash,
}

impl Language {
    /// The word as it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::Bash => "bash",
        }
    }

    /// The language of this name; Python if none is named.
    ///
    /// # Errors
    /// When there is none.
    pub fn of(name: Option<&str>) -> Result<Self, Fault> {
        match name.map(str::to_ascii_lowercase).as_deref() {
            None | Some("" | "python" | "python3") => Ok(Self::Python),
            Some("bash" | "sh") => Ok(Self::Bash),
            Some(_) => Err(Fault::invalid(
                "the languages here are `python` and `bash`: run another with `commands.run`, if the image has it",
            )),
        }
    }
}

fn line(value: &Value) -> Vec<u8> {
    let mut line = serde_json::to_vec(value).unwrap_or_default();
    line.push(b'\n');
    line
}

/// The number of an execution.
#[must_use]
pub fn number(count: u64) -> Vec<u8> {
    line(&json!({ "type": "number_of_executions", "execution_count": count }))
}

/// Output.
#[must_use]
pub fn output(is_error: bool, text: &str, timestamp: &str) -> Vec<u8> {
    let kind = if is_error { "stderr" } else { "stdout" };
    line(&json!({ "type": kind, "text": text, "timestamp": timestamp }))
}

/// An exception.
#[must_use]
pub fn error(name: &str, value: &str, traceback: &str) -> Vec<u8> {
    line(&json!({ "type": "error", "name": name, "value": value, "traceback": traceback }))
}

/// Nothing, so that it is noticed when the client is gone.
#[must_use]
pub fn keepalive() -> Vec<u8> {
    line(&json!({ "type": "keepalive" }))
}

/// The end.
#[must_use]
pub fn end() -> Vec<u8> {
    line(&json!({ "type": "end_of_execution" }))
}

/// By which names the SDKs know media types.
const MEDIA: &[(&str, &str)] = &[
    ("text/plain", "text"),
    ("text/html", "html"),
    ("text/markdown", "markdown"),
    ("image/svg+xml", "svg"),
    ("image/png", "png"),
    ("image/jpeg", "jpeg"),
    ("application/pdf", "pdf"),
    ("text/latex", "latex"),
    ("application/json", "json"),
    ("application/javascript", "javascript"),
    ("e2b/data", "data"),
    ("e2b/chart", "chart"),
];

/// A result as notebooks show it, by media type, as a line for a client; nothing for what clients do not know.
#[must_use]
pub fn result(shown: &Value) -> Option<Vec<u8>> {
    let is_main = match shown.get("type")?.as_str()? {
        "result" => true,
        "display" | "update" => false,
        "error" => {
            let text = |key: &str| shown.get(key).and_then(Value::as_str).unwrap_or_default();
            return Some(error(text("name"), text("value"), &traceback(shown)));
        }
        _ => return None,
    };
    let mut told = Map::new();
    told.insert("type".to_owned(), "result".into());
    told.insert("is_main_result".to_owned(), is_main.into());
    let mut extra = Map::new();
    for (media, value) in shown.get("data")?.as_object()? {
        match MEDIA.iter().find(|(known, _)| known == media) {
            Some((_, name)) => {
                let value = match (*name, value) {
                    ("text", Value::String(text)) => unquoted(text).into(),
                    _ => value.clone(),
                };
                told.insert((*name).to_owned(), value);
            }
            None => {
                extra.insert(media.clone(), value.clone());
            }
        }
    }
    if !extra.is_empty() {
        told.insert("extra".to_owned(), extra.into());
    }
    Some(line(&told.into()))
}

/// How code failed, in the lines that it would have written.
#[must_use]
pub fn traceback(shown: &Value) -> String {
    match shown.get("traceback") {
        Some(Value::Array(lines)) => lines.iter().filter_map(Value::as_str).collect(),
        Some(Value::String(text)) => text.clone(),
        _ => String::new(),
    }
}

/// The text of a string, which notebooks show with its quotes.
fn unquoted(text: &str) -> String {
    let quoted = |quote: char| {
        let inner = text.strip_prefix(quote)?.strip_suffix(quote)?;
        Some(inner.to_owned())
    };
    quoted('\'')
        .or_else(|| quoted('"'))
        .unwrap_or_else(|| text.to_owned())
}

/// The first line that is a command of IPython's and not Python, if there is one.
#[must_use]
pub fn magic(code: &str) -> Option<&str> {
    let lines = code.lines().map(str::trim_start);
    let mut magics = lines.filter(|line| {
        let rest = line.strip_prefix('!').or_else(|| line.strip_prefix('%'));
        rest.is_some_and(|rest| {
            rest.starts_with(|first: char| first.is_ascii_alphabetic() || first == '%')
        })
    });
    magics.next()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn told(shown: &Value) -> Value {
        serde_json::from_slice(&result(shown).unwrap()).unwrap()
    }

    #[test]
    fn results_have_the_names_that_clients_know() {
        let shown =
            json!({"type": "result", "data": {"text/plain": "'a'", "image/png": "iVBO", "x/y": 1}});
        assert_eq!(
            told(&shown),
            json!({"type": "result", "is_main_result": true, "text": "a", "png": "iVBO", "extra": {"x/y": 1}})
        );
        let shown = json!({"type": "display", "data": {"text/plain": "2"}});
        assert_eq!(told(&shown)["is_main_result"], false);
        assert_eq!(result(&json!({"type": "clear", "wait": true})), None);
        assert_eq!(result(&json!({})), None);
    }

    #[test]
    fn an_exception_is_an_error() {
        let shown =
            json!({"type": "error", "name": "E", "value": "v", "traceback": ["a\n", "b\n"]});
        assert_eq!(
            told(&shown),
            json!({"type": "error", "name": "E", "value": "v", "traceback": "a\nb\n"})
        );
    }

    #[test]
    fn commands_of_ipython_are_seen() {
        for (code, found) in [
            ("!pip install x", Some("!pip install x")),
            ("x = 1\n  %timeit x", Some("%timeit x")),
            ("%%bash\nls", Some("%%bash")),
            ("x = 5 % 2", None),
            ("x != y", None),
            ("print('!pip')", None),
        ] {
            assert_eq!(magic(code), found, "{code}");
        }
    }

    #[test]
    fn only_languages_that_run_here_are_taken() {
        assert_eq!(Language::of(None), Ok(Language::Python));
        assert_eq!(Language::of(Some("Bash")), Ok(Language::Bash));
        assert!(Language::of(Some("javascript")).is_err());
    }
}
