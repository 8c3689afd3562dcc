//! Frames: a length in four bytes, big-endian, and one JSON object.

use casemate_model::{JsonBounds, strict_json};
use serde_json::{Map, Value};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::DeciderError;

/// The longest frame that is read, and the longest request that is written.
pub const MAX_FRAME_BYTES: usize = 1 << 20;

const BOUNDS: JsonBounds = JsonBounds {
    depth: 8,
    members: 10_000,
};

/// Reads the next one.
pub(crate) async fn read(
    reader: &mut (impl AsyncRead + Unpin),
) -> Result<Map<String, Value>, DeciderError> {
    let length = reader.read_u32().await.map_err(DeciderError::Read)?;
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > MAX_FRAME_BYTES {
        return Err(DeciderError::LongFrame);
    }
    let mut frame = vec![0; length];
    reader
        .read_exact(&mut frame)
        .await
        .map_err(DeciderError::Read)?;
    match strict_json(&frame, BOUNDS) {
        Ok(Value::Object(object)) if !object.values().any(has_null) => Ok(object),
        Ok(Value::Object(_)) => Err(DeciderError::Frame("it has a null")),
        Ok(_) => Err(DeciderError::Frame("it is not an object")),
        Err(_) => Err(DeciderError::Frame(
            "it is not JSON, or says something twice",
        )),
    }
}

/// A message as it is written.
pub(crate) fn write(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    [&length.to_be_bytes(), message].concat()
}

fn has_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(all) => all.iter().any(has_null),
        Value::Object(all) => all.values().any(has_null),
        _ => false,
    }
}
