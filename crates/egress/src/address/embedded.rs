//! IPv4 addresses that travel inside IPv6 addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Nat64, cidr::Cidr};

/// The IPv4 addresses that a network could take `address` for. All of them are judged.
pub(super) fn embedded(address: Ipv6Addr, nat64: &[Nat64]) -> Vec<Ipv4Addr> {
    let bits = address.to_bits();
    let low = v4(bits);
    let segments = address.segments();
    let ours = nat64
        .iter()
        .filter(|ours| ours.0.contains(IpAddr::V6(address)));
    let mut found: Vec<_> = ours.map(|ours| translated(bits, ours.0.bits())).collect();
    match segments {
        // Mapped, compatible, translated (SIIT), NAT64 with the well-known prefix.
        [0, 0, 0, 0, 0, 0 | 0xffff, _, _]
        | [0, 0, 0, 0, 0xffff, 0, _, _]
        | [0x64, 0xff9b, 0, 0, 0, 0, _, _] => found.push(low),
        // NAT64 with the prefix for local use (RFC 8215): unless the operator said which, it can be of any length.
        [0x64, 0xff9b, 1, ..] if found.is_empty() => {
            found.push(low);
            found.extend([48, 56, 64].map(|length| translated(bits, length)));
        }
        // 6to4: behind the prefix.
        [0x2002, ..] => found.push(v4(bits >> 80)),
        // Teredo: its server, and its client with every bit turned over.
        [0x2001, 0, ..] => found.extend([v4(bits >> 64), v4(!bits)]),
        _ => {}
    }
    // ISATAP, under any prefix.
    let [.., interface, marker, _, _] = segments;
    if interface & !0x0300 == 0 && marker == 0x5efe {
        found.push(low);
    }
    found
}

/// The address behind a prefix of `length` bits (RFC 6052, 2.2): bits 64 to 71 are left out.
fn translated(bits: u128, length: u8) -> Ipv4Addr {
    match length {
        96 => v4(bits),
        64 => v4(bits >> 24),
        // Four octets behind the prefix, with the ninth octet of all among them for 40, 48 and 56.
        _ => {
            let [a, b, c, d, e, f, g, h, _, i, j, k, ..] = bits.to_be_bytes();
            let octets = [a, b, c, d, e, f, g, h, i, j, k];
            let start = usize::from(length / 8);
            let mut four = [0; 4];
            for (to, from) in four.iter_mut().zip(octets.iter().skip(start)) {
                *to = *from;
            }
            Ipv4Addr::from(four)
        }
    }
}

/// The lowest 32 bits.
fn v4(bits: u128) -> Ipv4Addr {
    let [.., a, b, c, d] = bits.to_be_bytes();
    Ipv4Addr::new(a, b, c, d)
}

/// Whether a prefix can have an IPv4 address behind it (RFC 6052, 2.2).
pub(super) fn is_translation_prefix(block: &Cidr) -> bool {
    block.first().is_ipv6() && matches!(block.bits(), 32 | 40 | 48 | 56 | 64 | 96)
}
