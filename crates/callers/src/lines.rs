//! Files of JSON lines, each line read strictly.

use serde::{Serialize, de::DeserializeOwned};

use crate::{Refusal, kept::BadLine};

/// The records in the lines of `content`. A last line without its end was cut off.
pub(crate) fn parse<T: DeserializeOwned>(content: &[u8], max: usize) -> Result<Vec<T>, BadLine> {
    let mut records = Vec::new();
    for (nth, line) in content.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let bad = nth + 1;
        let line = line.strip_suffix(b"\n").ok_or(bad)?;
        if nth >= max {
            return Err(bad);
        }
        records.push(serde_json::from_slice(line).map_err(|_| bad)?);
    }
    Ok(records)
}

/// The lines of `records`.
pub(crate) fn render<'a, T: Serialize + 'a>(
    records: impl IntoIterator<Item = &'a T>,
) -> Result<Vec<u8>, Refusal> {
    let mut content = Vec::new();
    for record in records {
        serde_json::to_writer(&mut content, record).map_err(|_| Refusal::Malformed("record"))?;
        content.push(b'\n');
    }
    Ok(content)
}
