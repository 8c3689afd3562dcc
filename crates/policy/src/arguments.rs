//! The arguments of a call: strict JSON, bounded, with one canonical form.

mod fault;
mod number;

use std::fmt;

use casemate_model::{Digest, JsonBounds, strict_json};
use serde_json::Value;

pub use self::fault::ArgumentFault;
pub(crate) use self::number::exact;

/// The most bytes of arguments.
pub const MAX_ARGUMENT_BYTES: usize = 16 << 20;
/// How deep arguments may nest.
pub const MAX_ARGUMENT_DEPTH: usize = 32;
/// The most members of all objects and elements of all arrays together.
pub const MAX_ARGUMENT_MEMBERS: usize = 10_000;

const BOUNDS: JsonBounds = JsonBounds {
    depth: MAX_ARGUMENT_DEPTH,
    members: MAX_ARGUMENT_MEMBERS,
};

/// The arguments of a call: a JSON object.
///
/// Whatever two readers could take for different things is refused: a key that is given twice, a number
/// that changes on its way through a double, half of a surrogate pair, and everything that is not JSON.
#[derive(Clone, PartialEq)]
pub struct Arguments {
    value: Value,
    canonical: Vec<u8>,
}

impl Arguments {
    /// Reads the arguments of a call.
    ///
    /// # Errors
    /// When they are not JSON, not an object, ambiguous, or beyond a limit.
    pub fn parse(bytes: &[u8]) -> Result<Self, ArgumentFault> {
        if bytes.len() > MAX_ARGUMENT_BYTES {
            return Err(ArgumentFault::TooLarge);
        }
        let value = strict_json(bytes, BOUNDS).map_err(ArgumentFault::not_json)?;
        if !value.is_object() {
            return Err(ArgumentFault::NotAnObject);
        }
        number::all_exact(bytes)?;
        // Arguments that JSON can hold have a canonical form: this is for the day when they have not.
        let canonical = serde_json_canonicalizer::to_vec(&value)
            .map_err(|_| ArgumentFault::unfit("", "a canonical form".to_owned()))?;
        Ok(Self { value, canonical })
    }

    /// The object.
    #[must_use]
    pub const fn value(&self) -> &Value {
        &self.value
    }

    /// The canonical form (RFC 8785).
    #[must_use]
    pub fn canonical(&self) -> &[u8] {
        &self.canonical
    }

    /// The SHA-256 of the canonical form.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&self.canonical)
    }
}

/// Arguments are somebody's data: no log gets them by accident.
impl fmt::Debug for Arguments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Arguments({} bytes, {})",
            self.canonical.len(),
            self.digest()
        )
    }
}
