//! The one message of a handover: a version, the decision's name, and the descriptors.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use casemate_model::DecisionId;
use casemate_ports::WaySockets;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// The answer: they are served.
pub(super) const SERVED: [u8; 1] = *b"S";

const VERSION: &[u8] = b"casemate-way/1 ";
/// The bytes of a message: the version, `dec_` and 32 hex digits.
const MESSAGE_BYTES: usize = VERSION.len() + 36;
const MAX_DESCRIPTORS: usize = WaySockets::MAX_DESCRIPTORS;

pub(super) fn send(
    socket: impl AsFd,
    decision: DecisionId,
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let message = [VERSION, decision.to_string().as_bytes()].concat();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fits = descriptors.len() <= MAX_DESCRIPTORS;
    if !fits || !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let parts = [IoSlice::new(&message)];
    let sent = sendmsg(socket, &parts, &mut control, SendFlags::NOSIGNAL)?;
    if sent == message.len() {
        Ok(())
    } else {
        Err(io::ErrorKind::WriteZero.into())
    }
}

/// The message; nothing if it is not exactly one.
pub(super) fn receive(socket: impl AsFd) -> io::Result<Option<(DecisionId, Vec<OwnedFd>)>> {
    // A byte more than there may be shows what is too long.
    let mut bytes = [0; MESSAGE_BYTES + 1];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let buffers = &mut [IoSliceMut::new(&mut bytes)];
    let received = recvmsg(socket, buffers, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let rights = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    let descriptors = rights.flatten().collect();
    // More descriptors than there was room for: the kernel closed them.
    let is_cut = received.flags.contains(ReturnFlags::CTRUNC);
    let message = bytes.get(..received.bytes).unwrap_or_default();
    let decision = message
        .strip_prefix(VERSION)
        .and_then(|name| std::str::from_utf8(name).ok())
        .and_then(|name| name.parse().ok());
    Ok(match (decision, is_cut) {
        (Some(decision), false) => Some((decision, descriptors)),
        _ => None,
    })
}
