//! The control socket of a call: the keeper's end is trusted, and gone when nobody wants the call any more.

use std::{
    io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
};

use casemate_frames::{Decoder, FromGuest, Message as _, ToGuest};
use rustix::io::Errno;

/// The keeper, as a call sees it.
pub(crate) struct Keeper {
    socket: OwnedFd,
    decoder: Decoder<ToGuest>,
}

impl Keeper {
    pub(crate) fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            decoder: Decoder::default(),
        }
    }

    pub(crate) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    pub(crate) fn send(&self, message: &FromGuest) -> io::Result<()> {
        let mut bytes = Vec::new();
        message.encode(&mut bytes)?;
        write_all(self.socket.as_fd(), &bytes)
    }

    /// The next message, if all of it is here.
    pub(crate) fn next(&mut self) -> io::Result<Option<ToGuest>> {
        Ok(self.decoder.next_frame()?)
    }

    /// The next message; waits for it.
    pub(crate) fn wait(&mut self) -> io::Result<ToGuest> {
        loop {
            if let Some(message) = self.next()? {
                return Ok(message);
            }
            self.read()?;
        }
    }

    /// Reads what is there into the decoder. The keeper's end is ours too.
    pub(crate) fn read(&mut self) -> io::Result<()> {
        let mut buffer = [0; 16 * 1024];
        match rustix::io::read(&self.socket, &mut buffer) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                self.decoder.push(buffer.get(..count).unwrap_or_default());
                Ok(())
            }
            Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// The socket that the keeper passed as standard input.
pub(crate) fn on_stdin() -> io::Result<OwnedFd> {
    Ok(rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?)
}

/// Writes everything to a descriptor that blocks.
pub(crate) fn write_all(fd: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(fd, bytes) {
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
