//! The coding `zstd`, one block at a time: `ruzstd` would decompress all blocks that are there before anyone can say that it is too much.

use std::io;

use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use super::{Sink, Undecodable};

/// What RFC 9659 lets a sender use.
const MAX_WINDOW_BYTES: u64 = 8 << 20;
const MAX_HEADER_BYTES: usize = 18;
const BLOCK_HEADER_BYTES: usize = 3;
const CHECKSUM_BYTES: usize = 4;
/// In the byte after the magic number.
const CHECKSUM_FLAG: u8 = 4;

pub(super) struct Zstd {
    frame: FrameDecoder,
    /// What was read and is not a whole header or block yet. A block has 128 KiB at most.
    waiting: Vec<u8>,
    stage: Stage,
    sink: Sink,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Header,
    Blocks { checksum: bool },
    Ended,
}

impl Zstd {
    pub(super) fn new(sink: Sink) -> Self {
        let mut frame = FrameDecoder::new();
        frame.set_max_window_size(MAX_WINDOW_BYTES);
        Self {
            frame,
            waiting: Vec::new(),
            stage: Stage::Header,
            sink,
        }
    }

    pub(super) fn sink(&mut self) -> &mut Sink {
        &mut self.sink
    }

    pub(super) fn push(&mut self, piece: &[u8]) -> Result<(), Undecodable> {
        self.waiting.extend_from_slice(piece);
        if self.stage == Stage::Header && self.waiting.len() < MAX_HEADER_BYTES {
            return Ok(());
        }
        self.advance()
    }

    pub(super) fn finish(&mut self) -> Result<(), Undecodable> {
        // A body may be shorter than the longest header.
        self.advance()?;
        match self.stage {
            Stage::Ended => Ok(()),
            _ => Err(Undecodable::CutOff),
        }
    }

    fn advance(&mut self) -> Result<(), Undecodable> {
        let waiting = std::mem::take(&mut self.waiting);
        let mut rest = waiting.as_slice();
        if self.stage == Stage::Header {
            let flags = rest.get(4).copied().unwrap_or_default();
            self.frame.init(&mut rest).map_err(bad)?;
            self.stage = Stage::Blocks {
                checksum: flags & CHECKSUM_FLAG != 0,
            };
        }
        while let Stage::Blocks { checksum } = self.stage
            && let Some(bytes) = block_bytes(rest, checksum)
            && let Some((mut block, after)) = rest.split_at_checked(bytes)
        {
            rest = after;
            let ended = self
                .frame
                .decode_blocks(&mut block, BlockDecodingStrategy::UptoBlocks(1))
                .map_err(bad)?;
            if ended {
                self.stage = Stage::Ended;
            }
            self.frame
                .collect_to_writer(&mut self.sink)
                .map_err(Undecodable::Bad)?;
        }
        if self.stage == Stage::Ended {
            if !rest.is_empty() {
                return Err(Undecodable::Trailing);
            }
            let said = self.frame.get_checksum_from_data();
            if said.is_some() && said != self.frame.get_calculated_checksum() {
                return Err(bad("the checksum is another"));
            }
        }
        self.waiting = rest.to_vec();
        Ok(())
    }
}

fn bad(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Undecodable {
    Undecodable::Bad(io::Error::other(error))
}

/// How long the next block is with its header, and the checksum after the last one.
fn block_bytes(bytes: &[u8], checksum: bool) -> Option<usize> {
    let [first, second, third, ..] = *bytes else {
        return None;
    };
    let header = u32::from_le_bytes([first, second, third, 0]);
    let (last, kind, size) = (header & 1 != 0, header >> 1 & 3, (header >> 3) as usize);
    // One byte, so many times.
    let content = if kind == 1 { 1 } else { size };
    let after = if last && checksum { CHECKSUM_BYTES } else { 0 };
    Some(BLOCK_HEADER_BYTES + content + after)
}
