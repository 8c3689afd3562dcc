//! Clients that trust a proxy.

use std::sync::Arc;

use casemate_egress::Proxy;
use rustls::{ClientConfig, RootCertStore};

pub(crate) use casemate_attacks::{
    Answer, Duplex, ask, hello, is_closed, read, read_head, tls, tunnel,
};

/// How a client that trusts the proxy's authority speaks TLS.
pub(crate) fn config(proxy: &Proxy, alpn: &[&[u8]]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(proxy.authority().certificate().clone()).unwrap();
    config_of(roots, alpn)
}

pub(crate) fn config_of(roots: RootCertStore, alpn: &[&[u8]]) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_details(provider, Arc::new(Now))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|one| one.to_vec()).collect();
    config
}

/// The time of the test's clock.
#[derive(Debug)]
struct Now;

impl rustls::time_provider::TimeProvider for Now {
    fn current_time(&self) -> Option<rustls::pki_types::UnixTime> {
        let now = std::time::Duration::from_millis(crate::world::NOW_MS);
        Some(rustls::pki_types::UnixTime::since_unix_epoch(now))
    }
}
