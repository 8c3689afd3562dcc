//! The one message of a handover: a version, the decision's name, and the descriptors.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use casemate_model::DecisionId;

use crate::descriptors;

/// The answer: they are served.
pub(super) const SERVED: [u8; 1] = *b"S";

const VERSION: &[u8] = b"casemate-way/1 ";
/// The bytes of a message: the version, `dec_` and 32 hex digits.
const MESSAGE_BYTES: usize = VERSION.len() + 36;

pub(super) fn send(
    socket: impl AsFd,
    decision: DecisionId,
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let message = [VERSION, decision.to_string().as_bytes()].concat();
    descriptors::send(socket, &message, descriptors)
}

/// The message; nothing if it is not exactly one.
pub(super) fn receive(socket: impl AsFd) -> io::Result<Option<(DecisionId, Vec<OwnedFd>)>> {
    // A byte more than there may be shows what is too long.
    let mut bytes = [0; MESSAGE_BYTES + 1];
    let received = descriptors::receive(socket, &mut bytes)?;
    let message = bytes.get(..received.bytes).unwrap_or_default();
    let decision = message
        .strip_prefix(VERSION)
        .and_then(|name| std::str::from_utf8(name).ok())
        .and_then(|name| name.parse().ok());
    Ok(match (decision, received.is_cut) {
        (Some(decision), false) => Some((decision, received.descriptors)),
        _ => None,
    })
}
