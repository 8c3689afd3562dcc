//! From addresses to vetted ones.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use casemate_model::DestinationClass;

use super::{Cidr, Scope, embedded, refusal, scope};
use crate::{Code, limits::MAX_ADDRESSES};

/// An address that was judged. Nothing else can be dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Vetted(SocketAddr);

impl Vetted {
    /// The address.
    #[must_use]
    pub const fn get(self) -> SocketAddr {
        self.0
    }
}

/// A prefix behind which the operator's own translator (NAT64) expects IPv4 addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nat64(pub(super) Cidr);

/// The prefix cannot be a translator's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a NAT64 prefix is of IPv6, and 32, 40, 48, 56, 64 or 96 bits long")]
pub struct Nat64Error;

impl Nat64 {
    /// The translator's prefix.
    ///
    /// # Errors
    /// When it has no length that RFC 6052 knows.
    pub fn new(prefix: Cidr) -> Result<Self, Nat64Error> {
        match embedded::is_translation_prefix(&prefix) {
            true => Ok(Self(prefix)),
            false => Err(Nat64Error),
        }
    }
}

/// How addresses are judged in this process.
#[derive(Clone, Debug, Default)]
pub struct Vetting {
    nat64: Vec<Nat64>,
    own: BTreeSet<SocketAddr>,
}

impl Vetting {
    /// Judges with these translators' prefixes, and never lets anybody connect to the listeners in `own`.
    #[must_use]
    pub fn new(nat64: Vec<Nat64>, own: BTreeSet<SocketAddr>) -> Self {
        Self { nat64, own }
    }

    /// Judges every address that a name has, for a destination of `class` that may be in the blocks of `pins`.
    /// One refused address refuses all: whoever mixes a private address among public ones must not win a race.
    ///
    /// # Errors
    /// With the code of the refusal.
    pub fn vet(
        &self,
        addresses: &[IpAddr],
        port: u16,
        class: DestinationClass,
        pins: &[Cidr],
    ) -> Result<Vec<Vetted>, Code> {
        if addresses.is_empty() || addresses.len() > MAX_ADDRESSES {
            return Err(Code::DnsFail);
        }
        let judged = addresses
            .iter()
            .map(|address| self.one(*address, port, class, pins));
        let (good, bad): (Vec<_>, Vec<_>) = judged.partition(Result::is_ok);
        match (good.is_empty(), bad.into_iter().find_map(Result::err)) {
            (_, None) => Ok(good.into_iter().flatten().collect()),
            (true, Some(code)) => Err(code),
            (false, Some(_)) => Err(Code::AddrMixed),
        }
    }

    fn one(
        &self,
        address: IpAddr,
        port: u16,
        class: DestinationClass,
        pins: &[Cidr],
    ) -> Result<Vetted, Code> {
        let pinned =
            class == DestinationClass::Internal && pins.iter().any(|block| block.contains(address));
        let found = scope(address);
        if let IpAddr::V6(v6) = address {
            let carried = embedded::embedded(v6, &self.nat64);
            let public = |v4: &std::net::Ipv4Addr| scope(IpAddr::V4(*v4)) == Scope::Public;
            // `::` and `::1` carry nothing.
            if found != Scope::Loopback && !carried.iter().all(public) {
                return Err(Code::AddrEmbeddedV4);
            }
            if found == Scope::Translated && carried.is_empty() {
                return Err(Code::AddrEmbeddedV4);
            }
        }
        let open = match found {
            Scope::Public | Scope::Translated => None,
            Scope::Loopback | Scope::Private if pinned => None,
            scope => refusal(scope),
        };
        if let Some(code) = open {
            return Err(code);
        }
        match self.is_own(address, port) {
            true => Err(Code::AddrSelf),
            false => Ok(Vetted(SocketAddr::new(address, port))),
        }
    }

    /// Whether something of ours listens there. A listener on all addresses is on every private one.
    fn is_own(&self, address: IpAddr, port: u16) -> bool {
        self.own.iter().any(|own| {
            own.port() == port
                && (own.ip() == address
                    || (own.ip().is_unspecified() && scope(address) != Scope::Public))
        })
    }
}
