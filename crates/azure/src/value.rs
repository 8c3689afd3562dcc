//! The value of a last expression, as the protocol has it: JSON where it is JSON or nearly so, and its text otherwise.

use serde_json::{Value, json};

use crate::limits::MAX_VALUE_BYTES;

/// Media types of images, and how the protocol calls them.
const IMAGES: [(&str, &str); 2] = [("image/png", "png"), ("image/jpeg", "jpeg")];

/// What an execution shows: its last image if there is one, or else the value of its last expression.
pub(crate) fn shown(results: &[Value]) -> Value {
    let image = results.iter().rev().find_map(image);
    let value = || {
        let result = results.iter().rev().find(|one| one["type"] == "result");
        result.map_or(Value::Null, value)
    };
    image.unwrap_or_else(value)
}

fn image(result: &Value) -> Option<Value> {
    let data = &result["data"];
    IMAGES.iter().find_map(|(media, format)| {
        let base64 = data[*media].as_str()?;
        Some(json!({ "type": "image", "format": format, "base64_data": base64.trim_end() }))
    })
}

fn value(result: &Value) -> Value {
    let data = &result["data"];
    match (&data["application/json"], data["text/plain"].as_str()) {
        (Value::Null, Some(text)) => read(text),
        (Value::Null, None) => Value::Null,
        (json, _) => json.clone(),
    }
}

/// What Python writes of a value.
fn read(text: &str) -> Value {
    let as_it_is = || Value::String(text.to_owned());
    if text.len() > MAX_VALUE_BYTES {
        return as_it_is();
    }
    if let Ok(value) = serde_json::from_str(text) {
        return value;
    }
    match text {
        "None" => Value::Null,
        "True" => Value::Bool(true),
        "False" => Value::Bool(false),
        _ => string(text).map_or_else(as_it_is, Value::String),
    }
}

/// A string literal, if it is nothing but one.
fn string(text: &str) -> Option<String> {
    let quote = text
        .chars()
        .next()
        .filter(|first| matches!(first, '\'' | '"'))?;
    let inner = text.strip_prefix(quote)?.strip_suffix(quote)?;
    let mut letters = inner.chars();
    let mut read = String::with_capacity(inner.len());
    while let Some(letter) = letters.next() {
        match letter {
            letter if letter == quote => return None,
            '\\' => read.push(escaped(&mut letters)?),
            letter => read.push(letter),
        }
    }
    Some(read)
}

fn escaped(letters: &mut std::str::Chars<'_>) -> Option<char> {
    let digits = match letters.next()? {
        'n' => return Some('\n'),
        'r' => return Some('\r'),
        't' => return Some('\t'),
        letter @ ('\\' | '\'' | '"') => return Some(letter),
        'x' => 2,
        'u' => 4,
        'U' => 8,
        _ => return None,
    };
    let mut code = 0_u32;
    for _ in 0..digits {
        code = code
            .checked_mul(16)?
            .checked_add(letters.next()?.to_digit(16)?)?;
    }
    char::from_u32(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(text: &str) -> Value {
        shown(&[json!({"type": "result", "data": {"text/plain": text}})])
    }

    #[test]
    fn a_value_is_json_where_it_is_and_its_text_otherwise() {
        for (text, value) in [
            ("42", json!(42)),
            ("1.5", json!(1.5)),
            ("[1, 2]", json!([1, 2])),
            ("None", Value::Null),
            ("True", json!(true)),
            ("nan", json!("nan")),
            ("'a b'", json!("a b")),
            (r"'it\'s \x41\n'", json!("it's A\n")),
            (r#""it's""#, json!("it's")),
            ("['a']", json!("['a']")),
            ("'a' + 'b'", json!("'a' + 'b'")),
            (r"'\q'", json!(r"'\q'")),
            ("'", json!("'")),
            ("<object>", json!("<object>")),
            ("", json!("")),
        ] {
            assert_eq!(result(text), value, "{text}");
        }
    }

    #[test]
    fn the_last_image_is_shown_before_a_value() {
        let results = [
            json!({"type": "display", "data": {"image/png": "AAAA\n", "text/plain": "<Figure>"}}),
            json!({"type": "result", "data": {"text/plain": "[<Line2D>]"}}),
        ];
        let image = json!({"type": "image", "format": "png", "base64_data": "AAAA"});
        assert_eq!(shown(&results), image);
        assert_eq!(shown(&[json!({"type": "error", "name": "E"})]), Value::Null);
        assert_eq!(shown(&[]), Value::Null);
    }
}
