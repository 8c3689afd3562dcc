//! Connections to identity, passed by the gateway to a process of egress that it started: each for the lease of one call, and together
//! with the token that it is redeemed for; beside it another one, if the call may have handshakes signed.
//!
//! They go over a pair of sockets of which the two processes have one end each, so that nobody is asked who they are. Egress
//! reads what is there when it is told to open a way out: the gateway has written it before.

use std::{
    collections::BTreeMap,
    fmt, io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream as StdUnixStream,
    },
    sync::{Mutex, PoisonError},
};

use casemate_model::DecisionId;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use crate::{
    descriptors,
    limits::{MAX_BORROWED, MAX_TOKEN_BYTES},
};

const VERSION: &str = "casemate-lending/1";
/// The version, `dec_` and 32 hex digits, the token, and spaces between them.
const MAX_MESSAGE_BYTES: usize = VERSION.len() + 1 + 36 + 1 + MAX_TOKEN_BYTES;

/// The gateway's end.
#[derive(Debug)]
pub struct Lender(OwnedFd);

/// The end of egress.
#[derive(Debug)]
pub struct Borrower {
    socket: OwnedFd,
    /// What came for ways out that are not opened yet.
    waiting: Mutex<BTreeMap<DecisionId, Borrowed>>,
}

/// A connection to identity for one call.
pub struct Borrowed {
    /// What it redeems.
    pub token: String,
    /// Where.
    pub connection: StdUnixStream,
    /// Where handshakes are signed, if the call may have any.
    pub signs: Option<StdUnixStream>,
}

impl fmt::Debug for Borrowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Borrowed").finish_non_exhaustive()
    }
}

/// Both ends; the other one is for the process of egress. Neither waits.
///
/// # Errors
/// When the system makes no sockets.
pub fn pair() -> io::Result<(Lender, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    // A message is whole or not there.
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    Ok((Lender(ours), theirs))
}

impl Lender {
    /// Passes a connection on, for the way out of `decision`, which is to be opened after that.
    ///
    /// # Errors
    /// When the other end is gone, or does not read.
    pub fn lend(
        &self,
        decision: DecisionId,
        token: &str,
        connection: BorrowedFd<'_>,
        signs: Option<BorrowedFd<'_>>,
    ) -> io::Result<()> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let message = format!("{VERSION} {decision} {token}");
        let all: Vec<_> = [connection].into_iter().chain(signs).collect();
        descriptors::send(self.0.as_fd(), message.as_bytes(), &all)
    }
}

impl Borrower {
    /// Of this end.
    #[must_use]
    pub const fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            waiting: Mutex::new(BTreeMap::new()),
        }
    }

    /// What came for the way out of `decision`, once.
    pub fn take(&self, decision: DecisionId) -> Option<Borrowed> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(came) = next(self.socket.as_fd()) {
            // What cannot be read is for nobody.
            if let Some((decision, borrowed)) = came
                && waiting.len() < MAX_BORROWED
            {
                waiting.insert(decision, borrowed);
            }
        }
        waiting.remove(&decision)
    }
}

/// The next message, and what is in it; nothing if none is there.
fn next(socket: BorrowedFd<'_>) -> Option<Option<(DecisionId, Borrowed)>> {
    // A byte more than there may be shows what is too long.
    let mut bytes = [0; MAX_MESSAGE_BYTES + 1];
    let received = descriptors::receive(socket, &mut bytes).ok()?;
    if received.bytes == 0 {
        return None;
    }
    let is_whole = !received.is_cut && received.bytes <= MAX_MESSAGE_BYTES;
    let text = bytes.get(..received.bytes).filter(|_| is_whole);
    let text = text.and_then(|text| std::str::from_utf8(text).ok());
    Some(text.and_then(|text| read(text, received.descriptors)))
}

fn read(text: &str, descriptors: Vec<OwnedFd>) -> Option<(DecisionId, Borrowed)> {
    let mut words = text.strip_prefix(VERSION)?.strip_prefix(' ')?.split(' ');
    let (decision, token) = (words.next()?.parse().ok()?, words.next()?.to_owned());
    let mut descriptors = descriptors.into_iter();
    let (connection, signs) = (descriptors.next()?, descriptors.next());
    (words.next().is_none() && descriptors.next().is_none()).then(|| {
        let borrowed = Borrowed {
            token,
            connection: connection.into(),
            signs: signs.map(Into::into),
        };
        (decision, borrowed)
    })
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;

    fn decision(number: u8) -> DecisionId {
        DecisionId::new(1_800_000_000_000, [number; 10])
    }

    /// R77: what is lent for one call is for no other, and is there once; what cannot be read is for nobody, and takes nothing along.
    #[test]
    fn a_connection_is_for_one_call_and_once() {
        let (lender, theirs) = pair().unwrap();
        let borrower = Borrower::new(theirs);
        assert!(borrower.take(decision(1)).is_none());
        let mut ends = Vec::new();
        for number in [1, 2] {
            let (ours, lent) = StdUnixStream::pair().unwrap();
            let token = format!("token-{number}");
            let signs = (number == 2).then_some(lent.as_fd());
            lender
                .lend(decision(number), &token, lent.as_fd(), signs)
                .unwrap();
            ends.push(ours);
            for bad in ["", "casemate-lending/1", "casemate-lending/1 dec_x y", "x"] {
                let bad = if bad.is_empty() { "\0" } else { bad };
                descriptors::send(lender.0.as_fd(), bad.as_bytes(), &[lent.as_fd()]).unwrap();
            }
            let good = format!("{VERSION} {} token", decision(3));
            let three = [lent.as_fd(), lent.as_fd(), lent.as_fd()];
            descriptors::send(lender.0.as_fd(), good.as_bytes(), &three).unwrap();
            let long = format!("{good}{}", "x".repeat(MAX_MESSAGE_BYTES));
            descriptors::send(lender.0.as_fd(), long.as_bytes(), &[lent.as_fd()]).unwrap();
        }
        assert!(borrower.take(decision(3)).is_none());
        let mut second = borrower.take(decision(2)).unwrap();
        assert_eq!(second.token, "token-2");
        assert!(second.signs.is_some());
        second.connection.write_all(b"hello").unwrap();
        let mut heard = [0; 5];
        ends[1].read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"hello");
        assert!(borrower.take(decision(2)).is_none());
        let first = borrower.take(decision(1)).unwrap();
        assert_eq!(
            (first.token.as_str(), first.signs.is_some()),
            ("token-1", false)
        );
        assert!(
            lender
                .lend(
                    decision(4),
                    &"x".repeat(MAX_TOKEN_BYTES + 1),
                    ends[0].as_fd(),
                    None
                )
                .is_err()
        );
    }

    /// I1, I15: a process that reads nothing, or is gone, holds nobody up: there is an error.
    #[test]
    fn nobody_waits_for_who_does_not_read() {
        let (lender, theirs) = pair().unwrap();
        let (_ours, lent) = StdUnixStream::pair().unwrap();
        let lend = |lender: &Lender| lender.lend(decision(1), "token", lent.as_fd(), None);
        while lend(&lender).is_ok() {}
        drop(theirs);
        assert!(lend(&lender).is_err());
    }
}
