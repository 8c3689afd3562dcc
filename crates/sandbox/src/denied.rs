//! What a program tried and was refused: seccomp's notifications, counted.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::BorrowedFd,
};

use casemate_confine::{WAY_BLOCK, seccomp};
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
pub(crate) struct Denied {
    counts: BTreeMap<(&'static str, String), u64>,
    /// Whether made-up addresses are the sandbox's own, as those of its loopback are.
    has_way: bool,
}

impl Denied {
    /// None yet, of a sandbox that has a way out or none.
    pub(crate) fn new(has_way: bool) -> Self {
        Self {
            has_way,
            ..Self::default()
        }
    }

    /// Whether an address is not the sandbox itself.
    fn is_away(&self, address: &SocketAddr) -> bool {
        // Unspecified is the sandbox itself, as is loopback.
        let ip = address.ip();
        !ip.is_loopback() && !ip.is_unspecified() && !(self.has_way && is_made_up(ip))
    }

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
        if let Some(address) = destination(call).filter(|address| self.is_away(address)) {
            self.count("network", address.to_string());
        }
        NotificationReply::Continue
    }

    pub(crate) fn count(&mut self, kind: &'static str, what: String) {
        let key = (kind, what);
        let known = self.counts.contains_key(&key);
        let key = if known || self.counts.len() < MAX_LISTED {
            key
        } else {
            (kind, "others".into())
        };
        *self.counts.entry(key).or_default() += 1;
    }

    /// The list, for the outcome.
    pub(crate) fn into_list(self) -> Vec<DeniedAttempt> {
        let attempt = |((kind, what), count): ((&str, String), u64)| DeniedAttempt {
            kind: kind.into(),
            what,
            count,
        };
        self.counts.into_iter().map(attempt).collect()
    }
}

/// Whether an address is of the block of a way out.
fn is_made_up(ip: IpAddr) -> bool {
    let (first, bits) = WAY_BLOCK;
    let IpAddr::V4(ip) = ip else {
        return false;
    };
    (ip.to_bits() ^ first.to_bits()).leading_zeros() >= u32::from(bits)
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

    /// Made-up addresses are the sandbox's own where it has a way out, and nowhere else.
    #[test]
    fn made_up_addresses_are_away_without_a_way_out() {
        for (address, with, without) in [
            ("198.18.0.0:443", false, true),
            ("198.19.255.255:443", false, true),
            ("198.17.255.255:443", true, true),
            ("198.20.0.0:443", true, true),
            ("[::1]:443", false, false),
            ("0.0.0.0:443", false, false),
            ("[2001:db8::1]:443", true, true),
        ] {
            let address = address.parse().unwrap();
            assert_eq!(Denied::new(true).is_away(&address), with, "{address}");
            assert_eq!(Denied::new(false).is_away(&address), without, "{address}");
        }
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
