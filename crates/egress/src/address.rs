//! Which addresses there may be a connection to.
//!
//! An address becomes [`Vetted`] here and nowhere else, and only a vetted address can be dialled. The table is data of
//! IANA's registries; an IPv4 address inside an IPv6 address is taken out and judged as what it is.

mod cidr;
mod embedded;
mod table;
#[cfg(test)]
mod tests;
mod vetting;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub use self::{
    cidr::{Cidr, CidrError},
    vetting::{Nat64, Nat64Error, Vetted, Vetting},
};
use crate::Code;

/// What an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Anybody's on the internet.
    Public,
    /// This machine.
    Loopback,
    /// A private network, or only this link.
    Private,
    /// A metadata service, or another one that a cloud answers to every machine in it.
    Metadata,
    /// Nobody's, or of no use to connect to.
    Reserved,
    /// It carries an IPv4 address.
    Translated,
}

/// Where clouds answer every machine with credentials or configuration. The first IPv4 addresses are link-local or
/// shared; `168.63.129.16` looks public.
const METADATA_V4: &[Ipv4Addr] = &[
    Ipv4Addr::new(169, 254, 169, 254), // AWS, Azure, GCP, OCI and most others
    Ipv4Addr::new(169, 254, 170, 2),   // AWS: credentials of containers
    Ipv4Addr::new(169, 254, 170, 23),  // AWS: credentials of pods
    Ipv4Addr::new(169, 254, 169, 253), // AWS: resolver
    Ipv4Addr::new(169, 254, 169, 123), // AWS: time
    Ipv4Addr::new(100, 100, 100, 200), // Alibaba Cloud
    Ipv4Addr::new(192, 0, 0, 192),     // OCI, older
    Ipv4Addr::new(168, 63, 129, 16),   // Azure: WireServer
];

const METADATA_V6: &[Ipv6Addr] = &[
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), // AWS
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23),  // AWS: credentials of pods
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),  // GCP
    Ipv6Addr::new(0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe), // OCI
    Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42),   // Scaleway
];

/// All addresses of the internet are in this block, until IANA opens another.
const GLOBAL_UNICAST: Cidr = Cidr::raw(IpAddr::V6(Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0)), 3);

/// What `address` is, without a look at what it carries.
pub(crate) fn scope(address: IpAddr) -> Scope {
    let (metadata, table) = match address {
        IpAddr::V4(v4) => (METADATA_V4.contains(&v4), table::V4),
        IpAddr::V6(v6) => (METADATA_V6.contains(&v6), table::V6),
    };
    if metadata {
        return Scope::Metadata;
    }
    let longest = table
        .iter()
        .filter(|(block, _)| block.contains(address))
        .max_by_key(|(block, _)| block.bits());
    match longest {
        Some((_, scope)) => *scope,
        None if address.is_ipv6() && !GLOBAL_UNICAST.contains(address) => Scope::Reserved,
        None => Scope::Public,
    }
}

/// Why an address of this scope is refused, if it is.
const fn refusal(scope: Scope) -> Option<Code> {
    match scope {
        Scope::Public => None,
        Scope::Loopback | Scope::Private => Some(Code::AddrPrivate),
        Scope::Metadata => Some(Code::AddrMetadata),
        Scope::Reserved => Some(Code::AddrReserved),
        Scope::Translated => Some(Code::AddrEmbeddedV4),
    }
}
