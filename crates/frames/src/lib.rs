//! The protocol between the keeper and the guest in a sandbox.
//!
//! A frame is a little-endian `u32` with the length of the payload, one byte that says its kind, and the
//! payload. Every kind has a largest length, checked before anything is stored.
//!
//! Invariants:
//! - What a guest sends is hostile input: [`Decoder`] holds at most one frame, never panics, and after an
//!   error gives nothing more (I6, I15).
//! - Each direction has its own kinds: a frame sent back is an error.
//!
//! Deliberately absent: negotiation, compression, nesting, optional fields.

mod decode;
mod directory;
mod from_guest;
mod limits;
mod packed;
mod session;
mod to_guest;
mod wire;

pub use self::{
    decode::{Decoder, FrameError, Message},
    directory::{DirectoryEntry, EntryKind},
    from_guest::{ExecFailure, Exited, FromGuest},
    limits::{
        MAX_ARGUMENTS, MAX_CHUNK_BYTES, MAX_ENTRIES, MAX_EXEC_BYTES, MAX_LIMITS, MAX_PATH_BYTES,
        MAX_SOURCE_BYTES, PROTOCOL_VERSION,
    },
    packed::{
        MAX_ATTRIBUTES, MAX_PACKED_BYTES, MAX_PIECES, Moment, PACKED_END, Packed, PackedEntry,
    },
    session::{
        MAX_SESSION_BYTES, MAX_WAY_PORTS, Network, PlaceReport, SESSION_READY, SessionOrder,
        Waiting,
    },
    to_guest::{Cell, Exec, FileAction, FileRequest, ToGuest, Window},
};

#[cfg(test)]
mod tests;
