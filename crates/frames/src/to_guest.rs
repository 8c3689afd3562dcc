//! What the keeper tells the guest.

use crate::{
    FrameError, Message,
    limits::{
        MAX_ARGUMENTS, MAX_CHUNK_BYTES, MAX_EXEC_BYTES, MAX_LIMITS, MAX_PATH_BYTES,
        MAX_SOURCE_BYTES,
    },
    wire::{Fields, frame, length, put_bytes},
};

/// The program to run: the first and only command of a call.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Exec {
    /// The command and its arguments, without NUL bytes.
    pub argv: Vec<Vec<u8>>,
    /// The whole environment as `NAME=value`, without NUL bytes.
    pub env: Vec<Vec<u8>>,
    /// The size of its terminal, if it runs on one.
    pub terminal: Option<Window>,
}

/// The size of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Lines.
    pub rows: u16,
    /// Characters in a line.
    pub columns: u16,
}

/// Python source for the interpreter that waits in the place of a call.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Cell {
    /// What it finds in `sys.argv`, without NUL bytes.
    pub argv: Vec<Vec<u8>>,
    /// The whole environment as `NAME=value`, without NUL bytes.
    pub env: Vec<Vec<u8>>,
    /// Whether the value of a last expression is a result.
    pub echo: bool,
    /// Whether the interpreter stays for more cells, with all its variables.
    pub stay: bool,
    /// The source.
    pub source: Vec<u8>,
}

impl std::fmt::Debug for Cell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cell")
            .field("bytes", &self.source.len())
            .finish_non_exhaustive()
    }
}

/// Something to do with a file below `/workspace`, in place of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileRequest {
    /// What.
    pub action: FileAction,
    /// Its path, relative to `/workspace`, without NUL bytes and without `.` and `..`; empty for `/workspace`.
    pub path: Vec<u8>,
}

/// What to do with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileAction {
    /// Replace it by what comes on standard input, once all of that has come.
    Write,
    /// Say its size, and give its content on standard output.
    Read,
    /// Give the directory's entries on standard output.
    List,
    /// Remove it.
    Remove,
    /// Say how long it is, and give the whole workspace on standard output as [`crate::PackedEntry`] says.
    Pack,
    /// Put there what comes on standard input in the same form. The workspace is a new one.
    Unpack,
}

/// What the keeper tells the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToGuest {
    /// Run this.
    Exec(Exec),
    /// Bytes for the program's standard input. The next chunk may only be sent after the guest said
    /// [`crate::FromGuest::StdinTaken`] to this one.
    Stdin(Vec<u8>),
    /// The end of its standard input.
    StdinClosed,
    /// Send this signal to the program's process group, or to what is in the foreground of its terminal.
    Signal(u8),
    /// The program's terminal has this size now.
    Resize(Window),
    /// Let the interpreter run this.
    Cell(Cell),
    /// Do this with a file.
    File(FileRequest),
    /// Connect standard input and output to this port of the loopback.
    Connect(u16),
    /// An input of this name begins; its content follows as [`ToGuest::Stdin`], without answers.
    Input(Vec<u8>),
    /// There are no more inputs: give up every privilege.
    Seal,
    /// Resource limits for every process of the call, as `RLIMIT_*` number and value.
    Limits(Vec<(u8, u64)>),
}

impl Message for ToGuest {
    fn max_bytes(kind: u8) -> Option<usize> {
        match kind {
            1 => Some(MAX_EXEC_BYTES),
            2 => Some(MAX_CHUNK_BYTES),
            3 | 10 => Some(0),
            4 => Some(1),
            5 => Some(4),
            6 => Some(MAX_EXEC_BYTES + MAX_SOURCE_BYTES),
            7 => Some(1 + MAX_PATH_BYTES),
            8 => Some(2),
            9 => Some(255),
            11 => Some(9 * MAX_LIMITS),
            _ => None,
        }
    }

    fn parse(kind: u8, payload: &[u8]) -> Result<Self, FrameError> {
        let mut fields = Fields(payload);
        let message = match kind {
            1 => Self::Exec(Exec {
                argv: list(&mut fields)?,
                env: list(&mut fields)?,
                terminal: match fields.u8()? {
                    0 => None,
                    1 => Some(window(&mut fields)?),
                    _ => return Err(FrameError::Field("terminal")),
                },
            }),
            2 => return Ok(Self::Stdin(payload.to_vec())),
            3 => Self::StdinClosed,
            4 => match fields.u8()? {
                signal @ 1..=64 => Self::Signal(signal),
                _ => return Err(FrameError::Field("signal")),
            },
            5 => Self::Resize(window(&mut fields)?),
            6 => Self::Cell(Cell {
                argv: list(&mut fields)?,
                env: list(&mut fields)?,
                echo: flag(&mut fields)?,
                stay: flag(&mut fields)?,
                source: fields.bytes()?.to_vec(),
            }),
            7 => {
                let action = match fields.u8()? {
                    0 => FileAction::Write,
                    1 => FileAction::Read,
                    2 => FileAction::List,
                    3 => FileAction::Remove,
                    4 => FileAction::Pack,
                    5 => FileAction::Unpack,
                    _ => return Err(FrameError::Field("action")),
                };
                let path = without_nul(fields.rest().to_vec())?;
                return Ok(Self::File(FileRequest { action, path }));
            }
            8 => Self::Connect(fields.u16()?),
            9 => return without_nul(payload.to_vec()).map(Self::Input),
            10 => Self::Seal,
            11 => {
                let mut limits = Vec::new();
                while !fields.is_empty() {
                    limits.push((fields.u8()?, fields.u64()?));
                }
                Self::Limits(limits)
            }
            other => return Err(FrameError::Kind(other)),
        };
        fields.end().map(|()| message)
    }

    fn encode(&self, out: &mut Vec<u8>) -> Result<(), FrameError> {
        match self {
            Self::Exec(exec) => frame(out, 1, |out| {
                put_command(out, &exec.argv, &exec.env)?;
                match exec.terminal {
                    None => out.push(0),
                    Some(window) => {
                        out.push(1);
                        put_window(out, window);
                    }
                }
                Ok(())
            }),
            Self::Stdin(bytes) => frame(out, 2, |out| put_all(out, bytes, MAX_CHUNK_BYTES)),
            Self::StdinClosed => frame(out, 3, |_| Ok(())),
            Self::Signal(signal) => frame(out, 4, |out| {
                out.push(*signal);
                Ok(())
            }),
            Self::Resize(window) => frame(out, 5, |out| {
                put_window(out, *window);
                Ok(())
            }),
            Self::Cell(cell) => frame(out, 6, |out| {
                put_command(out, &cell.argv, &cell.env)?;
                out.push(cell.echo.into());
                out.push(cell.stay.into());
                check_length(&cell.source, MAX_SOURCE_BYTES)?;
                put_bytes(out, &cell.source)
            }),
            Self::File(FileRequest { action, path }) => frame(out, 7, |out| {
                out.push(match action {
                    FileAction::Write => 0,
                    FileAction::Read => 1,
                    FileAction::List => 2,
                    FileAction::Remove => 3,
                    FileAction::Pack => 4,
                    FileAction::Unpack => 5,
                });
                put_name(out, path, MAX_PATH_BYTES)
            }),
            Self::Connect(port) => frame(out, 8, |out| {
                out.extend(port.to_le_bytes());
                Ok(())
            }),
            Self::Input(name) => frame(out, 9, |out| put_name(out, name, 255)),
            Self::Seal => frame(out, 10, |_| Ok(())),
            Self::Limits(limits) => frame(out, 11, |out| {
                if limits.len() > MAX_LIMITS {
                    return Err(FrameError::Field("number of limits"));
                }
                for (resource, value) in limits {
                    out.push(*resource);
                    out.extend(value.to_le_bytes());
                }
                Ok(())
            }),
        }
    }
}

fn flag(fields: &mut Fields<'_>) -> Result<bool, FrameError> {
    match fields.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(FrameError::Field("flag")),
    }
}

fn window(fields: &mut Fields<'_>) -> Result<Window, FrameError> {
    Ok(Window {
        rows: fields.u16()?,
        columns: fields.u16()?,
    })
}

fn put_window(out: &mut Vec<u8>, window: Window) {
    out.extend(window.rows.to_le_bytes());
    out.extend(window.columns.to_le_bytes());
}

/// A command and its environment, which together have a limit.
fn put_command(out: &mut Vec<u8>, argv: &[Vec<u8>], env: &[Vec<u8>]) -> Result<(), FrameError> {
    let start = out.len();
    put_list(out, argv)?;
    put_list(out, env)?;
    if out.len() - start + WINDOW_BYTES > MAX_EXEC_BYTES {
        return Err(FrameError::Command);
    }
    Ok(())
}

/// What may follow a command in its frame.
const WINDOW_BYTES: usize = 5;

fn check_length(bytes: &[u8], max: usize) -> Result<(), FrameError> {
    if bytes.len() > max {
        return Err(FrameError::TooLong {
            len: bytes.len(),
            max,
        });
    }
    Ok(())
}

fn put_all(out: &mut Vec<u8>, bytes: &[u8], max: usize) -> Result<(), FrameError> {
    check_length(bytes, max)?;
    out.extend(bytes);
    Ok(())
}

fn put_name(out: &mut Vec<u8>, name: &[u8], max: usize) -> Result<(), FrameError> {
    if name.contains(&0) {
        return Err(FrameError::Field("NUL byte"));
    }
    put_all(out, name, max)
}

fn without_nul(bytes: Vec<u8>) -> Result<Vec<u8>, FrameError> {
    if bytes.contains(&0) {
        Err(FrameError::Field("NUL byte"))
    } else {
        Ok(bytes)
    }
}

fn list(fields: &mut Fields<'_>) -> Result<Vec<Vec<u8>>, FrameError> {
    let count = fields.u32()? as usize;
    if count > MAX_ARGUMENTS {
        return Err(FrameError::Command);
    }
    (0..count)
        .map(|_| without_nul(fields.bytes()?.to_vec()))
        .collect()
}

fn put_list(out: &mut Vec<u8>, items: &[Vec<u8>]) -> Result<(), FrameError> {
    if items.len() > MAX_ARGUMENTS {
        return Err(FrameError::Command);
    }
    if items.iter().any(|item| item.contains(&0)) {
        return Err(FrameError::Field("NUL byte"));
    }
    out.extend(length(items.len())?.to_le_bytes());
    items.iter().try_for_each(|item| put_bytes(out, item))
}
