//! What a schema may be beyond what its meta-schema says: of known words, whole, and of bounded work.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::keywords::{DEFINITIONS, Place, REFERENCE, escaped, holds, keywords, parts};
use crate::{diagnostic::Fault, rules::nearest, visible::quoted};

/// The most definitions of one schema.
pub(super) const MAX_DEFINITIONS: usize = 64;
/// The most schemas that one value can be asked about, once every reference is followed.
const MAX_EXPANDED: u64 = 10_000;

const SCHEMA: &str = "https://json-schema.org/draft/2020-12/schema";

/// What is wrong with a schema that follows its meta-schema, each with its pointer.
pub(super) fn faults(schema: &Map<String, Value>) -> Vec<(String, Fault)> {
    let mut found = Rules::default();
    if schema.get("type").and_then(Value::as_str) != Some("object") {
        let hint = "write `type = \"object\"`: arguments have names";
        found.add("", "arguments are not an object", hint);
    }
    found.schema("", schema, Place::Part);
    if found.faults.is_empty() {
        found.expansion(schema);
    }
    found.faults
}

#[derive(Default)]
struct Rules {
    faults: Vec<(String, Fault)>,
}

impl Rules {
    fn add(&mut self, path: impl Into<String>, message: impl Into<String>, hint: &str) {
        self.faults.push((path.into(), Fault::new(message, hint)));
    }

    fn schema(&mut self, path: &str, schema: &Map<String, Value>, place: Place) {
        for (keyword, value) in schema {
            let at = format!("{path}/{}", escaped(keyword));
            if holds(keyword).is_none() {
                self.unknown(at, keyword);
            } else if DEFINITIONS.contains(&keyword.as_str()) {
                self.definitions(at, path, value);
            } else if keyword == REFERENCE {
                self.reference(at, value, place);
            } else if keyword == "$schema" && value.as_str() != Some(SCHEMA) {
                let hint = "leave `$schema` out";
                self.add(
                    at,
                    "not the language of schemas here, which is 2020-12",
                    hint,
                );
            }
        }
        for (_, inner, step, value) in parts(schema) {
            // Whatever is in a test is a part of that test.
            let inner = if place == Place::Test { place } else { inner };
            if let Some(schema) = value.as_object() {
                self.schema(&format!("{path}{step}"), schema, inner);
            }
        }
    }

    fn unknown(&mut self, at: String, keyword: &str) {
        let hint = match (keyword, nearest(keyword, keywords())) {
            ("$id" | "$anchor" | "$dynamicAnchor" | "$dynamicRef" | "$vocabulary", _) => {
                "refer to `#/$defs/NAME` by `$ref`".to_owned()
            }
            (_, Some(meant)) => format!("did you mean `{meant}`?"),
            (_, None) => "leave it out: nothing would enforce it".to_owned(),
        };
        self.add(at, format!("unknown keyword {}", quoted(keyword)), &hint);
    }

    fn definitions(&mut self, at: String, path: &str, value: &Value) {
        if !path.is_empty() {
            let hint = "put it beside the outermost `type`";
            self.add(at, "definitions inside of a schema", hint);
        } else if value
            .as_object()
            .is_some_and(|named| named.len() > MAX_DEFINITIONS)
        {
            let message = format!("more than {MAX_DEFINITIONS} definitions");
            self.add(at, message, "shorten it");
        }
    }

    fn reference(&mut self, at: String, value: &Value, place: Place) {
        let to = value.as_str().unwrap_or_default();
        if place == Place::Test {
            let hint = "write the schema out: what is referred to may have no unknown fields, and a test must not depend on that";
            self.add(
                at,
                "a reference in `if`, `not`, `contains` or `propertyNames`",
                hint,
            );
        } else if target(to).is_none() {
            let hint = "refer to `#/$defs/NAME`: nothing is fetched, and no file is opened";
            let message = format!(
                "the reference {} leaves the definitions of this schema",
                quoted(to)
            );
            self.add(at, message, hint);
        }
    }

    /// References that lead nowhere, in a circle, or to more work than is good.
    fn expansion(&mut self, schema: &Map<String, Value>) {
        let mut expansion = Expansion {
            root: schema,
            weights: BTreeMap::new(),
        };
        match expansion.weight("", schema) {
            Ok(weight) if weight > MAX_EXPANDED => self.add(
                "",
                format!("more than {MAX_EXPANDED} schemas once every reference is followed"),
                "refer less often from within `allOf`, `anyOf` and `oneOf`",
            ),
            Ok(_) => {}
            Err((path, fault)) => self.faults.push((path, fault)),
        }
    }
}

/// The keyword and the name of the definition that a reference means.
fn target(reference: &str) -> Option<(&str, &str)> {
    let (keyword, name) = reference.strip_prefix("#/")?.split_once('/')?;
    let plain = |char: char| char.is_ascii_alphanumeric() || matches!(char, '_' | '-' | '.');
    (DEFINITIONS.contains(&keyword) && !name.is_empty() && name.chars().all(plain))
        .then_some((keyword, name))
}

struct Expansion<'s> {
    root: &'s Map<String, Value>,
    /// What each definition weighs; nothing while that is being found out.
    weights: BTreeMap<&'s str, Option<u64>>,
}

impl<'s> Expansion<'s> {
    /// How many schemas a value is asked about at most, for each of its parts.
    fn weight(
        &mut self,
        path: &str,
        schema: &'s Map<String, Value>,
    ) -> Result<u64, (String, Fault)> {
        let mut parts_weight = 1_u64;
        let mut same_weight = 0_u64;
        if let Some(to) = schema.get(REFERENCE).and_then(Value::as_str) {
            same_weight = self.definition(&format!("{path}/{REFERENCE}"), to)?;
        }
        for (keyword, place, step, value) in parts(schema) {
            let Some(inner) = value.as_object() else {
                continue;
            };
            if DEFINITIONS.contains(&keyword) {
                continue;
            }
            let weight = self.weight(&format!("{path}{step}"), inner)?;
            let sum = match place {
                Place::Part => &mut parts_weight,
                Place::Same | Place::Test => &mut same_weight,
            };
            *sum = sum.saturating_add(weight);
        }
        // Which fields are known has to be asked once more where several schemas say so.
        Ok(parts_weight.saturating_add(same_weight.saturating_mul(2)))
    }

    fn definition(&mut self, at: &str, to: &'s str) -> Result<u64, (String, Fault)> {
        match self.weights.get(to) {
            Some(Some(weight)) => return Ok(*weight),
            Some(None) => {
                let message = format!("the reference {} leads back to itself", quoted(to));
                let hint = "write the levels out: arguments have a greatest depth";
                return Err((at.to_owned(), Fault::new(message, hint)));
            }
            None => {}
        }
        let found = target(to).and_then(|(keyword, name)| self.root.get(keyword)?.get(name));
        let weight = match found {
            Some(Value::Object(schema)) => {
                self.weights.insert(to, None);
                self.weight(to.trim_start_matches('#'), schema)?
            }
            Some(_) => 1,
            None => {
                let message = format!("the reference {} leads nowhere", quoted(to));
                let hint = "refer to a definition in `$defs`";
                return Err((at.to_owned(), Fault::new(message, hint)));
            }
        };
        self.weights.insert(to, Some(weight));
        Ok(weight)
    }
}
