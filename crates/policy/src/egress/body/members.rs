//! Members of JSON objects, for servers that do not all read names the same way.

use serde_json::{Map, Value};

use super::Ambiguous;

/// The member with this name. One that differs only in case is another to us, and the same to a server in Go.
pub(super) fn member<'v>(
    object: &'v Map<String, Value>,
    name: &str,
) -> Result<Option<&'v Value>, Ambiguous> {
    let plain = folded(name);
    if object.keys().any(|key| key != name && folded(key) == plain) {
        return Err(Ambiguous);
    }
    Ok(object.get(name))
}

/// The text that a member has to be.
pub(super) fn text<'v>(object: &'v Map<String, Value>, name: &str) -> Result<&'v str, Ambiguous> {
    member(object, name)?
        .and_then(Value::as_str)
        .ok_or(Ambiguous)
}

/// What is at a JSON pointer (RFC 6901).
pub(super) fn at_pointer<'v>(
    root: &'v Value,
    pointer: &str,
) -> Result<Option<&'v Value>, Ambiguous> {
    let mut value = root;
    for step in pointer.split('/').skip(1) {
        let step = step.replace("~1", "/").replace("~0", "~");
        let next = match value {
            Value::Object(object) => member(object, &step)?,
            Value::Array(array) => {
                let index = step.parse::<usize>().ok();
                index
                    .filter(|index| index.to_string() == step)
                    .and_then(|index| array.get(index))
            }
            _ => None,
        };
        let Some(next) = next else { return Ok(None) };
        value = next;
    }
    Ok(Some(value))
}

/// Also `ſ` and `K`, which are no ASCII letters and become some.
fn folded(name: &str) -> String {
    name.to_uppercase().to_lowercase()
}
