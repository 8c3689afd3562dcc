//! What the guest tells the keeper: hostile input.

use crate::{
    FrameError, Message,
    limits::MAX_CHUNK_BYTES,
    wire::{Fields, frame},
};

/// How the program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exited {
    /// The exit code, if it ended by itself.
    pub code: Option<u8>,
    /// The signal, if one killed it.
    pub signal: Option<u8>,
    /// CPU time of the program and the children it waited for, in microseconds.
    pub cpu_us: u64,
    /// The largest resident memory of one of them, in bytes.
    pub memory_peak_bytes: u64,
}

/// The program could not be executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExecFailure {
    /// The kernel's error number.
    pub errno: u32,
}

/// What the guest tells the keeper.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromGuest {
    /// It runs and speaks this version. Always the first frame.
    Hello(u32),
    /// The program runs.
    Started,
    /// The program could not be executed. Always the last frame.
    ExecFailed(ExecFailure),
    /// Bytes of standard output.
    Stdout(Vec<u8>),
    /// Bytes of standard error.
    Stderr(Vec<u8>),
    /// The last chunk for standard input was written, or the program does not want it.
    StdinTaken,
    /// The program ended, and so did everything that it started. Always the last frame.
    Exited(Exited),
    /// Bytes of an interpreter's results.
    Results(Vec<u8>),
    /// A cell of a stateful interpreter ended with this exit code, and the interpreter waits for the next.
    CellEnded(u8),
    /// The size of the file whose content follows.
    FileSize(u64),
    /// A file could not be used: the kernel's error number. Always the last frame.
    FileFailed(u32),
}

impl Message for FromGuest {
    fn max_bytes(kind: u8) -> Option<usize> {
        match kind {
            1 | 7 | 11 => Some(4),
            2 | 5 => Some(0),
            3 | 4 | 8 => Some(MAX_CHUNK_BYTES),
            6 => Some(18),
            9 => Some(1),
            10 => Some(8),
            _ => None,
        }
    }

    fn parse(kind: u8, payload: &[u8]) -> Result<Self, FrameError> {
        let mut fields = Fields(payload);
        let message = match kind {
            1 => Self::Hello(fields.u32()?),
            2 => Self::Started,
            3 => return Ok(Self::Stdout(payload.to_vec())),
            4 => return Ok(Self::Stderr(payload.to_vec())),
            5 => Self::StdinTaken,
            6 => {
                let (code, signal) = match (fields.u8()?, fields.u8()?) {
                    (0, code) => (Some(code), None),
                    (1, signal @ 1..=64) => (None, Some(signal)),
                    _ => return Err(FrameError::Field("exit status")),
                };
                let (cpu_us, memory_peak_bytes) = (fields.u64()?, fields.u64()?);
                Self::Exited(Exited {
                    code,
                    signal,
                    cpu_us,
                    memory_peak_bytes,
                })
            }
            7 => Self::ExecFailed(ExecFailure {
                errno: fields.u32()?,
            }),
            8 => return Ok(Self::Results(payload.to_vec())),
            9 => Self::CellEnded(fields.u8()?),
            10 => Self::FileSize(fields.u64()?),
            11 => Self::FileFailed(fields.u32()?),
            other => return Err(FrameError::Kind(other)),
        };
        fields.end().map(|()| message)
    }

    fn encode(&self, out: &mut Vec<u8>) -> Result<(), FrameError> {
        let chunk = |out: &mut Vec<u8>, kind, bytes: &[u8]| {
            if bytes.len() > MAX_CHUNK_BYTES {
                return Err(FrameError::TooLong {
                    len: bytes.len(),
                    max: MAX_CHUNK_BYTES,
                });
            }
            frame(out, kind, |out| {
                out.extend(bytes);
                Ok(())
            })
        };
        match self {
            Self::Hello(version) => frame(out, 1, |out| {
                out.extend(version.to_le_bytes());
                Ok(())
            }),
            Self::Started => frame(out, 2, |_| Ok(())),
            Self::Stdout(bytes) => chunk(out, 3, bytes),
            Self::Stderr(bytes) => chunk(out, 4, bytes),
            Self::Results(bytes) => chunk(out, 8, bytes),
            Self::StdinTaken => frame(out, 5, |_| Ok(())),
            Self::CellEnded(code) => frame(out, 9, |out| {
                out.push(*code);
                Ok(())
            }),
            Self::FileSize(bytes) => frame(out, 10, |out| {
                out.extend(bytes.to_le_bytes());
                Ok(())
            }),
            Self::FileFailed(errno) => frame(out, 11, |out| {
                out.extend(errno.to_le_bytes());
                Ok(())
            }),
            Self::Exited(exited) => frame(out, 6, |out| {
                match (exited.code, exited.signal) {
                    (Some(code), None) => out.extend([0, code]),
                    (None, Some(signal @ 1..=64)) => out.extend([1, signal]),
                    _ => return Err(FrameError::Field("exit status")),
                }
                out.extend(exited.cpu_us.to_le_bytes());
                out.extend(exited.memory_peak_bytes.to_le_bytes());
                Ok(())
            }),
            Self::ExecFailed(failure) => frame(out, 7, |out| {
                out.extend(failure.errno.to_le_bytes());
                Ok(())
            }),
        }
    }
}
