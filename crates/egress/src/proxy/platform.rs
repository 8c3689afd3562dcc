//! Where platforms have the services that give programs credentials: nothing of it leaves the proxy.

use std::net::{IpAddr, Ipv4Addr};

use crate::{Host, Name};

/// The address, on the port 80.
pub(super) const ADDRESS: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
/// The name for it that some clients have.
const NAME: &str = "metadata.google.internal";

/// Whether it is that, and nothing if it is not.
pub(super) fn is_it(host: &Host, port: Option<u16>) -> Option<bool> {
    let is_it = port.is_none_or(|port| port == 80)
        && match host {
            Host::Name(name) => is_named(name),
            Host::Address(address) => *address == IpAddr::V4(ADDRESS),
        };
    is_it.then_some(true)
}

/// Whether this is the name for it.
pub(super) fn is_named(name: &Name) -> bool {
    name.as_str() == NAME
}
