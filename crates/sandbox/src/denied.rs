//! What a program tried and was refused: seccomp's notifications, counted.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::BorrowedFd,
};

use casemate_confine::{WAY_BLOCK, seccomp};
use casemate_model::{Cause, DeniedAttempt, Response, Responses, Violation, ViolationKind};
use casemate_ports::Ended;
use casemate_sys::{
    Notification, NotificationReply, read_process_memory, receive_notification,
    reply_to_notification,
};
use rustix::{io::Errno, process::Pid};
use tokio::time::Instant;

use crate::process;

/// The most different attempts that are listed; more are counted together.
const MAX_LISTED: usize = 256;

/// The most that are held at once, to be looked at: more than the threads that ask.
const MAX_HELD: usize = 65_536;

/// The longest name of a process that is kept; the kernel keeps 15 bytes.
const MAX_NAME_CHARS: usize = 64;

/// Whether the program may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It may.
    GoOn,
    /// It has to die, with its sandbox.
    Kill,
}

/// The attempts so far.
#[derive(Debug, Default)]
pub(crate) struct Denied {
    counts: BTreeMap<(&'static str, String), u64>,
    /// Whether made-up addresses are the sandbox's own, as those of its loopback are.
    has_way: bool,
    /// What follows violations, if anything is one.
    responses: Option<Responses>,
    /// By what they are of: names of closed lists.
    violations: BTreeMap<(ViolationKind, &'static str), Violation>,
    started: Option<Instant>,
}

impl Denied {
    /// None yet, of a program that started at `started` in a sandbox that has a way out or none.
    pub(crate) fn new(has_way: bool, responses: Option<&Responses>, started: Instant) -> Self {
        Self {
            has_way,
            responses: responses.copied(),
            started: Some(started),
            ..Self::default()
        }
    }

    /// Whether an address is not the sandbox itself.
    fn is_away(&self, address: &SocketAddr) -> bool {
        // Unspecified is the sandbox itself, as is loopback.
        let ip = address.ip();
        let is_own = ip.is_loopback() || ip.is_unspecified() || (self.has_way && is_made_up(ip));
        !is_own
    }

    /// Takes and answers one notification. One after which the program has to die is not answered: the kernel holds whoever
    /// made the call until the end.
    pub(crate) fn handle(&mut self, listener: BorrowedFd<'_>) -> io::Result<Verdict> {
        match self.take(listener)? {
            Taken::Gone => Ok(Verdict::GoOn),
            Taken::Violation => Ok(Verdict::Kill),
            Taken::Asks(id, reply) => answer(listener, id, reply).map(|()| Verdict::GoOn),
        }
    }

    /// Takes and answers those that wait. All are held until the last was looked at: else those that ask again and again would
    /// hide one that waits behind them.
    pub(crate) fn handle_waiting(
        &mut self,
        listener: BorrowedFd<'_>,
        waits: impl Fn() -> io::Result<bool>,
    ) -> io::Result<Verdict> {
        let mut asked = Vec::new();
        for _ in 0..MAX_HELD {
            if !waits()? {
                break;
            }
            match self.take(listener)? {
                Taken::Gone => {}
                Taken::Violation => return Ok(Verdict::Kill),
                Taken::Asks(id, reply) => asked.push((id, reply)),
            }
        }
        for (id, reply) in asked {
            answer(listener, id, reply)?;
        }
        Ok(Verdict::GoOn)
    }

    fn take(&mut self, listener: BorrowedFd<'_>) -> io::Result<Taken> {
        let notification = match receive_notification(listener) {
            Ok(notification) => notification,
            Err(error) if is_gone(&error) => return Ok(Taken::Gone),
            Err(error) => return Err(error),
        };
        Ok(match self.judge(&notification) {
            Some(reply) => Taken::Asks(notification.id, reply),
            None => Taken::Violation,
        })
    }

    /// What a call is told; nothing if the program has to die.
    fn judge(&mut self, call: &Notification) -> Option<NotificationReply> {
        if !seccomp::is_watched(call.number) {
            let name = seccomp::name(call.number);
            self.count("syscall", name.into());
            if seccomp::is_violation(call.number)
                && self.violated(ViolationKind::SystemCall, name, 1, Some(call)) == Verdict::Kill
            {
                return None;
            }
            return Some(NotificationReply::Refuse(Errno::PERM.raw_os_error()));
        }
        // The kernel refuses it, because there is no route; this only says what it was.
        if let Some(address) = destination(call).filter(|address| self.is_away(address)) {
            self.count("network", address.to_string());
        }
        Some(NotificationReply::Continue)
    }

    /// Notes that honey files were opened.
    pub(crate) fn opened(&mut self, files: &[(&'static str, u64)]) -> Verdict {
        let mut verdict = Verdict::GoOn;
        for &(name, count) in files {
            if self.violated(ViolationKind::HoneyFile, name, count, None) == Verdict::Kill {
                verdict = Verdict::Kill;
            }
        }
        verdict
    }

    fn violated(
        &mut self,
        kind: ViolationKind,
        what: &'static str,
        count: u64,
        call: Option<&Notification>,
    ) -> Verdict {
        let Some(responses) = &self.responses else {
            return Verdict::GoOn;
        };
        let started = self.started;
        let violation = self.violations.entry((kind, what)).or_insert_with(|| {
            // It waits for an answer: what is read of it is its own still.
            let caller = call.and_then(|call| Caller::of(call.pid?));
            let after = started.map_or(0, |started| started.elapsed().as_millis());
            Violation {
                kind,
                what: what.to_owned(),
                arguments: call.map_or_else(Vec::new, |call| {
                    call.arguments
                        .iter()
                        .map(|word| format!("{word:#x}"))
                        .collect()
                }),
                process: caller.as_ref().map(|caller| caller.name.clone()),
                pid: caller.and_then(|caller| caller.pid),
                after_ms: u64::try_from(after).unwrap_or(u64::MAX),
                count: 0,
            }
        });
        violation.count = violation.count.saturating_add(count);
        match responses.of(kind) {
            Response::Kill => Verdict::Kill,
            Response::Record => Verdict::GoOn,
        }
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

    /// The lists, for the outcome.
    pub(crate) fn into_lists(self) -> (Vec<DeniedAttempt>, Vec<Violation>) {
        let attempt = |((kind, what), count): ((&str, String), u64)| DeniedAttempt {
            kind: kind.into(),
            what,
            count,
        };
        let denied = self.counts.into_iter().map(attempt).collect();
        (denied, self.violations.into_values().collect())
    }
}

/// A notification that was taken.
enum Taken {
    /// Whoever asked is not there any more.
    Gone,
    /// The program has to die.
    Violation,
    /// By its number, and what it is to be told.
    Asks(u64, NotificationReply),
}

fn answer(listener: BorrowedFd<'_>, id: u64, reply: NotificationReply) -> io::Result<()> {
    match reply_to_notification(listener, id, reply) {
        Err(error) if !is_gone(&error) => Err(error),
        _ => Ok(()),
    }
}

fn is_gone(error: &io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::NOENT)
}

/// Adds openings that were heard of when the program had ended.
pub(crate) fn add_opened(ended: &mut Ended, files: &[(&'static str, u64)], responses: &Responses) {
    for &(what, count) in files {
        let known = ended
            .violations
            .iter_mut()
            .find(|seen| seen.kind == ViolationKind::HoneyFile && seen.what == what);
        match known {
            Some(seen) => seen.count = seen.count.saturating_add(count),
            None => ended.violations.push(Violation {
                kind: ViolationKind::HoneyFile,
                what: what.to_owned(),
                arguments: Vec::new(),
                process: None,
                pid: None,
                after_ms: ended.usage.wall_ms,
                count,
            }),
        }
    }
    if !files.is_empty() && responses.honey_files == Response::Kill {
        ended.cause = Cause::Violation;
    }
}

/// Who made a system call.
struct Caller {
    name: String,
    pid: Option<u32>,
}

impl Caller {
    fn of(pid: Pid) -> Option<Self> {
        let path = format!("/proc/{}/status", pid.as_raw_nonzero());
        Some(Self::parse(&process::file(path.as_ref()).ok()?))
    }

    /// `/proc/PID/status`: the kernel escapes what would break a line of it.
    fn parse(status: &str) -> Self {
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            Some(line.trim())
        };
        let name = field("Name:").unwrap_or_default().escape_debug();
        Self {
            name: name.take(MAX_NAME_CHARS).collect(),
            // The last is that in its own namespace.
            pid: field("NSpid:")
                .and_then(|all| all.split_whitespace().next_back())
                .and_then(|pid| pid.parse().ok()),
        }
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
    use casemate_model::{Exit, Usage};

    use super::*;

    /// R209: what is heard of late is evidence as what is heard of in time.
    #[test]
    fn what_is_heard_of_late_is_added() {
        let mut ended = Ended {
            cause: Cause::Completed,
            exit: Some(Exit::Code(0)),
            usage: Usage::default(),
            stdout_bytes: 0,
            stderr_bytes: 0,
            results_bytes: 0,
            output_truncated: false,
            denied: Vec::new(),
            violations: Vec::new(),
        };
        let recorded = Responses {
            system_calls: Response::Kill,
            honey_files: Response::Record,
        };
        add_opened(&mut ended, &[("a", 1)], &recorded);
        assert_eq!(ended.cause, Cause::Completed);
        add_opened(&mut ended, &[], &Responses::STRICT);
        assert_eq!(ended.cause, Cause::Completed);
        add_opened(&mut ended, &[("a", 2), ("b", 1)], &Responses::STRICT);
        let seen = ended
            .violations
            .iter()
            .map(|seen| (&*seen.what, seen.count));
        assert_eq!(seen.collect::<Vec<_>>(), [("a", 3), ("b", 1)]);
        assert_eq!(ended.cause, Cause::Violation);
    }

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

    /// None yet, where nothing is a violation.
    fn of(has_way: bool) -> Denied {
        Denied::new(has_way, None, Instant::now())
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
            assert_eq!(of(true).is_away(&address), with, "{address}");
            assert_eq!(of(false).is_away(&address), without, "{address}");
        }
    }

    /// I15: a program that tries a million addresses does not make the keeper remember them.
    #[test]
    fn the_list_is_bounded_and_the_count_is_not() {
        let mut denied = Denied::default();
        for port in 0..2_000 {
            denied.count("network", format!("192.0.2.1:{port}"));
        }
        let (list, _) = denied.into_lists();
        assert_eq!(list.len(), MAX_LISTED + 1);
        assert_eq!(list.iter().map(|attempt| attempt.count).sum::<u64>(), 2_000);
    }
}
