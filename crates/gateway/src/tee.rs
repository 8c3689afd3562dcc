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
    /// Of an interpreter's results.
    pub(crate) results: Digest,
}

/// The output that was given back.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// Standard output.
    pub stdout: Text,
    /// Standard error.
    pub stderr: Text,
    /// An interpreter's results, one JSON object a line.
    #[serde(default)]
    pub results: Text,
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Output")
            .field("stdout_bytes", &self.stdout.as_bytes().len())
            .field("stderr_bytes", &self.stderr.as_bytes().len())
            .field("results_bytes", &self.results.as_bytes().len())
            .finish()
    }
}

/// Watches output.
pub(crate) struct Tee {
    hashers: Each<Hasher>,
    kept: Option<Each<Vec<u8>>>,
}

/// One of each stream.
#[derive(Default)]
struct Each<T> {
    stdout: T,
    stderr: T,
    results: T,
}

impl<T> Each<T> {
    const fn of(&mut self, stream: Stream) -> &mut T {
        match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
            Stream::Results => &mut self.results,
        }
    }
}

impl Tee {
    /// One that hashes.
    pub(crate) fn hashing() -> Self {
        Self {
            hashers: Each::default(),
            kept: None,
        }
    }

    /// One that hashes and keeps the output, up to [`MAX_REPLAY_BYTES`].
    pub(crate) fn keeping() -> Self {
        Self {
            kept: Some(Each::default()),
            ..Self::hashing()
        }
    }

    pub(crate) fn see(&mut self, event: &Event) {
        let Event::Output(stream, bytes) = event;
        self.hashers.of(*stream).update(bytes);
        if let Some(kept) = &mut self.kept {
            let len = kept.stdout.len() + kept.stderr.len() + kept.results.len();
            if len + bytes.len() > MAX_REPLAY_BYTES {
                self.kept = None;
                return;
            }
            kept.of(*stream).extend_from_slice(bytes);
        }
    }

    /// The digests, and the output if all of it was kept.
    pub(crate) fn finish(self) -> (Streams, Option<Output>) {
        let streams = Streams {
            stdout: self.hashers.stdout.finish(),
            stderr: self.hashers.stderr.finish(),
            results: self.hashers.results.finish(),
        };
        let output = self.kept.map(|kept| Output {
            stdout: kept.stdout.into(),
            stderr: kept.stderr.into(),
            results: kept.results.into(),
        });
        (streams, output)
    }
}
