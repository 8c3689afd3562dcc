//! JSON in which nothing is said twice, with an end to its depth and number.
//!
//! `serde_json` takes the last of two members with the same name; others take the first.

use std::{cell::RefCell, fmt};

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// How much JSON is read.
#[derive(Clone, Copy, Debug)]
pub struct JsonBounds {
    /// Objects and arrays within each other.
    pub depth: usize,
    /// Members of all objects and elements of all arrays together.
    pub members: usize,
}

/// Why a text is not such JSON. A path is the names and indices that lead there from the top.
#[derive(Debug, thiserror::Error)]
pub enum JsonFault {
    /// It is not JSON.
    #[error(transparent)]
    Syntax(#[from] serde_json::Error),
    /// Something is within more objects and arrays than it may.
    #[error("it is nested too deep")]
    TooDeep {
        /// What.
        path: Vec<String>,
    },
    /// It has more members and elements than it may.
    #[error("it has too many members and elements")]
    TooMany,
    /// A name that an object has already.
    #[error("a member is there twice")]
    Duplicate {
        /// The member.
        path: Vec<String>,
    },
}

/// The value that `bytes` are, all of them.
///
/// # Errors
/// When they are not JSON, say something twice or are beyond `bounds`.
pub fn strict_json(bytes: &[u8], bounds: JsonBounds) -> Result<Value, JsonFault> {
    let state = RefCell::new(State {
        bounds,
        path: Vec::new(),
        members: 0,
        fault: None,
    });
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let read = Seed { state: &state }
        .deserialize(&mut json)
        .and_then(|value| json.end().map(|()| value));
    read.map_err(|error| state.into_inner().fault.unwrap_or(error.into()))
}

struct State {
    bounds: JsonBounds,
    /// The way to where the reader is.
    path: Vec<String>,
    members: usize,
    /// What stopped it, if that was not the syntax.
    fault: Option<JsonFault>,
}

#[derive(Clone, Copy)]
struct Seed<'s> {
    state: &'s RefCell<State>,
}

impl Seed<'_> {
    fn stop<E: Error>(self, fault: JsonFault) -> E {
        self.state.borrow_mut().fault = Some(fault);
        E::custom("stopped")
    }

    fn path(self) -> Vec<String> {
        self.state.borrow().path.clone()
    }

    /// One member or element more.
    fn count<E: Error>(self) -> Result<(), E> {
        let mut state = self.state.borrow_mut();
        state.members += 1;
        if state.members <= state.bounds.members {
            return Ok(());
        }
        drop(state);
        Err(self.stop(JsonFault::TooMany))
    }

    /// One level down, to the member or element `step`.
    fn enter(self, step: String) {
        self.state.borrow_mut().path.push(step);
    }

    fn leave(self) {
        self.state.borrow_mut().path.pop();
    }

    /// Before an object or array is read.
    fn open<E: Error>(self) -> Result<(), E> {
        let state = self.state.borrow();
        if state.path.len() < state.bounds.depth {
            return Ok(());
        }
        drop(state);
        let path = self.path();
        Err(self.stop(JsonFault::TooDeep { path }))
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
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
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        self.open()?;
        let mut list = Vec::new();
        loop {
            self.enter(list.len().to_string());
            let element = seq.next_element_seed(self)?;
            self.leave();
            let Some(value) = element else {
                return Ok(list.into());
            };
            self.count::<A::Error>()?;
            list.push(value);
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        self.open()?;
        let mut object = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            self.count::<A::Error>()?;
            self.enter(key.clone());
            if object.contains_key(&key) {
                let path = self.path();
                return Err(self.stop(JsonFault::Duplicate { path }));
            }
            let value = map.next_value_seed(self)?;
            self.leave();
            object.insert(key, value);
        }
        Ok(object.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: JsonBounds = JsonBounds {
        depth: 8,
        members: 12,
    };

    fn read(text: &str) -> Result<Value, JsonFault> {
        strict_json(text.as_bytes(), BOUNDS)
    }

    #[test]
    fn nothing_is_said_twice_at_any_depth() {
        let bad = [
            (r#"{"a":1,"a":1}"#, "a"),
            (r#"{"a":1,"b":2,"\u0061":3}"#, "a"),
            (r#"{"x":{"a":1,"a":2}}"#, "x/a"),
            (r#"{"x":[0,{"y":[{"a":null,"a":null}]}]}"#, "x/1/y/0/a"),
        ];
        for (text, at) in bad {
            match read(text) {
                Err(JsonFault::Duplicate { path }) => assert_eq!(path.join("/"), at, "{text}"),
                read => panic!("{text}: {read:?}"),
            }
        }
        assert!(read(r#"{"a":{"a":[{"a":1},{"a":2}]}}"#).is_ok());
    }

    #[test]
    fn there_is_an_end_to_depth_and_number() {
        let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(read(&deep(BOUNDS.depth)).is_ok());
        for depth in [BOUNDS.depth + 1, 100_000] {
            let read = read(&deep(depth));
            let stopped =
                matches!(&read, Err(JsonFault::TooDeep { path }) if path.len() == BOUNDS.depth);
            assert!(stopped, "{read:?}");
        }
        let long = |members: usize| format!("[{}]", vec!["0"; members].join(","));
        assert!(read(&long(BOUNDS.members)).is_ok());
        let many = read(&long(BOUNDS.members + 1));
        assert!(matches!(many, Err(JsonFault::TooMany)), "{many:?}");
    }

    #[test]
    fn it_reads_one_value_as_serde_json_does() {
        let text = r#"{"a":[1,-1,1.5,"x",true,null,{"b":[]}],"c":18446744073709551615}"#;
        let expected: Value = serde_json::from_str(text).unwrap();
        assert_eq!(read(text).unwrap(), expected);
        for text in ["", "{}{}", "{} x", "{\"a\":NaN}", "{\"a\":1,}", "1e999"] {
            let read = read(text);
            assert!(matches!(read, Err(JsonFault::Syntax(_))), "{read:?}");
        }
        let read = strict_json(b"{\"a\":\"\xff\"}", BOUNDS);
        assert!(matches!(read, Err(JsonFault::Syntax(_))), "{read:?}");
    }
}
