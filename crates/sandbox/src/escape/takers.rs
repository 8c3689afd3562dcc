//! Who takes the sockets of the ways out of calls that are attacked: nobody serves them, and who came is counted.

use std::{cell::RefCell, pin::Pin};

use casemate_ports::{HandsOver, NotServed, Way, WaySockets};

/// Where the sockets of an attempt's calls are kept.
#[derive(Debug, Default)]
pub(super) struct Takers(RefCell<Vec<WaySockets>>);

impl HandsOver for Takers {
    fn hand_over<'a>(
        &'a self,
        _: &'a Way,
        sockets: &'a WaySockets,
    ) -> Pin<Box<dyn Future<Output = Result<(), NotServed>> + 'a>> {
        let copied = sockets.try_clone();
        Box::pin(async move {
            let copied = copied.map_err(|error| NotServed(error.into()))?;
            self.0.borrow_mut().push(copied);
            Ok(())
        })
    }
}

impl Takers {
    /// Who came to the first of the calls, a finding each.
    pub(super) fn visits_to_first(&self) -> Vec<String> {
        let handed = self.0.borrow();
        handed.first().map(visits).unwrap_or_default()
    }

    /// Closes all.
    pub(super) fn forget(&self) {
        self.0.borrow_mut().clear();
    }
}

fn visits(sockets: &WaySockets) -> Vec<String> {
    let listeners = [&sockets.proxy, &sockets.dns_tcp];
    let listeners = listeners.into_iter().chain(&sockets.transparent);
    let mut found = Vec::new();
    for listener in listeners {
        if let Ok((_, from)) = listener.accept() {
            found.push(format!("another call's way out was reached from {from}"));
        }
    }
    if sockets.dns.recv_from(&mut [0; 64]).is_ok() {
        found.push("another call's answerer of names was asked".to_owned());
    }
    found
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};

    use super::*;

    #[test]
    fn whoever_comes_is_found() {
        let listener = || {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            listener.set_nonblocking(true).unwrap();
            listener
        };
        let dns = UdpSocket::bind("127.0.0.1:0").unwrap();
        dns.set_nonblocking(true).unwrap();
        let sockets = WaySockets {
            proxy: listener(),
            transparent: vec![listener()],
            dns,
            dns_tcp: listener(),
        };
        let takers = Takers::default();
        takers.0.borrow_mut().push(sockets.try_clone().unwrap());
        assert!(takers.visits_to_first().is_empty());
        let _visit = TcpStream::connect(sockets.transparent[0].local_addr().unwrap()).unwrap();
        let asker = UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = sockets.dns.local_addr().unwrap();
        asker.send_to(b"?", to).unwrap();
        assert_eq!(takers.visits_to_first().len(), 2);
        takers.forget();
        assert!(takers.visits_to_first().is_empty());
    }
}
