use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use casemate_model::DestinationClass;
use proptest::prelude::*;

use super::*;

const TABLE: &str = include_str!("../../data/iana-special-purpose.txt");

fn vet(address: &str) -> Result<Vec<Vetted>, Code> {
    let address = address.parse().unwrap();
    Vetting::default().vet(&[address], 443, DestinationClass::Public, &[])
}

fn rows() -> Vec<(Cidr, String)> {
    let rows = TABLE
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty());
    rows.map(|row| {
        let mut words = row.split_whitespace();
        (
            words.next().unwrap().parse().unwrap(),
            words.next().unwrap().to_owned(),
        )
    })
    .collect()
}

#[test]
fn the_code_has_the_table_of_the_registries() {
    let code: Vec<_> = table::V4
        .iter()
        .chain(table::V6)
        .map(|(block, scope)| (*block, format!("{scope:?}").to_lowercase()))
        .collect();
    assert_eq!(code, rows());
}

/// The last address of a block.
fn last(block: &Cidr) -> IpAddr {
    match block.first() {
        IpAddr::V4(v4) => IpAddr::V4(
            (v4.to_bits() | u32::MAX.checked_shr(block.bits().into()).unwrap_or(0)).into(),
        ),
        IpAddr::V6(v6) => IpAddr::V6(
            (v6.to_bits() | u128::MAX.checked_shr(block.bits().into()).unwrap_or(0)).into(),
        ),
    }
}

/// R109: both ends of every block of the registries are refused; a translated block only for what it carries.
#[test]
fn both_ends_of_every_block_are_refused() {
    for (block, kind) in rows() {
        for address in [block.first(), last(&block)] {
            let verdict = vet(&address.to_string());
            match kind.as_str() {
                // `255.255.255.255` and `0.0.0.0` are inside, so these ends are refused too.
                "translated" => assert!(verdict.is_err(), "{address} of {block}"),
                "private" | "loopback" => assert_eq!(verdict, Err(Code::AddrPrivate), "{address}"),
                // The first of `2001::/23` is Teredo's.
                _ if scope(address) == Scope::Translated => {
                    assert_eq!(verdict, Err(Code::AddrEmbeddedV4), "{address} of {block}");
                }
                _ => assert_eq!(verdict, Err(Code::AddrReserved), "{address} of {block}"),
            }
        }
    }
}

/// R110: where clouds answer every machine.
#[test]
fn metadata_services_are_refused_even_when_pinned() {
    for address in METADATA_V4 {
        let address = IpAddr::V4(*address);
        assert_eq!(
            vet(&address.to_string()),
            Err(Code::AddrMetadata),
            "{address}"
        );
        let pin: Cidr = format!("{address}/32").parse().unwrap();
        let pinned = Vetting::default().vet(&[address], 80, DestinationClass::Internal, &[pin]);
        assert_eq!(pinned, Err(Code::AddrMetadata), "{address}");
    }
    for address in METADATA_V6 {
        assert_eq!(
            vet(&address.to_string()),
            Err(Code::AddrMetadata),
            "{address}"
        );
    }
}

/// R109: an address inside an address is judged as what it is. (A08, A11 to A16)
#[test]
fn embedded_addresses_are_judged_as_ipv4() {
    let private = [
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "::10.0.0.1",
        "::ffff:0:127.0.0.1",
        "64:ff9b::10.0.0.1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1:a00:0:100::",
        "64:ff9b:1:8:8:808:a9fe:a9fe",
        "2002:7f00:1::",
        "2002:a9fe:a9fe::1",
        "2001:0:7f00:1::f7f7:f7f7",
        "2001:0:808:808:0:0:5601:5601",
        "2a00::5efe:7f00:1",
        "2a00::200:5efe:a9fe:a9fe",
        "2a00::100:5efe:7f00:1",
    ];
    for address in private {
        assert_eq!(vet(address), Err(Code::AddrEmbeddedV4), "{address}");
    }
    let public = [
        "::ffff:8.8.8.8",
        "64:ff9b::808:808",
        "2002:808:808::1",
        "2001:0:808:808::f7f7:f7f7",
        "2a00::200:5efe:808:808",
        "8.8.8.8",
        "2606:4700::1111",
    ];
    for address in public {
        assert!(vet(address).is_ok(), "{address}");
    }
}

#[test]
fn an_operators_translator_is_looked_through() {
    for (prefix, address) in [
        ("2a01:7f00::/32", "2a01:7f00:7f00:1::"),
        ("2a01:7f00:1200::/40", "2a01:7f00:127f:0:1::"),
        ("2a01:7f00:12::/48", "2a01:7f00:12:7f00:0:100::"),
        ("2a01:7f00:12:3400::/56", "2a01:7f00:12:347f:0:1::"),
        ("2a01:7f00:12:34::/64", "2a01:7f00:12:34:7f:0:100:0"),
        ("2a01:7f00:12:34::/96", "2a01:7f00:12:34::7f00:1"),
    ] {
        let nat64 = Nat64::new(prefix.parse().unwrap()).unwrap();
        let vetting = Vetting::new(vec![nat64], BTreeSet::new());
        let address = [address.parse().unwrap()];
        let verdict = vetting.vet(&address, 443, DestinationClass::Public, &[]);
        assert_eq!(verdict, Err(Code::AddrEmbeddedV4), "{prefix}");
        assert!(
            Vetting::default()
                .vet(&address, 443, DestinationClass::Public, &[])
                .is_ok()
        );
    }
    assert_eq!(Nat64::new("2a01::/33".parse().unwrap()), Err(Nat64Error));
    assert_eq!(Nat64::new("10.0.0.0/8".parse().unwrap()), Err(Nat64Error));
}

/// A private address needs the class and the pin, each alone is not enough. (A20)
#[test]
fn private_addresses_need_an_internal_class_and_a_pin() {
    let address = ["10.1.2.3".parse().unwrap()];
    let pin: Cidr = "10.1.0.0/16".parse().unwrap();
    let other: Cidr = "10.2.0.0/16".parse().unwrap();
    let vet = |class, pins: &[Cidr]| Vetting::default().vet(&address, 443, class, pins);
    assert!(vet(DestinationClass::Internal, &[pin]).is_ok());
    assert_eq!(
        vet(DestinationClass::Internal, &[other]),
        Err(Code::AddrPrivate)
    );
    assert_eq!(vet(DestinationClass::Internal, &[]), Err(Code::AddrPrivate));
    for class in DestinationClass::ALL
        .iter()
        .filter(|class| **class != DestinationClass::Internal)
    {
        assert_eq!(vet(*class, &[pin]), Err(Code::AddrPrivate), "{class}");
    }
}

/// One bad address among good ones refuses the whole answer, wherever it stands. (A22)
#[test]
fn mixed_answers_are_refused() {
    let (good, bad) = ("8.8.8.8".parse().unwrap(), "10.0.0.1".parse().unwrap());
    for answer in [[good, bad], [bad, good]] {
        let verdict = Vetting::default().vet(&answer, 443, DestinationClass::Public, &[]);
        assert_eq!(verdict, Err(Code::AddrMixed));
    }
    assert_eq!(
        Vetting::default().vet(&[], 443, DestinationClass::Public, &[]),
        Err(Code::DnsFail)
    );
    let many = vec![good; crate::limits::MAX_ADDRESSES + 1];
    assert_eq!(
        Vetting::default().vet(&many, 443, DestinationClass::Public, &[]),
        Err(Code::DnsFail)
    );
}

#[test]
fn our_own_listeners_are_refused() {
    let pin: Cidr = "127.0.0.0/8".parse().unwrap();
    let home: IpAddr = "127.0.0.1".parse().unwrap();
    let vet = |own: &str, port| {
        let own: SocketAddr = own.parse().unwrap();
        let vetting = Vetting::new(Vec::new(), [own].into());
        vetting.vet(&[home], port, DestinationClass::Internal, &[pin])
    };
    assert_eq!(vet("127.0.0.1:3128", 3128), Err(Code::AddrSelf));
    assert_eq!(vet("0.0.0.0:3128", 3128), Err(Code::AddrSelf));
    assert!(vet("127.0.0.1:3128", 443).is_ok());
}

#[test]
fn blocks_have_one_spelling() {
    for bad in [
        "10.0.0.1/8",
        "10.0.0.0/08",
        "10.0.0.0/33",
        "10.0.0.0",
        "::/129",
        "/8",
        "x/8",
        "10.0.0.0/+8",
    ] {
        assert!(bad.parse::<Cidr>().is_err(), "{bad}");
    }
    assert!(
        "0.0.0.0/0"
            .parse::<Cidr>()
            .unwrap()
            .contains("1.2.3.4".parse().unwrap())
    );
}

proptest! {
    /// std knows less than the registries: what it calls special is never public here.
    #[test]
    fn what_std_calls_special_is_refused(bits in any::<u32>(), low in any::<u128>()) {
        let v4 = Ipv4Addr::from(bits);
        if v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_multicast()
            || v4.is_broadcast() || v4.is_documentation() || v4.is_unspecified()
        {
            prop_assert!(vet(&v4.to_string()).is_err());
        }
        let v6 = Ipv6Addr::from(low);
        if v6.is_loopback() || v6.is_multicast() || v6.is_unique_local() || v6.is_unicast_link_local() {
            prop_assert!(vet(&v6.to_string()).is_err());
        }
    }

    /// Wrapping a refused IPv4 address in any form never opens it.
    #[test]
    fn no_wrapping_opens_an_address(bits in any::<u32>()) {
        let v4 = Ipv4Addr::from(bits);
        let plain = vet(&v4.to_string()).is_ok();
        let n = u128::from(bits);
        for wrapped in [
            n | 0xffff << 32, n | 0xffff << 48, n | 0x0064_ff9b << 96,
            0x2002 << 112 | n << 80, 0x2a00 << 112 | 0x5efe << 32 | n,
            0x2001 << 112 | 0x0808_0808 << 64 | (!n & 0xffff_ffff),
        ] {
            let address = Ipv6Addr::from(wrapped);
            prop_assert_eq!(vet(&address.to_string()).is_ok(), plain, "{} in {}", v4, address);
        }
    }
}
