//! The keywords of JSON Schema 2020-12 that a manifest may use, and where they hold other schemas.
//!
//! The list is closed: a validator skips a keyword that it does not know, so that a slip in one would take
//! a rule away without a word.

/// What a keyword holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Holds {
    /// No schema.
    Plain,
    /// One schema.
    One(Place),
    /// A list of schemas.
    Many(Place),
    /// Schemas by name.
    Named(Place),
}

/// What a schema is asked about, beside the one that it stands in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// A part of the value.
    Part,
    /// The same value: which fields there are is for both of them to say.
    Same,
    /// Something that only decides what else holds.
    Test,
}

/// Words that only define: nothing is asked until something refers to them.
pub(super) const DEFINITIONS: [&str; 2] = ["$defs", "definitions"];
pub(super) const REFERENCE: &str = "$ref";

const KEYWORDS: &[(&str, Holds)] = &[
    ("properties", Holds::Named(Place::Part)),
    ("patternProperties", Holds::Named(Place::Part)),
    ("additionalProperties", Holds::One(Place::Part)),
    ("unevaluatedProperties", Holds::One(Place::Part)),
    ("items", Holds::One(Place::Part)),
    ("prefixItems", Holds::Many(Place::Part)),
    ("unevaluatedItems", Holds::One(Place::Part)),
    ("allOf", Holds::Many(Place::Same)),
    ("anyOf", Holds::Many(Place::Same)),
    ("oneOf", Holds::Many(Place::Same)),
    ("then", Holds::One(Place::Same)),
    ("else", Holds::One(Place::Same)),
    ("dependentSchemas", Holds::Named(Place::Same)),
    ("$defs", Holds::Named(Place::Same)),
    ("definitions", Holds::Named(Place::Same)),
    ("if", Holds::One(Place::Test)),
    ("not", Holds::One(Place::Test)),
    ("contains", Holds::One(Place::Test)),
    ("propertyNames", Holds::One(Place::Test)),
    ("$schema", Holds::Plain),
    ("$ref", Holds::Plain),
    ("$comment", Holds::Plain),
    ("type", Holds::Plain),
    ("enum", Holds::Plain),
    ("const", Holds::Plain),
    ("multipleOf", Holds::Plain),
    ("maximum", Holds::Plain),
    ("exclusiveMaximum", Holds::Plain),
    ("minimum", Holds::Plain),
    ("exclusiveMinimum", Holds::Plain),
    ("maxLength", Holds::Plain),
    ("minLength", Holds::Plain),
    ("pattern", Holds::Plain),
    ("format", Holds::Plain),
    ("maxItems", Holds::Plain),
    ("minItems", Holds::Plain),
    ("uniqueItems", Holds::Plain),
    ("maxContains", Holds::Plain),
    ("minContains", Holds::Plain),
    ("maxProperties", Holds::Plain),
    ("minProperties", Holds::Plain),
    ("required", Holds::Plain),
    ("dependentRequired", Holds::Plain),
    ("title", Holds::Plain),
    ("description", Holds::Plain),
    ("default", Holds::Plain),
    ("examples", Holds::Plain),
    ("deprecated", Holds::Plain),
    ("readOnly", Holds::Plain),
    ("writeOnly", Holds::Plain),
];

/// What `keyword` holds, if a manifest may use it.
pub(super) fn holds(keyword: &str) -> Option<Holds> {
    KEYWORDS
        .iter()
        .find(|(name, _)| *name == keyword)
        .map(|(_, holds)| *holds)
}

/// Every keyword.
pub(crate) fn keywords() -> impl Iterator<Item = &'static str> {
    KEYWORDS.iter().map(|(name, _)| *name)
}

/// The schemas directly in `schema`, each with its keyword, its place and its path from there.
pub(super) fn parts(
    schema: &serde_json::Map<String, serde_json::Value>,
) -> impl Iterator<Item = (&str, Place, String, &serde_json::Value)> {
    schema.iter().flat_map(|(keyword, value)| {
        let keyword = keyword.as_str();
        let (place, inner): (Place, Vec<(String, &serde_json::Value)>) = match holds(keyword) {
            None | Some(Holds::Plain) => return Vec::new(),
            Some(Holds::One(place)) => (place, vec![(String::new(), value)]),
            Some(Holds::Many(place)) => {
                let list = value.as_array().into_iter().flatten().enumerate();
                (
                    place,
                    list.map(|(at, value)| (format!("/{at}"), value)).collect(),
                )
            }
            Some(Holds::Named(place)) => {
                let named = value.as_object().into_iter().flatten();
                let inner = named.map(|(name, value)| (format!("/{}", escaped(name)), value));
                (place, inner.collect())
            }
        };
        let with_keyword = |(path, value)| {
            (
                keyword,
                place,
                format!("/{}{path}", escaped(keyword)),
                value,
            )
        };
        inner.into_iter().map(with_keyword).collect()
    })
}

/// `name` as a step of a JSON pointer (RFC 6901).
pub(crate) fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}
