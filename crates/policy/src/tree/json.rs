//! Strict JSON (RFC 8259).

use jsonc_parser::{
    CollectOptions, ParseOptions,
    ast::{self, ObjectPropName},
    parse_to_ast,
};
use serde::de::IgnoredAny;

use super::{MAX_DEPTH, Member, Node, Value, message, too_deep};
use crate::diagnostic::{Fault, Report};

const HINT: &str = "a .json file is strict JSON: no comments, no trailing commas, double quotes";

const STRICT: ParseOptions = ParseOptions {
    allow_comments: false,
    allow_loose_object_property_names: false,
    allow_trailing_commas: false,
    allow_missing_commas: false,
    allow_single_quoted_strings: false,
    allow_hexadecimal_numbers: false,
    allow_unary_plus_numbers: false,
    allow_bare_decimal_point_numbers: false,
    allow_non_finite_numbers: false,
    allow_extended_string_escapes: false,
};

/// The tree of `text`, or nothing after reporting what is wrong.
pub(crate) fn read_json(text: &str, report: &mut Report<'_>) -> Option<Node> {
    let mut wrong = |at, what: &str| {
        report.add(at, "", || Fault::new(message(what), HINT));
        None
    };
    let value = match parse_to_ast(text, &CollectOptions::default(), &STRICT) {
        Ok(parsed) => parsed.value,
        Err(error) => return wrong(error.range().start, &error.kind().to_string()),
    };
    // The spanned parser lets raw line breaks in strings and foreign spaces pass; this one does not.
    if let Err(error) = serde_json::from_str::<IgnoredAny>(text) {
        let (line, column) = (error.line(), error.column());
        let what = error.to_string();
        let what = what
            .strip_suffix(&format!(" at line {line} column {column}"))
            .unwrap_or(&what);
        // It counts to the character that it means, but for these, where it stops before it.
        let column = column + usize::from(what.starts_with("control character"));
        return wrong(offset(text, line, column), what);
    }
    match node(value?, 0) {
        Ok(node) => Some(node),
        Err(at) => {
            too_deep(at, report);
            None
        }
    }
}

/// The byte at a 1-based line and a 1-based column in bytes.
fn offset(text: &str, line: usize, column: usize) -> usize {
    let before: usize = text
        .split_inclusive('\n')
        .take(line.saturating_sub(1))
        .map(str::len)
        .sum();
    text.floor_char_boundary(before + column.saturating_sub(1))
}

/// Converts a value `depth` levels down; the error is where it becomes too deep.
fn node(value: ast::Value<'_>, depth: usize) -> Result<Node, usize> {
    let (at, value) = match value {
        ast::Value::NullKeyword(null) => (null.range.start, Value::Null),
        ast::Value::BooleanLit(bool) => (bool.range.start, Value::Bool(bool.value)),
        ast::Value::NumberLit(number) => (
            number.range.start,
            Value::Number {
                digits: number.value.to_owned(),
                radix: 10,
            },
        ),
        ast::Value::StringLit(text) => (text.range.start, Value::Text(text.value.into_owned())),
        ast::Value::Array(array) => (array.range.start, Value::List(list(array, depth + 1)?)),
        ast::Value::Object(object) => (object.range.start, Value::Table(table(object, depth + 1)?)),
    };
    Ok(Node { at, value })
}

fn list(array: ast::Array<'_>, depth: usize) -> Result<Vec<Node>, usize> {
    if depth > MAX_DEPTH {
        return Err(array.range.start);
    }
    array
        .elements
        .into_iter()
        .map(|element| node(element, depth))
        .collect()
}

fn table(object: ast::Object<'_>, depth: usize) -> Result<Vec<Member>, usize> {
    if depth > MAX_DEPTH {
        return Err(object.range.start);
    }
    let member = |property: ast::ObjectProp<'_>| {
        let at = property.range.start;
        let key = match property.name {
            ObjectPropName::String(text) => text.value.into_owned(),
            ObjectPropName::Word(word) => word.value.to_owned(),
        };
        let node = node(property.value, depth)?;
        Ok(Member { key, at, node })
    };
    object.properties.into_iter().map(member).collect()
}
