//! Bodies that were compressed although nobody asked for it.

mod deflate;
mod sink;
mod zstd;

use std::io;

use brotli_decompressor::DecompressorWriter;
use bytes::Bytes;
use flate2::write::MultiGzDecoder;

use self::{deflate::Deflate, sink::Sink, zstd::Zstd};

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// It is not.
    Identity,
    /// RFC 1952.
    Gzip,
    /// RFC 1950: with the header that some leave out, who are refused.
    Deflate,
    /// RFC 7932.
    Brotli,
    /// RFC 8878, with the window of RFC 9659.
    Zstd,
}

impl Coding {
    /// What the values of all `Content-Encoding` fields of one answer come to.
    ///
    /// # Errors
    /// When a coding is not known, or there is more than one.
    pub fn of<'v>(values: impl IntoIterator<Item = &'v [u8]>) -> Result<Self, Undecodable> {
        let mut coding = None;
        for value in values {
            for name in value.split(|byte| *byte == b',') {
                let named = match name.trim_ascii().to_ascii_lowercase().as_slice() {
                    b"identity" => Self::Identity,
                    b"gzip" | b"x-gzip" => Self::Gzip,
                    b"deflate" => Self::Deflate,
                    b"br" => Self::Brotli,
                    b"zstd" => Self::Zstd,
                    _ => return Err(Undecodable::Unknown),
                };
                if coding.replace(named).is_some() {
                    return Err(Undecodable::Layers);
                }
            }
        }
        Ok(coding.unwrap_or(Self::Identity))
    }
}

/// How much may come out of a compressed body.
#[derive(Clone, Copy, Debug)]
pub struct DecodeLimits {
    /// Bytes for each byte that went in.
    pub ratio: u64,
    /// Bytes that may come out whatever went in: little text is often compressed far.
    pub free_bytes: u64,
    /// Bytes in all.
    pub total_bytes: u64,
}

impl Default for DecodeLimits {
    fn default() -> Self {
        Self {
            ratio: 100,
            free_bytes: 64 * 1024,
            total_bytes: 4 << 30,
        }
    }
}

/// Why a body cannot be read, and so not be passed on.
#[derive(Debug, thiserror::Error)]
pub enum Undecodable {
    /// A coding that is not known, so that secrets in it would not be found.
    #[error("the body has a content coding that is not known")]
    Unknown,
    /// One coding in another.
    #[error("the body has more than one content coding")]
    Layers,
    /// What its coding does not allow.
    #[error("the body is not what its content coding says")]
    Bad(#[source] io::Error),
    /// It ended too early.
    #[error("the compressed body ends too early")]
    CutOff,
    /// Something follows its end.
    #[error("something follows the end of the compressed body")]
    Trailing,
    /// More comes out of it than may.
    #[error("the compressed body becomes larger than it may")]
    TooLarge,
    /// It wants to look further back than it may.
    #[error("the compressed body needs a larger window than it may have")]
    Window,
}

/// Decompresses one body.
pub(crate) struct Decoder {
    coding: Inner,
    limits: DecodeLimits,
    encoded: u64,
}

enum Inner {
    Identity(Sink),
    Gzip(Box<MultiGzDecoder<Sink>>),
    Deflate(Box<Deflate>),
    Brotli(Box<DecompressorWriter<Sink>>),
    Zstd(Box<Zstd>),
}

/// Of the buffer between decompressor and sink.
const BUFFER_BYTES: usize = 16 * 1024;

impl Decoder {
    pub(crate) fn new(coding: Coding, limits: DecodeLimits) -> Self {
        let sink = Sink::default();
        Self {
            coding: match coding {
                Coding::Identity => Inner::Identity(sink),
                Coding::Gzip => Inner::Gzip(Box::new(MultiGzDecoder::new(sink))),
                Coding::Deflate => Inner::Deflate(Box::new(Deflate::new(sink))),
                Coding::Brotli => {
                    Inner::Brotli(Box::new(DecompressorWriter::new(sink, BUFFER_BYTES)))
                }
                Coding::Zstd => Inner::Zstd(Box::new(Zstd::new(sink))),
            },
            limits,
            encoded: 0,
        }
    }

    /// Reads the next piece. What came out is given to `out`, whether or not the rest is an error.
    pub(crate) fn push(
        &mut self,
        piece: &Bytes,
        mut out: impl FnMut(Bytes),
    ) -> Result<(), Undecodable> {
        self.encoded = self.encoded.saturating_add(piece.len() as u64);
        if let Inner::Identity(_) = self.coding {
            out(piece.clone());
            return Ok(());
        }
        let limits = self.limits;
        let most = self.encoded.saturating_mul(limits.ratio);
        self.sink()
            .allow(most.max(limits.free_bytes).min(limits.total_bytes));
        let read = match &mut self.coding {
            Inner::Identity(_) => Ok(()),
            Inner::Gzip(decoder) => all(&mut **decoder, piece),
            Inner::Deflate(decoder) => decoder.push(piece),
            Inner::Brotli(decoder) => all(&mut **decoder, piece),
            Inner::Zstd(decoder) => decoder.push(piece),
        };
        self.drain(read, out)
    }

    /// Ends the body.
    pub(crate) fn finish(&mut self, out: impl FnMut(Bytes)) -> Result<(), Undecodable> {
        // An answer without a body may say how it would have been compressed.
        if self.encoded == 0 {
            return Ok(());
        }
        let ended = match &mut self.coding {
            Inner::Identity(_) => Ok(()),
            Inner::Gzip(decoder) => decoder.try_finish().map_err(|_| Undecodable::CutOff),
            Inner::Deflate(decoder) => decoder.finish(),
            Inner::Brotli(decoder) => decoder.close().map_err(|_| Undecodable::CutOff),
            Inner::Zstd(decoder) => decoder.finish(),
        };
        self.drain(ended, out)
    }

    /// Gives out what there is. That too much came out is the cause of whatever else went wrong.
    fn drain(
        &mut self,
        result: Result<(), Undecodable>,
        out: impl FnMut(Bytes),
    ) -> Result<(), Undecodable> {
        let sink = self.sink();
        sink.drain().for_each(out);
        if sink.is_over() {
            return Err(Undecodable::TooLarge);
        }
        result
    }

    fn sink(&mut self) -> &mut Sink {
        match &mut self.coding {
            Inner::Identity(sink) => sink,
            Inner::Gzip(decoder) => decoder.get_mut(),
            Inner::Deflate(decoder) => decoder.sink(),
            Inner::Brotli(decoder) => decoder.get_mut(),
            Inner::Zstd(decoder) => decoder.sink(),
        }
    }
}

/// Writes everything and has it decompressed at once: a stream of events does not wait for the next one.
fn all(decoder: &mut impl io::Write, piece: &[u8]) -> Result<(), Undecodable> {
    let mut rest = piece;
    while !rest.is_empty() {
        match decoder.write(rest) {
            Ok(0) => return Err(Undecodable::Trailing),
            Ok(read) => rest = rest.get(read..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Undecodable::Bad(error)),
        }
    }
    decoder.flush().map_err(Undecodable::Bad)
}
