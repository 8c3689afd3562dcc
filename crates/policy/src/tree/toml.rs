//! TOML 1.1.

use std::borrow::Cow;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};
use toml_parser::{Source, lexer::TokenKind};

use super::{MAX_DEPTH, Member, Node, Value, message, too_deep};
use crate::diagnostic::{Fault, Report};

/// How deep a text may nest when it goes to the parser, which recurses for every level and allows
/// thousands: `a.a.a = { a.a.a = { …`. An over-estimate: dots side by side in one bracket add up.
const MAX_PARSED_DEPTH: usize = 128;

/// The tree of `text`, or nothing after reporting everything that is wrong.
pub(crate) fn read_toml(text: &str, report: &mut Report<'_>) -> Option<Node> {
    if let Some(at) = bottomless(text) {
        too_deep(at, report);
        return None;
    }
    let (root, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let at = error.span().map_or(0, |span| span.start);
        report.add(at, "", || {
            Fault::new(
                message(error.message()),
                "correct the TOML: values need quotes, lists need commas, each key may be given once",
            )
        });
    }
    if !errors.is_empty() {
        return None;
    }
    match table(0, root.into_inner(), 1) {
        Ok(members) => Some(Node {
            at: 0,
            value: Value::Table(members),
        }),
        Err(at) => {
            too_deep(at, report);
            None
        }
    }
}

/// Where brackets and dots nest beyond [`MAX_PARSED_DEPTH`], if they do.
fn bottomless(text: &str) -> Option<usize> {
    use TokenKind::{
        Dot, LeftCurlyBracket, LeftSquareBracket, Newline, RightCurlyBracket, RightSquareBracket,
    };
    let mut open: Vec<(TokenKind, usize)> = Vec::new();
    let mut depth = 0_usize;
    for token in Source::new(text).lex() {
        match (token.kind(), open.last()) {
            (Dot, _) => depth += 1,
            (kind @ (LeftSquareBracket | LeftCurlyBracket), _) => {
                open.push((kind, depth));
                depth += 1;
            }
            (RightSquareBracket, Some((LeftSquareBracket, before)))
            | (RightCurlyBracket, Some((LeftCurlyBracket, before))) => {
                depth = *before;
                open.pop();
            }
            (Newline, None) => depth = 0,
            _ => {}
        }
        if depth > MAX_PARSED_DEPTH {
            return Some(token.span().start());
        }
    }
    None
}

fn table(at: usize, table: DeTable<'_>, depth: usize) -> Result<Vec<Member>, usize> {
    if depth > MAX_DEPTH {
        return Err(at);
    }
    let member = |(key, value): (Spanned<Cow<'_, str>>, Spanned<DeValue<'_>>)| {
        Ok(Member {
            at: key.span().start,
            key: key.into_inner().into_owned(),
            node: node(value, depth)?,
        })
    };
    table.into_iter().map(member).collect()
}

/// Converts a value `depth` levels down; the error is where it becomes too deep.
fn node(value: Spanned<DeValue<'_>>, depth: usize) -> Result<Node, usize> {
    let at = value.span().start;
    let value = match value.into_inner() {
        DeValue::String(text) => Value::Text(text.into_owned()),
        DeValue::Integer(number) => Value::Number {
            digits: number.as_str().to_owned(),
            radix: number.radix(),
        },
        DeValue::Float(number) => Value::Number {
            digits: number.as_str().to_owned(),
            radix: 10,
        },
        DeValue::Boolean(bool) => Value::Bool(bool),
        DeValue::Datetime(_) => Value::Date,
        DeValue::Array(_) if depth >= MAX_DEPTH => return Err(at),
        DeValue::Array(array) => Value::List(
            array
                .into_iter()
                .map(|element| node(element, depth + 1))
                .collect::<Result<_, _>>()?,
        ),
        DeValue::Table(members) => Value::Table(table(at, members, depth + 1)?),
    };
    Ok(Node { at, value })
}
