//! The blocks of `data/iana-special-purpose.txt`. The longest block that holds an address says what it is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Scope, cidr::Cidr};

pub(super) const V4: &[(Cidr, Scope)] = &[
    row4([0, 0, 0, 0], 8, Scope::Loopback),
    row4([10, 0, 0, 0], 8, Scope::Private),
    row4([100, 64, 0, 0], 10, Scope::Private),
    row4([127, 0, 0, 0], 8, Scope::Loopback),
    row4([169, 254, 0, 0], 16, Scope::Private),
    row4([172, 16, 0, 0], 12, Scope::Private),
    row4([192, 0, 0, 0], 24, Scope::Reserved),
    row4([192, 0, 2, 0], 24, Scope::Reserved),
    row4([192, 31, 196, 0], 24, Scope::Reserved),
    row4([192, 52, 193, 0], 24, Scope::Reserved),
    row4([192, 88, 99, 0], 24, Scope::Reserved),
    row4([192, 168, 0, 0], 16, Scope::Private),
    row4([192, 175, 48, 0], 24, Scope::Reserved),
    row4([198, 18, 0, 0], 15, Scope::Reserved),
    row4([198, 51, 100, 0], 24, Scope::Reserved),
    row4([203, 0, 113, 0], 24, Scope::Reserved),
    row4([224, 0, 0, 0], 4, Scope::Reserved),
    row4([240, 0, 0, 0], 4, Scope::Reserved),
];

pub(super) const V6: &[(Cidr, Scope)] = &[
    row6([0, 0, 0, 0, 0, 0, 0, 0], 128, Scope::Loopback),
    row6([0, 0, 0, 0, 0, 0, 0, 0x1], 128, Scope::Loopback),
    row6([0, 0, 0, 0, 0, 0, 0, 0], 96, Scope::Translated),
    row6([0, 0, 0, 0, 0, 0xffff, 0, 0], 96, Scope::Translated),
    row6([0, 0, 0, 0, 0xffff, 0, 0, 0], 96, Scope::Translated),
    row6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96, Scope::Translated),
    row6([0x64, 0xff9b, 0x1, 0, 0, 0, 0, 0], 48, Scope::Translated),
    row6([0x100, 0, 0, 0, 0, 0, 0, 0], 64, Scope::Reserved),
    row6([0x100, 0, 0, 0x1, 0, 0, 0, 0], 64, Scope::Reserved),
    row6([0x2001, 0, 0, 0, 0, 0, 0, 0], 32, Scope::Translated),
    row6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23, Scope::Reserved),
    row6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32, Scope::Reserved),
    row6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16, Scope::Translated),
    row6([0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0], 48, Scope::Reserved),
    row6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20, Scope::Reserved),
    row6([0x5f00, 0, 0, 0, 0, 0, 0, 0], 16, Scope::Reserved),
    row6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7, Scope::Private),
    row6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10, Scope::Private),
    row6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10, Scope::Private),
    row6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8, Scope::Reserved),
];

const fn row4(octets: [u8; 4], bits: u8, scope: Scope) -> (Cidr, Scope) {
    let [a, b, c, d] = octets;
    (
        Cidr::raw(IpAddr::V4(Ipv4Addr::new(a, b, c, d)), bits),
        scope,
    )
}

const fn row6(segments: [u16; 8], bits: u8, scope: Scope) -> (Cidr, Scope) {
    let [a, b, c, d, e, f, g, h] = segments;
    let address = Ipv6Addr::new(a, b, c, d, e, f, g, h);
    (Cidr::raw(IpAddr::V6(address), bits), scope)
}
