//! What is wrong with arguments, in one line without any of their values.

use casemate_model::JsonFault;
use serde_json::error::Category;

use super::{MAX_ARGUMENT_BYTES, MAX_ARGUMENT_DEPTH, MAX_ARGUMENT_MEMBERS};
use crate::{manifest::keywords::escaped, visible::shown};

/// The most characters of a pointer that are shown.
const MAX_POINTER_CHARS: usize = 200;

/// The first thing that is wrong with some arguments.
///
/// A pointer is a JSON pointer (RFC 6901), escaped for people and cut if it is long.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArgumentFault {
    /// Too many bytes.
    #[error("the arguments are larger than {MAX_ARGUMENT_BYTES} bytes")]
    TooLarge,
    /// Something that JSON does not have.
    #[error("the arguments are not strict JSON: {what} at line {line}, column {column}")]
    Syntax {
        /// What is wrong.
        what: String,
        /// The line, from 1.
        line: usize,
        /// The column, from 1, in bytes.
        column: usize,
    },
    /// Not an object.
    #[error("the arguments are not an object")]
    NotAnObject,
    /// Too many levels.
    #[error("the arguments are nested more than {MAX_ARGUMENT_DEPTH} levels deep, at `{pointer}`")]
    TooDeep {
        /// Where.
        pointer: String,
    },
    /// Too many members and elements.
    #[error("the arguments have more than {MAX_ARGUMENT_MEMBERS} members and elements")]
    TooMany,
    /// A key that is given twice.
    #[error("the arguments give `{pointer}` twice")]
    Duplicate {
        /// Where.
        pointer: String,
    },
    /// A number that would be another one after a round through a double.
    #[error("the arguments have a number that JSON does not carry exactly, at byte {byte}")]
    Number {
        /// Where it begins, from 0.
        byte: usize,
    },
    /// A field that the tool needs.
    #[error("the argument `{pointer}` is missing")]
    Missing {
        /// Where.
        pointer: String,
    },
    /// A field that the tool does not know.
    #[error("the argument `{pointer}` is unknown")]
    Unknown {
        /// Where.
        pointer: String,
    },
    /// A field that is not what the tool takes.
    #[error("{} wrong: expected {expected}", subject(.pointer))]
    Unfit {
        /// Where; empty for the arguments as a whole.
        pointer: String,
        /// What was expected.
        expected: String,
    },
}

impl ArgumentFault {
    /// They are not strict JSON.
    pub(super) fn not_json(fault: JsonFault) -> Self {
        let at = |path: Vec<String>| {
            let steps = path.iter().map(|step| format!("/{}", escaped(step)));
            pointer(&steps.collect::<String>())
        };
        match fault {
            JsonFault::TooDeep { path } => Self::TooDeep { pointer: at(path) },
            JsonFault::Duplicate { path } => Self::Duplicate { pointer: at(path) },
            JsonFault::TooMany => Self::TooMany,
            JsonFault::Syntax(error) => Self::syntax(&error),
        }
    }

    /// The parser's own message: a fixed text that holds nothing of what was read.
    fn syntax(error: &serde_json::Error) -> Self {
        let (line, column) = (error.line(), error.column());
        let text = error.to_string();
        let text = text
            .strip_suffix(&format!(" at line {line} column {column}"))
            .unwrap_or(&text);
        let what = match error.classify() {
            Category::Eof | Category::Syntax => text,
            Category::Data | Category::Io => "something that it does not have",
        };
        Self::Syntax {
            what: what.to_owned(),
            line,
            column,
        }
    }

    /// The field `name` of what is at the pointer `at` is not there.
    pub(crate) fn missing(at: &str, name: &str) -> Self {
        Self::Missing {
            pointer: below(at, name),
        }
    }

    /// Nobody knows the field `name` of what is at the pointer `at`.
    pub(crate) fn unknown(at: &str, name: &str) -> Self {
        Self::Unknown {
            pointer: below(at, name),
        }
    }

    /// What is at the pointer `at` is not what was expected.
    pub(crate) fn unfit(at: &str, expected: String) -> Self {
        Self::Unfit {
            pointer: pointer(at),
            expected,
        }
    }

    /// The JSON pointer of what is wrong, if it is one field.
    #[must_use]
    pub fn pointer(&self) -> Option<&str> {
        match self {
            Self::TooDeep { pointer }
            | Self::Duplicate { pointer }
            | Self::Missing { pointer }
            | Self::Unknown { pointer }
            | Self::Unfit { pointer, .. } => Some(pointer),
            Self::TooLarge
            | Self::Syntax { .. }
            | Self::NotAnObject
            | Self::TooMany
            | Self::Number { .. } => None,
        }
    }
}

fn subject(pointer: &str) -> String {
    if pointer.is_empty() {
        "the arguments are".to_owned()
    } else {
        format!("the argument `{pointer}` is")
    }
}

fn below(at: &str, name: &str) -> String {
    pointer(&format!("{at}/{}", escaped(name)))
}

/// Every step of a pointer escaped and cut, and the whole cut.
pub(super) fn pointer(raw: &str) -> String {
    let steps: Vec<_> = raw.split('/').map(shown).collect();
    let whole = steps.join("/");
    match whole.char_indices().nth(MAX_POINTER_CHARS) {
        None => whole,
        Some((end, _)) => format!("{}…", whole.get(..end).unwrap_or_default()),
    }
}
