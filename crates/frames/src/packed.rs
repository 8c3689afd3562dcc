//! The files of a workspace as one stream of bytes: an entry behind its length, then its content, and a length of 0 at the end.

use crate::{
    FrameError,
    limits::MAX_PATH_BYTES,
    wire::{Fields, length, put_bytes},
};

/// The most bytes of one entry without its content: what is larger is not packed.
pub const MAX_PACKED_BYTES: usize = 1 << 20;

/// The most pieces of a file with holes.
pub const MAX_PIECES: usize = 4_096;

/// The most extended attributes of a file.
pub const MAX_ATTRIBUTES: usize = 256;

/// A moment, in seconds and nanoseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Whole seconds; negative before 1970.
    pub seconds: i64,
    /// The rest.
    pub nanoseconds: u32,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packed {
    /// A directory.
    Directory,
    /// A regular file of this size. What is not in one of its pieces (where, how many bytes) is a hole; the content of the pieces
    /// follows the entry.
    File {
        /// Its size.
        bytes: u64,
        /// What of it is there.
        pieces: Vec<(u64, u64)>,
    },
    /// A symbolic link to this.
    Link(Vec<u8>),
    /// Another name of the file that came under this path.
    Same(Vec<u8>),
    /// A named pipe.
    Pipe,
}

/// Something in a workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackedEntry {
    /// Its path, relative to the workspace; empty for the workspace itself.
    pub path: Vec<u8>,
    /// Its permissions, with setuid, setgid and sticky bit.
    pub mode: u32,
    /// When it was last read.
    pub accessed: Moment,
    /// When its content last changed.
    pub modified: Moment,
    /// Its extended attributes: name and value.
    pub attributes: Vec<(Vec<u8>, Vec<u8>)>,
    /// What it is.
    pub what: Packed,
}

/// What stands at the end of the stream.
pub const PACKED_END: [u8; 4] = [0; 4];

impl PackedEntry {
    /// How many bytes of content follow it.
    #[must_use]
    pub fn content_bytes(&self) -> u64 {
        match &self.what {
            Packed::File { pieces, .. } => pieces
                .iter()
                .fold(0, |sum: u64, (_, bytes)| sum.saturating_add(*bytes)),
            _ => 0,
        }
    }

    /// The entry behind its length.
    ///
    /// # Errors
    /// When it is larger than [`MAX_PACKED_BYTES`].
    pub fn encode(&self) -> Result<Vec<u8>, FrameError> {
        let mut out = PACKED_END.to_vec();
        out.push(match self.what {
            Packed::Directory => 0,
            Packed::File { .. } => 1,
            Packed::Link(_) => 2,
            Packed::Same(_) => 3,
            Packed::Pipe => 4,
        });
        put_bytes(&mut out, &self.path)?;
        out.extend(self.mode.to_le_bytes());
        for moment in [self.accessed, self.modified] {
            out.extend(moment.seconds.to_le_bytes());
            out.extend(moment.nanoseconds.to_le_bytes());
        }
        out.extend(length(self.attributes.len())?.to_le_bytes());
        for (name, value) in &self.attributes {
            put_bytes(&mut out, name)?;
            put_bytes(&mut out, value)?;
        }
        match &self.what {
            Packed::Directory | Packed::Pipe => {}
            Packed::Link(target) | Packed::Same(target) => put_bytes(&mut out, target)?,
            Packed::File { bytes, pieces } => {
                out.extend(bytes.to_le_bytes());
                out.extend(length(pieces.len())?.to_le_bytes());
                for (at, bytes) in pieces {
                    out.extend(at.to_le_bytes());
                    out.extend(bytes.to_le_bytes());
                }
            }
        }
        let len = out.len() - PACKED_END.len();
        if len > MAX_PACKED_BYTES {
            let max = MAX_PACKED_BYTES;
            return Err(FrameError::TooLong { len, max });
        }
        if let Some(header) = out.get_mut(..PACKED_END.len()) {
            header.copy_from_slice(&length(len)?.to_le_bytes());
        }
        Ok(out)
    }

    /// The entry of these bytes, which came behind their length.
    ///
    /// # Errors
    /// When they are not an entry, or one with more or larger parts than there may be.
    pub fn decode(bytes: &[u8]) -> Result<Self, FrameError> {
        let mut fields = Fields(bytes);
        let kind = fields.u8()?;
        let path = path(fields.bytes()?)?;
        let mode = fields.u32()?;
        let (accessed, modified) = (moment(&mut fields)?, moment(&mut fields)?);
        let mut attributes = Vec::new();
        for _ in 0..count(&mut fields, MAX_ATTRIBUTES)? {
            attributes.push((fields.bytes()?.to_vec(), fields.bytes()?.to_vec()));
        }
        let what = match kind {
            0 => Packed::Directory,
            1 => {
                let bytes = fields.u64()?;
                let mut pieces = Vec::new();
                let mut end = 0;
                for _ in 0..count(&mut fields, MAX_PIECES)? {
                    let (at, length) = (fields.u64()?, fields.u64()?);
                    // One after the other, within the file.
                    let next = at.checked_add(length).filter(|next| *next <= bytes);
                    match next {
                        Some(next) if at >= end => end = next,
                        _ => return Err(FrameError::Field("piece of a file")),
                    }
                    pieces.push((at, length));
                }
                Packed::File { bytes, pieces }
            }
            2 => Packed::Link(path_of_any_kind(fields.bytes()?)?),
            3 => Packed::Same(self::path(fields.bytes()?)?),
            4 => Packed::Pipe,
            _ => return Err(FrameError::Field("kind of entry")),
        };
        fields.end()?;
        Ok(Self {
            path,
            mode,
            accessed,
            modified,
            attributes,
            what,
        })
    }
}

fn moment(fields: &mut Fields<'_>) -> Result<Moment, FrameError> {
    Ok(Moment {
        seconds: fields.array().map(i64::from_le_bytes)?,
        nanoseconds: fields.u32()?,
    })
}

fn count(fields: &mut Fields<'_>, most: usize) -> Result<usize, FrameError> {
    match usize::try_from(fields.u32()?) {
        Ok(count) if count <= most => Ok(count),
        _ => Err(FrameError::Field("number of parts")),
    }
}

fn path_of_any_kind(bytes: &[u8]) -> Result<Vec<u8>, FrameError> {
    match bytes.len() <= MAX_PATH_BYTES && !bytes.contains(&0) {
        true => Ok(bytes.to_vec()),
        false => Err(FrameError::Field("path")),
    }
}

/// A path below the workspace, or the workspace itself.
fn path(bytes: &[u8]) -> Result<Vec<u8>, FrameError> {
    let good = |part: &[u8]| !matches!(part, b"" | b"." | b"..");
    match bytes.is_empty() || bytes.split(|byte| *byte == b'/').all(good) {
        true => path_of_any_kind(bytes),
        false => Err(FrameError::Field("path")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &[u8], what: Packed) -> PackedEntry {
        PackedEntry {
            path: path.to_vec(),
            mode: 0o4755,
            accessed: Moment {
                seconds: -1,
                nanoseconds: 999_999_999,
            },
            modified: Moment {
                seconds: 1 << 40,
                nanoseconds: 0,
            },
            attributes: vec![(b"user.a".to_vec(), vec![0, 255])],
            what,
        }
    }

    fn decoded(bytes: &[u8]) -> Result<PackedEntry, FrameError> {
        PackedEntry::decode(&bytes[4..])
    }

    #[test]
    fn what_is_packed_comes_out_the_same() {
        for what in [
            Packed::Directory,
            Packed::Pipe,
            Packed::Link(b"/etc/../x".to_vec()),
            Packed::Same(b"a/b".to_vec()),
            Packed::File {
                bytes: 1 << 50,
                pieces: vec![(0, 1), (1 << 49, 1 << 49)],
            },
        ] {
            let entry = entry(b"a/b", what);
            let bytes = entry.encode().unwrap();
            let header = u32::from_le_bytes(bytes[..4].try_into().unwrap());
            assert_eq!(header as usize, bytes.len() - 4);
            assert_eq!(decoded(&bytes).unwrap(), entry);
            for cut in 4..bytes.len() {
                assert!(decoded(&bytes[..cut]).is_err(), "{cut}");
            }
        }
    }

    #[test]
    fn no_entry_leads_out_of_the_workspace_or_out_of_its_file() {
        for path in [&b"../x"[..], b"/x", b"a//b", b"a/./b", b"a/..", b"a\0b"] {
            let bytes = entry(path, Packed::Pipe).encode().unwrap();
            assert!(decoded(&bytes).is_err(), "{path:?}");
            let same = entry(b"x", Packed::Same(path.to_vec())).encode().unwrap();
            assert!(decoded(&same).is_err(), "{path:?}");
        }
        for pieces in [
            vec![(0, 11)],
            vec![(5, 5), (4, 1)],
            vec![(u64::MAX, 2)],
            vec![(0, 1); MAX_PIECES + 1],
        ] {
            let what = Packed::File { bytes: 10, pieces };
            assert!(decoded(&entry(b"x", what).encode().unwrap()).is_err());
        }
        let mut many = entry(b"x", Packed::Pipe);
        many.attributes = vec![(Vec::new(), Vec::new()); MAX_ATTRIBUTES + 1];
        assert!(decoded(&many.encode().unwrap()).is_err());
        many.attributes = vec![(b"user.a".to_vec(), vec![0; MAX_PACKED_BYTES])];
        assert!(many.encode().is_err());
    }
}
