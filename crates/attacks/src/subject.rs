//! What is attacked.

use std::{future::Future, net::SocketAddr, pin::Pin};

use rustls::ClientConfig;

use crate::Duplex;

/// What takes time.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// A proxy that is attacked. Its rules: `good.test` on its port of this machine is allowed, `evil.test` is not.
pub trait Subject {
    /// A connection to the proxy's port.
    fn connect(&self) -> Later<'_, Box<dyn Duplex>>;

    /// A connection to `address` by a client that knows of no proxy, if the proxy has such clients.
    fn dial(&self, address: SocketAddr) -> Option<Later<'_, Box<dyn Duplex>>>;

    /// What the proxy's resolver answers, if it has one.
    fn ask<'a>(&'a self, message: &'a [u8]) -> Option<Later<'a, Vec<u8>>>;

    /// How a client speaks TLS that trusts the proxy; or, when `pinned`, only the destinations' own authority.
    fn trust(&self, alpn: &[&[u8]], pinned: bool) -> ClientConfig;

    /// The codes of all refusals on record, if the proxy keeps records.
    fn denials(&self) -> Later<'_, Option<Vec<String>>>;
}
