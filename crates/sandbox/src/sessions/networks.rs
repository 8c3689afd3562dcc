//! The networks of the calls and contexts of a session: their ways out, and by which network a port is found.

use std::{
    cell::RefCell,
    fs::File,
    io::Read as _,
    rc::{Rc, Weak},
};

use casemate_model::SessionId;
use casemate_ports::{KeeperError, Owner, WAY_OUT_DNS_PORT, WAY_OUT_PORT, Way};

use super::{House, Session};
use crate::place::{AskedWay, Namespace};

impl House {
    /// The way out that a call of this session asks for.
    pub(super) fn asked(
        &self,
        session: &Session,
        way: Option<Way>,
    ) -> Result<Option<AskedWay>, KeeperError> {
        let Some(way) = way else { return Ok(None) };
        let why = match (&self.handover, session.spec.kind.way) {
            (Some(handover), Some(_)) => {
                let handover = Rc::clone(handover);
                return Ok(Some(AskedWay { way, handover }));
            }
            (_, None) => "calls of this kind of session have no way out",
            (None, _) => "this keeper brings no way out to where it is served",
        };
        Err(KeeperError::Spec(why.into()))
    }

    /// The network in which a port of a session is: of the newest call or context that listens there, if they have any of
    /// their own.
    pub(super) fn network_of(
        &self,
        session: SessionId,
        owner: &Owner,
        port: u16,
    ) -> Result<Option<Rc<Namespace>>, KeeperError> {
        let session = self.session(session, owner)?;
        let Some(ports) = session.spec.kind.way else {
            return Ok(None);
        };
        // Whoever connects to a way out is the call: nobody else may.
        if [WAY_OUT_PORT, WAY_OUT_DNS_PORT].contains(&port) || ports.iter().any(|own| own == port) {
            let why = format!("port {port} belongs to the way out");
            return Err(KeeperError::Spec(why));
        }
        Ok(session.networks.with_listener(port))
    }
}

/// The most bytes of a table of sockets that are read. Those that listen come first.
const MAX_TABLE_BYTES: u64 = 256 * 1024;

/// Those that live, the newest last.
#[derive(Debug, Default)]
pub(crate) struct Networks(RefCell<Vec<Weak<Namespace>>>);

impl Networks {
    /// Notes one more.
    pub(super) fn add(&self, namespace: &Rc<Namespace>) {
        let mut all = self.0.borrow_mut();
        all.retain(|known| known.strong_count() > 0);
        all.push(Rc::downgrade(namespace));
    }

    /// The newest in which something listens on `port` of the loopback.
    pub(super) fn with_listener(&self, port: u16) -> Option<Rc<Namespace>> {
        let all = self.0.borrow();
        let mut alive = all.iter().rev().filter_map(Weak::upgrade);
        alive.find(|namespace| listens(namespace, port))
    }
}

fn listens(namespace: &Namespace, port: u16) -> bool {
    let table = |name: &str| {
        let mut text = String::new();
        let file = File::open(namespace.file(&format!("net/{name}")));
        let read = file.and_then(|file| file.take(MAX_TABLE_BYTES).read_to_string(&mut text));
        read.map_or_else(|_| String::new(), |_| text)
    };
    // What was read is of this network only if the process is still the one that is in it.
    ["tcp", "tcp6"]
        .iter()
        .any(|name| has_listener(&table(name), port))
        && namespace.is_there()
}

/// Whether a table of proc_net(5) has a socket that hears connections to `port` of 127.0.0.1.
fn has_listener(table: &str, port: u16) -> bool {
    const LISTENS: &str = "0A";
    // 0.0.0.0, 127.0.0.1, `::`, and 127.0.0.1 as an address of IPv6, in the kernel's order of bytes.
    const HEARING: &[&str] = if cfg!(target_endian = "little") {
        &[
            "00000000",
            "0100007F",
            "00000000000000000000000000000000",
            "0000000000000000FFFF00000100007F",
        ]
    } else {
        &[
            "00000000",
            "7F000001",
            "00000000000000000000000000000000",
            "00000000000000000000FFFF7F000001",
        ]
    };
    table.lines().skip(1).any(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (local, state) = (fields.next(), fields.nth(1));
        let local = local.and_then(|local| local.split_once(':'));
        state == Some(LISTENS)
            && local.is_some_and(|(address, number)| {
                HEARING.contains(&address) && u16::from_str_radix(number, 16) == Ok(port)
            })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn listeners_are_read_as_the_kernel_writes_them() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
            0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 1 1 0\n   \
            1: 00000000:01BB 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 1 1 0\n   \
            2: 0200007F:1F91 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 1 1 0\n   \
            3: 0100007F:1F92 0100007F:1F90 01 00000000:00000000 00:00000000 00000000  1000        0 1 1 0\n   \
            4: 00000000000000000000000000000000:1F93 00000000000000000000000000000000:0000 0A 0 0\n   \
            5: 00000000000000000000000001000000:1F94 00000000000000000000000000000000:0000 0A 0 0\n";
        for (port, wanted) in [
            (8080, true),
            (443, true),
            // Of another address, not listening, of every address, of IPv6 alone.
            (8081, false),
            (8082, false),
            (8083, true),
            (8084, false),
            (1, false),
        ] {
            assert_eq!(has_listener(table, port), wanted, "{port}");
        }
        assert!(!has_listener("", 8080));
        assert!(!has_listener("x\n\n0: y\n", 8080));
    }
}
