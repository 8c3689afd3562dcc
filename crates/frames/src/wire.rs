//! Fields of a payload.

use crate::FrameError;

/// Takes fields off the front of a payload.
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], FrameError> {
        let (head, rest) = self.0.split_first_chunk().ok_or(FrameError::Short)?;
        self.0 = rest;
        Ok(*head)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, FrameError> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, FrameError> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, FrameError> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, FrameError> {
        self.array().map(u64::from_le_bytes)
    }

    /// A byte string behind its `u32` length.
    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], FrameError> {
        let len = usize::try_from(self.u32()?).map_err(|_| FrameError::Short)?;
        let (head, rest) = self.0.split_at_checked(len).ok_or(FrameError::Short)?;
        self.0 = rest;
        Ok(head)
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Everything that is left.
    pub(crate) const fn rest(self) -> &'a [u8] {
        self.0
    }

    pub(crate) fn end(self) -> Result<(), FrameError> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(FrameError::Long)
        }
    }
}

/// Appends a whole frame whose payload `fill` writes.
pub(crate) fn frame(
    out: &mut Vec<u8>,
    kind: u8,
    fill: impl FnOnce(&mut Vec<u8>) -> Result<(), FrameError>,
) -> Result<(), FrameError> {
    let start = out.len();
    out.extend([0; 4]);
    out.push(kind);
    let filled = fill(out).and_then(|()| length(out.len() - start - 5));
    match (filled, out.get_mut(start..start + 4)) {
        (Ok(len), Some(header)) => {
            header.copy_from_slice(&len.to_le_bytes());
            Ok(())
        }
        (filled, _) => {
            out.truncate(start);
            filled.map(|_| ())
        }
    }
}

/// Appends a byte string behind its length.
pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), FrameError> {
    out.extend(length(bytes.len())?.to_le_bytes());
    out.extend(bytes);
    Ok(())
}

pub(crate) fn length(len: usize) -> Result<u32, FrameError> {
    u32::try_from(len).map_err(|_| FrameError::TooLong {
        len,
        max: u32::MAX as usize,
    })
}
