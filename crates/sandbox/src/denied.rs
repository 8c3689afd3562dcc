//! What a program tried and was refused: seccomp's notifications, counted.

use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::BorrowedFd,
};

use casemate_confine::seccomp;
use casemate_model::DeniedAttempt;
use casemate_sys::{
    Notification, NotificationReply, read_process_memory, receive_notification,
    reply_to_notification,
};
use rustix::io::Errno;

/// The most different attempts that are listed; more are counted together.
const MAX_LISTED: usize = 256;

/// The attempts so far.
#[derive(Debug, Default)]
pub(crate) struct Denied(BTreeMap<(&'static str, String), u64>);

impl Denied {
    /// Takes and answers one notification.
    pub(crate) fn handle(&mut self, listener: BorrowedFd<'_>) -> io::Result<()> {
        let gone = |error: &io::Error| Errno::from_io_error(error) == Some(Errno::NOENT);
        let notification = match receive_notification(listener) {
            Ok(notification) => notification,
            Err(error) if gone(&error) => return Ok(()),
            Err(error) => return Err(error),
        };
        let reply = self.judge(&notification);
        match reply_to_notification(listener, notification.id, reply) {
            Err(error) if !gone(&error) => Err(error),
            _ => Ok(()),
        }
    }

    fn judge(&mut self, call: &Notification) -> NotificationReply {
        if !seccomp::is_watched(call.number) {
            self.count("syscall", seccomp::name(call.number).into());
            return NotificationReply::Refuse(Errno::PERM.raw_os_error());
        }
        // The kernel refuses it, because there is no route; this only says what it was.
        // Unspecified is the sandbox itself, as is loopback.
        let away =
            |address: &SocketAddr| !address.ip().is_loopback() && !address.ip().is_unspecified();
        if let Some(address) = destination(call).filter(away) {
            self.count("network", address.to_string());
        }
        NotificationReply::Continue
    }

    pub(crate) fn count(&mut self, kind: &'static str, what: String) {
        let key = (kind, what);
        let key = if self.0.len() < MAX_LISTED || self.0.contains_key(&key) {
            key
        } else {
            (kind, "others".into())
        };
        *self.0.entry(key).or_default() += 1;
    }

    /// The list, for the outcome.
    pub(crate) fn into_list(self) -> Vec<DeniedAttempt> {
        let attempt = |((kind, what), count): ((&str, String), u64)| DeniedAttempt {
            kind: kind.into(),
            what,
            count,
        };
        self.0.into_iter().map(attempt).collect()
    }
}

/// The Internet address that a `connect` or `sendto` names.
fn destination(call: &Notification) -> Option<SocketAddr> {
    let [_, a1, a2, _, a4, a5] = call.arguments;
    let (pointer, len) = if seccomp::name(call.number) == "connect" {
        (a1, a2)
    } else {
        (a4, a5)
    };
    let mut buffer = [0; 28];
    let len = usize::try_from(len).ok()?.min(buffer.len());
    let read = read_process_memory(call.pid?, pointer, buffer.get_mut(..len)?).ok()?;
    parse(buffer.get(..read)?)
}

/// `sockaddr_in` and `sockaddr_in6` of ip(7) and ipv6(7).
fn parse(bytes: &[u8]) -> Option<SocketAddr> {
    let (family, rest) = bytes.split_first_chunk()?;
    let (port, rest) = rest.split_first_chunk()?;
    let port = u16::from_be_bytes(*port);
    match u16::from_ne_bytes(*family) {
        2 => Some((Ipv4Addr::from(*rest.first_chunk::<4>()?), port).into()),
        10 => {
            let address = rest.get(4..)?.first_chunk::<16>()?;
            Some((Ipv6Addr::from(*address).to_canonical(), port).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_the_kernel_reads_them() {
        let v4 = [
            &2_u16.to_ne_bytes()[..],
            &443_u16.to_be_bytes(),
            &[192, 0, 2, 1],
        ]
        .concat();
        assert_eq!(parse(&v4), Some("192.0.2.1:443".parse().unwrap()));
        let mapped = [
            &10_u16.to_ne_bytes()[..],
            &53_u16.to_be_bytes(),
            &[0; 4],
            &Ipv4Addr::new(10, 0, 0, 1).to_ipv6_mapped().octets(),
        ]
        .concat();
        assert_eq!(parse(&mapped), Some("10.0.0.1:53".parse().unwrap()));
        for short in 0..v4.len() {
            assert_eq!(parse(&v4[..short]), None);
        }
        assert_eq!(
            parse(&[1, 0, b'/', b'x']),
            None,
            "a Unix address is not a network attempt"
        );
    }

    /// I15: a program that tries a million addresses does not make the keeper remember them.
    #[test]
    fn the_list_is_bounded_and_the_count_is_not() {
        let mut denied = Denied::default();
        for port in 0..2_000 {
            denied.count("network", format!("192.0.2.1:{port}"));
        }
        let list = denied.into_list();
        assert_eq!(list.len(), MAX_LISTED + 1);
        assert_eq!(list.iter().map(|attempt| attempt.count).sum::<u64>(), 2_000);
    }
}
