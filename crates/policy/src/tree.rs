//! One spanned tree for both syntaxes: strict JSON and TOML become the same nodes.

mod json;
mod toml;

pub(crate) use self::{json::read_json, toml::read_toml};

use crate::{
    diagnostic::{Fault, Report},
    visible::push_escaped,
};

/// How deep a file may nest.
pub const MAX_DEPTH: usize = 32;

/// A value and where it begins, in bytes.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) at: usize,
    pub(crate) value: Value,
}

/// Something wrong below a node: where, on which path from that node, and what.
#[derive(Debug)]
pub(crate) struct Placed {
    pub(crate) at: usize,
    pub(crate) path: String,
    pub(crate) fault: Fault,
}

#[derive(Debug)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    /// A number as it was written, without radix prefix and separators.
    Number {
        digits: String,
        radix: u32,
    },
    Text(String),
    Date,
    List(Vec<Node>),
    Table(Vec<Member>),
}

/// A key, where it begins, and its value.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) key: String,
    pub(crate) at: usize,
    pub(crate) node: Node,
}

impl Value {
    /// What it is, for people.
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(true) => "true",
            Self::Bool(false) => "false",
            Self::Number { .. } => "a number",
            Self::Text(_) => "a string",
            Self::Date => "a date",
            Self::List(_) => "a list",
            Self::Table(_) => "a section",
        }
    }
}

/// Reports nesting beyond [`MAX_DEPTH`].
fn too_deep(at: usize, report: &mut Report<'_>) {
    report.add(at, "", || {
        Fault::new(
            format!("nested more than {MAX_DEPTH} levels deep"),
            "no file needs so many levels",
        )
    });
}

/// A parser's message in our style: no capital, no full stop, and safe to print.
fn message(text: &str) -> String {
    let mut out = String::new();
    for (index, char) in text.trim_end_matches('.').chars().enumerate() {
        if index == 0 {
            out.extend(char.to_lowercase());
        } else {
            push_escaped(&mut out, char);
        }
    }
    out
}
