//! What a server says of one of its tools: foreign text, which a model reads.

use casemate_model::{Digest, JsonBounds, strict_json};
use serde_json::{Map, Value};

use crate::rules::{prose, tool};

/// The largest descriptor, in bytes of its canonical form.
pub const MAX_DESCRIPTOR_BYTES: usize = 16 << 10;

const BOUNDS: JsonBounds = JsonBounds {
    depth: 24,
    members: 2_000,
};

/// What counts of it: what a model or a host is shown. The rest is left out.
const MEMBERS: [&str; 6] = [
    "name",
    "title",
    "description",
    "inputSchema",
    "outputSchema",
    "annotations",
];

/// What one tool is, in the form that is pinned: the members that count, in canonical JSON (RFC 8785).
#[derive(Clone, Debug)]
pub struct Descriptor {
    name: String,
    value: Value,
    canonical: String,
}

/// Two are the same when their canonical forms are: `1.0` and `1` are one number there.
impl PartialEq for Descriptor {
    fn eq(&self, other: &Self) -> bool {
        self.canonical == other.canonical
    }
}

/// Why something is no descriptor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DescriptorFault {
    /// It is no JSON, or no object.
    #[error("a descriptor is an object of JSON")]
    NotAnObject,
    /// It is larger than it may be.
    #[error("a descriptor has at most {MAX_DESCRIPTOR_BYTES} bytes, and nests no deeper than 24")]
    TooLarge,
    /// Its name is none.
    #[error("a tool has a `name` of letters, digits, `_`, `-` and `.`")]
    Name,
    /// A text of it has a character that people do not see.
    #[error(
        "the descriptor has a character that people do not see: a model would read what no reviewer sees"
    )]
    Unseen,
    /// What it takes is not said.
    #[error("a tool has an `inputSchema` of `type: object`")]
    Schema,
}

impl Descriptor {
    /// Reads one that was pinned.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(bytes: &[u8]) -> Result<Self, DescriptorFault> {
        if bytes.len() > MAX_DESCRIPTOR_BYTES {
            return Err(DescriptorFault::TooLarge);
        }
        let value = strict_json(bytes, BOUNDS).map_err(|_| DescriptorFault::NotAnObject)?;
        Self::of(&value)
    }

    /// That of a tool, as a server lists it.
    ///
    /// # Errors
    /// When it cannot be shown to anybody.
    pub fn of(tool_of_server: &Value) -> Result<Self, DescriptorFault> {
        let given = tool_of_server
            .as_object()
            .ok_or(DescriptorFault::NotAnObject)?;
        let counts = |name: &str| Some((name.to_owned(), given.get(name)?.clone()));
        let members: Map<_, _> = MEMBERS.into_iter().filter_map(counts).collect();
        let name = members.get("name").and_then(Value::as_str);
        let name = name.and_then(|name| tool(name).ok());
        let name = name.ok_or(DescriptorFault::Name)?;
        let schema = members.get("inputSchema");
        if schema.and_then(|schema| schema.get("type")) != Some(&Value::from("object")) {
            return Err(DescriptorFault::Schema);
        }
        let value = Value::Object(members);
        let canonical = serde_json_canonicalizer::to_vec(&value).ok();
        let canonical = canonical.and_then(|bytes| String::from_utf8(bytes).ok());
        let canonical = canonical.ok_or(DescriptorFault::NotAnObject)?;
        if canonical.len() > MAX_DESCRIPTOR_BYTES
            || strict_json(canonical.as_bytes(), BOUNDS).is_err()
        {
            return Err(DescriptorFault::TooLarge);
        }
        match is_seen(&value) {
            true => Ok(Self {
                name,
                value,
                canonical,
            }),
            false => Err(DescriptorFault::Unseen),
        }
    }

    /// The tool, as its server calls it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The members that count.
    #[must_use]
    pub const fn value(&self) -> &Value {
        &self.value
    }

    /// The canonical form: what is pinned.
    #[must_use]
    pub fn canonical(&self) -> &str {
        &self.canonical
    }

    /// The SHA-256 of the canonical form.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(self.canonical.as_bytes())
    }
}

/// Whether people see every character of every text. Its depth is bounded before.
fn is_seen(value: &Value) -> bool {
    match value {
        Value::String(text) => prose(text).is_ok(),
        Value::Array(items) => items.iter().all(is_seen),
        Value::Object(members) => members
            .iter()
            .all(|(name, value)| prose(name).is_ok() && is_seen(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => true,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::json;

    use super::*;

    fn read() -> Value {
        json!({
            "name": "read",
            "description": "Reads.\nA file.",
            "inputSchema": { "type": "object", "properties": {
                "path": { "type": "string" },
                "scale": { "type": "number", "default": 1.0 },
            } },
            "_meta": { "anything": 1 },
            "icons": [],
        })
    }

    #[test]
    fn what_is_pinned_is_what_anybody_is_shown() {
        let descriptor = Descriptor::of(&read()).unwrap();
        assert_eq!(descriptor.name(), "read");
        assert_eq!(descriptor.value().get("_meta"), None);
        let again = Descriptor::parse(descriptor.canonical().as_bytes()).unwrap();
        assert_eq!(again, descriptor);
        for (member, value) in [
            ("description", json!("Reads. And sends.")),
            ("title", json!("Read")),
            ("annotations", json!({ "readOnlyHint": true })),
            ("inputSchema", json!({ "type": "object" })),
            ("outputSchema", json!({ "type": "object" })),
        ] {
            let mut changed = read();
            changed[member] = value;
            let changed = Descriptor::of(&changed).unwrap();
            assert_ne!(changed.digest(), descriptor.digest(), "{member}");
            assert_ne!(changed, descriptor, "{member}");
        }
        let mut same = read();
        same["_meta"] = json!({});
        assert_eq!(Descriptor::of(&same).unwrap().digest(), descriptor.digest());
    }

    #[test]
    fn what_nobody_can_be_shown_is_no_descriptor() {
        let large = "a".repeat(MAX_DESCRIPTOR_BYTES);
        let mut deep = json!({ "type": "object" });
        for _ in 0..40 {
            deep = json!({ "type": "object", "properties": { "a": deep } });
        }
        for (member, value, fault) in [
            ("name", json!(""), DescriptorFault::Name),
            ("name", json!("a b"), DescriptorFault::Name),
            ("name", json!("a/b"), DescriptorFault::Name),
            ("name", json!(7), DescriptorFault::Name),
            ("description", json!("a\u{1b}[31m"), DescriptorFault::Unseen),
            ("description", json!("a\u{200b}b"), DescriptorFault::Unseen),
            ("description", json!("a\u{e0041}"), DescriptorFault::Unseen),
            (
                "annotations",
                json!({ "\u{202e}": 1 }),
                DescriptorFault::Unseen,
            ),
            ("description", json!(large), DescriptorFault::TooLarge),
            ("inputSchema", deep, DescriptorFault::TooLarge),
            (
                "inputSchema",
                json!({ "type": "string" }),
                DescriptorFault::Schema,
            ),
            ("inputSchema", Value::Null, DescriptorFault::Schema),
        ] {
            let mut bad = read();
            bad[member] = value;
            assert_eq!(Descriptor::of(&bad), Err(fault), "{member}");
        }
        for bad in ["", "[]", "{\"name\":\"a\",\"name\":\"b\"}"] {
            assert_eq!(
                Descriptor::parse(bad.as_bytes()),
                Err(DescriptorFault::NotAnObject)
            );
        }
    }
}
