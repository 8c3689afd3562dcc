//! What the keeper and a nursery tell each other: whole messages, with descriptors.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
};

use rustix::{
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
    },
    process::Pid,
};

/// The most descriptors that come with one message: those of a place with a network of its own.
const MAX_FDS: usize = 24;
const MAX_BYTES: usize = 512;

/// A received message.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) bytes: Vec<u8>,
    pub(crate) fds: Vec<OwnedFd>,
    /// Who sent it, in the numbers of this process, as the kernel says; only where it was asked for.
    pub(crate) sender: Option<Pid>,
}

/// Sends a message.
pub(crate) fn send(
    socket: BorrowedFd<'_>,
    message: &[u8],
    fds: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    sendmsg(
        socket,
        &[IoSlice::new(message)],
        &mut control,
        SendFlags::NOSIGNAL,
    )?;
    Ok(())
}

/// Receives a message; nothing at the end of them.
pub(crate) fn receive(socket: BorrowedFd<'_>) -> io::Result<Option<Message>> {
    let mut bytes = vec![0; MAX_BYTES];
    let mut space =
        [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS), ScmCredentials(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let buffers = &mut [IoSliceMut::new(&mut bytes)];
    let received = match recvmsg(socket, buffers, &mut control, RecvFlags::CMSG_CLOEXEC) {
        // It ended without having heard everything.
        Err(rustix::io::Errno::CONNRESET) => return Ok(None),
        result => result?,
    };
    let (mut fds, mut sender) = (Vec::new(), None);
    for message in control.drain() {
        match message {
            RecvAncillaryMessage::ScmRights(rights) => fds.extend(rights),
            RecvAncillaryMessage::ScmCredentials(credentials) => sender = Some(credentials.pid),
            _ => {}
        }
    }
    if received.bytes == 0 {
        return Ok(None);
    }
    bytes.truncate(received.bytes);
    Ok(Some(Message { bytes, fds, sender }))
}

/// What the keeper orders of a nursery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Make a sandbox. Along come its setup socket, its control socket, and the files by which to join its cgroups.
    Make,
    /// Send a warm interpreter. Along come a pidfd of the sandbox's first process, the interpreter's socket, and the files by
    /// which to join its cgroups.
    Warm,
}

impl Order {
    pub(super) const fn word(self) -> &'static [u8] {
        match self {
            Self::Make => b"M",
            Self::Warm => b"W",
        }
    }

    pub(super) fn parse(word: &[u8]) -> io::Result<Self> {
        match word {
            b"M" => Ok(Self::Make),
            b"W" => Ok(Self::Warm),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

/// What a nursery answers to [`Order::Make`]: 0 and a pidfd, or an error number.
pub(super) fn answer(socket: &OwnedFd, made: &io::Result<OwnedFd>) -> io::Result<()> {
    match made {
        Ok(process) => send(socket.as_fd(), &0_i32.to_le_bytes(), &[process.as_fd()]),
        Err(error) => {
            let errno = error.raw_os_error().unwrap_or(libc_eio());
            send(socket.as_fd(), &errno.to_le_bytes(), &[])
        }
    }
}

const fn libc_eio() -> i32 {
    rustix::io::Errno::IO.raw_os_error()
}

/// Reads the answer to [`Order::Make`].
pub(super) fn answered(message: Message) -> io::Result<OwnedFd> {
    let errno = message
        .bytes
        .first_chunk()
        .map(|bytes| i32::from_le_bytes(*bytes));
    match (errno, message.fds.into_iter().next()) {
        (Some(0), Some(process)) => Ok(process),
        (Some(errno), None) if errno != 0 => Err(io::Error::from_raw_os_error(errno)),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}
