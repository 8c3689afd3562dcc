//! Closing a schema: a field that it does not know is refused, unless it says what becomes of those.
//!
//! JSON Schema lets unknown fields pass. Here every object is closed that does not say otherwise by
//! `additionalProperties` or `unevaluatedProperties`, at every depth. Schemas that are asked about the
//! same value (`allOf`, a definition, …) are not closed one by one, because each knows only its own
//! fields; the one that they stand in is.

use serde_json::{Map, Value};

use super::keywords::{Holds, Place, REFERENCE, holds};

const ADDITIONAL: &str = "additionalProperties";
const UNEVALUATED: &str = "unevaluatedProperties";

/// Closes `schema`, which stands for the whole of the arguments.
pub(super) fn close(schema: &mut Value) {
    close_in(schema, Place::Part);
}

fn close_in(schema: &mut Value, place: Place) {
    let Value::Object(schema) = schema else {
        return;
    };
    for (keyword, value) in schema.iter_mut() {
        match (holds(keyword), value) {
            (Some(Holds::One(place)), value) => close_part(value, place),
            (Some(Holds::Many(place)), Value::Array(list)) => {
                list.iter_mut().for_each(|value| close_part(value, place));
            }
            (Some(Holds::Named(place)), Value::Object(named)) => {
                named
                    .values_mut()
                    .for_each(|value| close_part(value, place));
            }
            _ => {}
        }
    }
    let says = schema.contains_key(ADDITIONAL) || schema.contains_key(UNEVALUATED);
    if place == Place::Part && !says {
        let keyword = if asks_others(schema) {
            UNEVALUATED
        } else {
            ADDITIONAL
        };
        schema.insert(keyword.to_owned(), Value::Bool(false));
    }
}

/// A test stays as it was written: closing it would change what it decides.
fn close_part(schema: &mut Value, place: Place) {
    if place != Place::Test {
        close_in(schema, place);
    }
}

/// Whether other schemas have a say about the same value.
fn asks_others(schema: &Map<String, Value>) -> bool {
    schema.keys().any(|keyword| {
        keyword == REFERENCE
            || matches!(
                holds(keyword),
                Some(
                    Holds::One(Place::Same | Place::Test)
                        | Holds::Many(Place::Same | Place::Test)
                        | Holds::Named(Place::Same | Place::Test)
                )
            )
    })
}
