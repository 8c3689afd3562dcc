//! Watches the output that passes by: hashes all of it, keeps a bounded part when it may be replayed.

use std::fmt;

use casemate_model::{Digest, Hasher, Stream, Text};
use casemate_ports::Event;
use serde::{Deserialize, Serialize};

use crate::limits::MAX_REPLAY_BYTES;

/// The digests of the output that was given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Streams {
    /// Of standard output.
    pub(crate) stdout: Digest,
    /// Of standard error.
    pub(crate) stderr: Digest,
}

/// The output that was given back.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// Standard output.
    pub stdout: Text,
    /// Standard error.
    pub stderr: Text,
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Output")
            .field("stdout_bytes", &self.stdout.as_bytes().len())
            .field("stderr_bytes", &self.stderr.as_bytes().len())
            .finish()
    }
}

/// Watches output.
pub(crate) struct Tee {
    stdout: Hasher,
    stderr: Hasher,
    kept: Option<Kept>,
}

#[derive(Default)]
struct Kept {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Tee {
    /// One that hashes.
    pub(crate) fn hashing() -> Self {
        Self {
            stdout: Hasher::default(),
            stderr: Hasher::default(),
            kept: None,
        }
    }

    /// One that hashes and keeps the output, up to [`MAX_REPLAY_BYTES`].
    pub(crate) fn keeping() -> Self {
        Self {
            kept: Some(Kept::default()),
            ..Self::hashing()
        }
    }

    pub(crate) fn see(&mut self, event: &Event) {
        let Event::Output(stream, bytes) = event;
        match stream {
            Stream::Stdout => self.stdout.update(bytes),
            Stream::Stderr => self.stderr.update(bytes),
        }
        if let Some(kept) = &mut self.kept {
            if kept.stdout.len() + kept.stderr.len() + bytes.len() > MAX_REPLAY_BYTES {
                self.kept = None;
                return;
            }
            match stream {
                Stream::Stdout => kept.stdout.extend_from_slice(bytes),
                Stream::Stderr => kept.stderr.extend_from_slice(bytes),
            }
        }
    }

    /// The digests, and the output if all of it was kept.
    pub(crate) fn finish(self) -> (Streams, Option<Output>) {
        let streams = Streams {
            stdout: self.stdout.finish(),
            stderr: self.stderr.finish(),
        };
        let output = self.kept.map(|kept| Output {
            stdout: kept.stdout.into(),
            stderr: kept.stderr.into(),
        });
        (streams, output)
    }
}
