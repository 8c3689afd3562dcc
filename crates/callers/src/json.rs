//! JSON in which nothing is said twice, at any depth.
//!
//! `serde_json` takes the last of two members with the same name; others take the first.

use std::{cell::Cell, fmt};

use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::limits::MAX_JSON_DEPTH;

/// Why a text is not such JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JsonFault {
    Malformed,
    Duplicate,
}

/// The object that `bytes` are.
pub(crate) fn object(bytes: &[u8]) -> Result<Map<String, Value>, JsonFault> {
    let duplicate = Cell::new(false);
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let seed = Strict {
        depth: 0,
        duplicate: &duplicate,
    };
    let read = seed
        .deserialize(&mut reader)
        .and_then(|value| reader.end().map(|()| value));
    match read {
        Ok(Value::Object(object)) => Ok(object),
        Err(_) if duplicate.get() => Err(JsonFault::Duplicate),
        _ => Err(JsonFault::Malformed),
    }
}

#[derive(Clone, Copy)]
struct Strict<'a> {
    depth: usize,
    duplicate: &'a Cell<bool>,
}

impl Strict<'_> {
    fn deeper<E: Error>(self) -> Result<Self, E> {
        match self.depth {
            0..MAX_JSON_DEPTH => Ok(Self {
                depth: self.depth + 1,
                ..self
            }),
            _ => Err(E::custom("too deep")),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let seed = self.deeper()?;
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(seed)? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let seed = self.deeper()?;
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            if object.contains_key(&name) {
                self.duplicate.set(true);
                return Err(A::Error::custom("said twice"));
            }
            let value = members.next_value_seed(seed)?;
            object.insert(name, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_said_twice_at_any_depth() {
        let bad = [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"b":2,"\u0061":3}"#,
            r#"{"x":{"a":1,"a":2}}"#,
            r#"{"x":[{"y":[{"a":null,"a":null}]}]}"#,
        ];
        for text in bad {
            assert_eq!(object(text.as_bytes()), Err(JsonFault::Duplicate), "{text}");
        }
        let same_name_elsewhere = br#"{"a":{"a":[{"a":1},{"a":2}]}}"#;
        assert!(object(same_name_elsewhere).is_ok());
    }

    #[test]
    fn only_one_bounded_object_is_read() {
        let deep = |depth: usize| format!("{{\"a\":{}1{}}}", "[".repeat(depth), "]".repeat(depth));
        assert!(object(deep(MAX_JSON_DEPTH - 1).as_bytes()).is_ok());
        let bad = [
            deep(MAX_JSON_DEPTH),
            deep(100_000),
            String::new(),
            "[]".to_owned(),
            "1".to_owned(),
            "{}{}".to_owned(),
            "{} x".to_owned(),
            "{\"a\":NaN}".to_owned(),
            "{\"a\":1,}".to_owned(),
        ];
        for text in bad {
            assert_eq!(object(text.as_bytes()), Err(JsonFault::Malformed));
        }
        assert_eq!(object(b"{\"a\":\"\xff\"}"), Err(JsonFault::Malformed));
    }

    /// Where serde_json is lenient, so is this, but for what is said twice.
    #[test]
    fn it_reads_what_serde_json_reads() {
        let text = r#"{"a":[1,-1,1.5,"x",true,null,{"b":[]}],"c":18446744073709551615}"#;
        let expected: Value = serde_json::from_str(text).unwrap();
        assert_eq!(object(text.as_bytes()).map(Value::Object), Ok(expected));
    }
}
