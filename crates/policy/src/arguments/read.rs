//! JSON into a value, with an eye on depth, number and repetition.

use std::{cell::RefCell, fmt};

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value, error::Category};

use super::{
    MAX_ARGUMENT_DEPTH, MAX_ARGUMENT_MEMBERS,
    fault::{ArgumentFault, pointer},
};
use crate::manifest::keywords::escaped;

/// The value that `bytes` are, all of them.
pub(super) fn value(bytes: &[u8]) -> Result<Value, ArgumentFault> {
    let state = RefCell::new(State::default());
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let read = Seed { state: &state }
        .deserialize(&mut json)
        .and_then(|value| json.end().map(|()| value));
    read.map_err(|error| state.into_inner().fault.unwrap_or_else(|| syntax(&error)))
}

#[derive(Default)]
struct State {
    /// The way to where the reader is.
    steps: Vec<String>,
    members: usize,
    /// What stopped it, if that was not the syntax.
    fault: Option<ArgumentFault>,
}

#[derive(Clone, Copy)]
struct Seed<'s> {
    state: &'s RefCell<State>,
}

impl Seed<'_> {
    fn stop<E: serde::de::Error>(self, fault: ArgumentFault) -> E {
        self.state.borrow_mut().fault = Some(fault);
        E::custom("stopped")
    }

    fn here(self) -> String {
        let state = self.state.borrow();
        let steps = state.steps.iter().map(|step| format!("/{}", escaped(step)));
        pointer(&steps.collect::<String>())
    }

    /// One member or element more.
    fn count<E: serde::de::Error>(self) -> Result<(), E> {
        let mut state = self.state.borrow_mut();
        state.members += 1;
        if state.members <= MAX_ARGUMENT_MEMBERS {
            return Ok(());
        }
        drop(state);
        Err(self.stop(ArgumentFault::TooMany))
    }

    /// One level down, to the member or element `step`.
    fn enter(self, step: String) {
        self.state.borrow_mut().steps.push(step);
    }

    fn leave(self) {
        self.state.borrow_mut().steps.pop();
    }

    /// Before an object or array is read.
    fn open<E: serde::de::Error>(self) -> Result<(), E> {
        if self.state.borrow().steps.len() < MAX_ARGUMENT_DEPTH {
            return Ok(());
        }
        let pointer = self.here();
        Err(self.stop(ArgumentFault::TooDeep { pointer }))
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

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("number out of range"))
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
                let pointer = self.here();
                return Err(self.stop(ArgumentFault::Duplicate { pointer }));
            }
            let value = map.next_value_seed(self)?;
            self.leave();
            object.insert(key, value);
        }
        Ok(object.into())
    }
}

/// The parser's own message: a fixed text that holds nothing of what was read.
fn syntax(error: &serde_json::Error) -> ArgumentFault {
    let (line, column) = (error.line(), error.column());
    let text = error.to_string();
    let text = text
        .strip_suffix(&format!(" at line {line} column {column}"))
        .unwrap_or(&text);
    let what = match error.classify() {
        Category::Eof | Category::Syntax => text,
        Category::Data | Category::Io => "something that it does not have",
    };
    ArgumentFault::Syntax {
        what: what.to_owned(),
        line,
        column,
    }
}
