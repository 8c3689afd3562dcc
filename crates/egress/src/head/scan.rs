//! Where a head ends, found as its bytes come.

use crate::{
    Code,
    limits::{MAX_HEAD_BYTES, MAX_REQUEST_LINE_BYTES},
};

/// Looks for the end of a head in a buffer that grows. The same bytes give the same answer, however they come.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Scan {
    seen: usize,
    line_at: usize,
    lines: usize,
}

impl Scan {
    /// How many bytes of `buffer` are the head with its empty line, if it is there whole.
    ///
    /// # Errors
    /// As soon as it cannot become a head: a line without CR LF, a control character, too many bytes.
    pub(crate) fn end(&mut self, buffer: &[u8]) -> Result<Option<usize>, Code> {
        while let Some(&byte) = buffer.get(self.seen) {
            let at = self.seen;
            let after_cr = at.checked_sub(1).and_then(|before| buffer.get(before)) == Some(&b'\r');
            self.seen += 1;
            match byte {
                b'\n' if after_cr => {
                    let empty = at == self.line_at + 1;
                    if empty {
                        return match self.lines {
                            0 => Err(Code::Framing),
                            _ => Ok(Some(self.seen)),
                        };
                    }
                    self.lines += 1;
                    self.line_at = self.seen;
                }
                // A CR is followed by LF, and nothing else.
                _ if after_cr => return Err(Code::Framing),
                b'\r' => {}
                b' '..=b'~' => {}
                _ => return Err(Code::Framing),
            }
            if self.lines == 0 && self.seen > MAX_REQUEST_LINE_BYTES || self.seen >= MAX_HEAD_BYTES
            {
                return Err(Code::HeadTooLarge);
            }
        }
        Ok(None)
    }
}
