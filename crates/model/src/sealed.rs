//! Content that only the holder of an agent's data key can read.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// An encrypted payload: AES-256-GCM under the data key named `key`.
///
/// Destroying that key destroys the content; whatever was hashed over this value stays verifiable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sealed {
    /// The id of the data key.
    pub key: String,
    /// The nonce: 12 bytes.
    #[serde(serialize_with = "to_base64", deserialize_with = "from_base64")]
    pub nonce: Vec<u8>,
    /// Ciphertext and tag.
    #[serde(serialize_with = "to_base64", deserialize_with = "from_base64")]
    pub ciphertext: Vec<u8>,
}

fn to_base64<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&BASE64_STANDARD.encode(bytes))
}

fn from_base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    BASE64_STANDARD
        .decode(String::deserialize(deserializer)?)
        .map_err(D::Error::custom)
}
