//! Directories and files that only this user can change, and that appear whole and durable, or not at all.
//!
//! Invariants:
//! - Everything in a [`Dir`] is opened relative to a checked directory and never through a link. What others own or could
//!   have changed is an error, not a warning.
//! - What changes names in a directory takes a [`Held`]: nobody else changes it meanwhile, in this process or another.
//! - A file that has its name is complete. When [`Dir::replace`] has returned, a power cut keeps it.
//! - No file is read beyond the limit that its reader names, and nothing waits for the other end of a pipe.
//!
//! Deliberately absent: what is in the files. They must be on a local file system.

mod dir;
mod error;
mod privacy;
mod stamp;
mod whole;

pub use self::{
    dir::{Dir, Held, Steps, UNFINISHED, make},
    error::FileError,
    privacy::Privacy,
    stamp::{Pinned, Stamp},
    whole::{ReadFile, create_file, read_file},
};
