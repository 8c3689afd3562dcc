//! Artefacts, kept as far as the traps must see them.

use std::io::{self, Read};

use casemate_model::{Artefact, Text};
use casemate_ports::ArtefactSink;

/// The most bytes of one artefact that are looked at.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// The most bytes of all of them.
const MAX_BYTES: usize = 16 << 20;

/// What came out.
#[derive(Debug, Default)]
pub(super) struct Captured {
    pub(super) list: Vec<Artefact>,
    files: Vec<(String, Vec<u8>)>,
    bytes: usize,
}

impl Captured {
    /// The paths and the beginnings of what was given back.
    pub(super) fn files(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.files
            .iter()
            .map(|(path, bytes)| (path.as_str(), bytes.as_slice()))
    }
}

impl ArtefactSink for Captured {
    fn file(
        &mut self,
        path: &Text,
        _executable: bool,
        content: &mut dyn Read,
    ) -> io::Result<Option<String>> {
        let mut bytes = Vec::new();
        if self.bytes < MAX_BYTES {
            content.take(MAX_FILE_BYTES).read_to_end(&mut bytes)?;
        }
        self.bytes += bytes.len();
        self.files.push((path.to_string(), bytes));
        Ok(None)
    }
}
