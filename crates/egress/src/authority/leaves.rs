//! How the proxy answers ClientHellos: with one certificate for each host, as long as there is room.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use rustls::{
    ServerConfig,
    server::{ClientHello, NoServerSessionStorage, ResolvesServerCert},
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};

use super::{Authority, AuthorityError};
use crate::{Clock, Host, clock::TlsTime, limits::MAX_LEAVES};

/// How one proxy serves the certificates of its authority.
#[derive(Debug)]
pub(crate) struct Leaves {
    authority: Arc<Authority>,
    /// Without a certificate: each connection has the one of its host.
    config: ServerConfig,
}

/// The certificates that were minted. The one that was not asked for longest goes first.
#[derive(Debug, Default)]
pub(super) struct Kept(Mutex<Minted>);

#[derive(Debug, Default)]
struct Minted {
    turn: u64,
    hosts: HashMap<Host, (u64, Arc<CertifiedKey>)>,
}

impl Kept {
    /// The one of `host`.
    pub(super) fn get_or_make(
        &self,
        host: &Host,
        make: impl FnOnce() -> Result<Arc<CertifiedKey>, AuthorityError>,
    ) -> Result<Arc<CertifiedKey>, AuthorityError> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.turn += 1;
        let turn = kept.turn;
        if let Some((used, key)) = kept.hosts.get_mut(host) {
            *used = turn;
            return Ok(Arc::clone(key));
        }
        let key = make()?;
        if kept.hosts.len() >= MAX_LEAVES {
            let oldest = kept.hosts.iter().min_by_key(|(_, (used, _))| *used);
            if let Some(oldest) = oldest.map(|(host, _)| host.clone()) {
                kept.hosts.remove(&oldest);
            }
        }
        kept.hosts.insert(host.clone(), (turn, Arc::clone(&key)));
        Ok(key)
    }
}

/// Serves one certificate, whatever the client asks for: whether it may ask was seen before.
#[derive(Debug)]
struct Fixed(Option<Arc<CertifiedKey>>);

impl ResolvesServerCert for Fixed {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.clone()
    }
}

impl Leaves {
    /// # Errors
    /// When the TLS library does not start.
    pub(crate) fn new(
        authority: Arc<Authority>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, rustls::Error> {
        let time = Arc::new(TlsTime(clock));
        let mut config = ServerConfig::builder_with_details(authority.provider(), time)
            .with_protocol_versions(&[&TLS13, &TLS12])?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Fixed(None)));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // Nothing is resumed: a ticket of one host means nothing to another, and no request comes before a handshake.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.max_early_data_size = 0;
        Ok(Self { authority, config })
    }

    pub(crate) fn authority(&self) -> &Authority {
        &self.authority
    }

    /// How to serve as `host`.
    pub(crate) fn serve(&self, host: &Host) -> Result<Arc<ServerConfig>, AuthorityError> {
        self.serve_by(self.config.clone(), host)
    }

    /// The same, to clients of PostgreSQL.
    pub(crate) fn serve_postgres(&self, host: &Host) -> Result<Arc<ServerConfig>, AuthorityError> {
        let mut config = self.config.clone();
        config.alpn_protocols = vec![b"postgresql".to_vec()];
        self.serve_by(config, host)
    }

    fn serve_by(
        &self,
        mut config: ServerConfig,
        host: &Host,
    ) -> Result<Arc<ServerConfig>, AuthorityError> {
        config.cert_resolver = Arc::new(Fixed(Some(self.authority.leaf(host)?)));
        Ok(Arc::new(config))
    }
}

#[cfg(test)]
mod tests {
    use rustls::{
        ClientConfig, ClientConnection, RootCertStore, ServerConnection,
        pki_types::{CertificateDer, ServerName},
    };

    use super::*;
    use crate::{
        Name, Subtree,
        authority::tests::{Fixed as At, Seeded},
        limits::AUTHORITY_LIFE,
    };

    const NOW: u64 = 1_800_000_000_000;

    fn leaves(names: &[&str]) -> Leaves {
        let subtrees: Vec<_> = names
            .iter()
            .map(|name| Subtree::Name(Name::parse(name).unwrap()))
            .collect();
        let authority = Authority::new(&subtrees, &At(NOW), Arc::new(Seeded::default())).unwrap();
        Leaves::new(Arc::new(authority), Arc::new(At(NOW))).unwrap()
    }

    /// A handshake in memory, as `name` at `now`, by a client that trusts `root`.
    fn handshake(
        leaves: &Leaves,
        host: &str,
        root: &CertificateDer<'static>,
        now: u64,
    ) -> Result<(), rustls::Error> {
        let mut roots = RootCertStore::empty();
        roots.add(root.clone()).unwrap();
        let config = ClientConfig::builder_with_details(
            leaves.authority.provider(),
            Arc::new(TlsTime(Arc::new(At(now)))),
        )
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
        let name = ServerName::try_from(host.to_owned()).unwrap();
        let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut server =
            ServerConnection::new(leaves.serve(&Host::parse(host).unwrap()).unwrap()).unwrap();
        while client.is_handshaking() || server.is_handshaking() {
            let mut wire = Vec::new();
            client.write_tls(&mut wire).unwrap();
            server.read_tls(&mut wire.as_slice()).unwrap();
            server.process_new_packets()?;
            let mut wire = Vec::new();
            server.write_tls(&mut wire).unwrap();
            client.read_tls(&mut wire.as_slice()).unwrap();
            client.process_new_packets()?;
        }
        Ok(())
    }

    /// One agent's authority means nothing to another. (T21)
    #[test]
    fn certificates_are_good_for_their_agent_only() {
        let (ours, theirs) = (leaves(&["good.test"]), leaves(&["good.test"]));
        assert_eq!(
            handshake(&ours, "good.test", ours.authority.certificate(), NOW),
            Ok(())
        );
        assert!(handshake(&ours, "good.test", theirs.authority.certificate(), NOW).is_err());
    }

    /// Nor can it vouch for names outside the allowlist, for addresses, or after its time. (T23)
    #[test]
    fn an_authority_vouches_for_its_names_and_its_time_only() {
        let ours = leaves(&["good.test"]);
        let root = ours.authority.certificate();
        assert_eq!(handshake(&ours, "api.good.test", root, NOW), Ok(()));
        for other in ["evil.test", "notgood.test", "127.0.0.1"] {
            assert!(handshake(&ours, other, root, NOW).is_err(), "{other}");
        }
        let life = u64::try_from(AUTHORITY_LIFE.as_millis()).unwrap();
        assert!(handshake(&ours, "good.test", root, NOW + life + 1_000).is_err());
        assert!(handshake(&ours, "good.test", root, NOW - 400_000).is_err());
    }

    /// Memory stays the same, however many names are asked for, and what is in use stays. (T22)
    #[test]
    fn leaves_are_bounded() {
        let leaves = leaves(&["good.test"]);
        let leaf = |name: &str| leaves.authority.leaf(&Host::parse(name).unwrap()).unwrap();
        let first = leaf("good.test");
        for number in 0..MAX_LEAVES + 10 {
            leaf(&format!("h{number}.good.test"));
            assert!(Arc::ptr_eq(&first, &leaf("good.test")));
        }
        let kept = leaves.authority.kept.0.lock().unwrap();
        assert_eq!(kept.hosts.len(), MAX_LEAVES);
    }
}
