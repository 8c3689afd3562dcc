//! Made-up addresses for names, so that a connection without a proxy says which name it is for.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr},
    sync::{Mutex, PoisonError},
};

use crate::{Cidr, Name, limits::MAX_PINS};

/// The addresses of one way out. An address belongs to one name for the way out of one call; the next call of a session makes up its own.
#[derive(Debug)]
pub struct Pins {
    first: u32,
    room: usize,
    pinned: Mutex<Pinned>,
}

#[derive(Debug, Default)]
struct Pinned {
    addresses: HashMap<Name, Ipv4Addr>,
    names: HashMap<Ipv4Addr, Name>,
}

/// The block cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("made-up addresses come from a block of IPv4 with at least 8 addresses")]
pub struct PinsError;

impl Pins {
    /// Addresses out of `block`, which must lead to this proxy and nowhere else.
    ///
    /// # Errors
    /// When it is no block of IPv4, or too small.
    pub fn new(block: Cidr) -> Result<Self, PinsError> {
        let IpAddr::V4(first) = block.first() else {
            return Err(PinsError);
        };
        let size = 1_usize.checked_shl(32 - u32::from(block.bits()));
        match size {
            // Neither the first nor the last address of a block is a host's.
            Some(size) if size >= 8 => Ok(Self {
                first: first.to_bits() + 1,
                room: (size - 2).min(MAX_PINS),
                pinned: Mutex::default(),
            }),
            _ => Err(PinsError),
        }
    }

    /// The address of `name`, if there is room for another.
    pub(crate) fn pin(&self, name: &Name) -> Option<Ipv4Addr> {
        let mut pinned = self.pinned.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(address) = pinned.addresses.get(name) {
            return Some(*address);
        }
        let next = pinned.addresses.len();
        if next >= self.room {
            return None;
        }
        let address = Ipv4Addr::from_bits(self.first.checked_add(u32::try_from(next).ok()?)?);
        pinned.addresses.insert(name.clone(), address);
        pinned.names.insert(address, name.clone());
        Some(address)
    }

    /// The name that `address` was made up for.
    pub(crate) fn name(&self, address: IpAddr) -> Option<Name> {
        let IpAddr::V4(address) = address.to_canonical() else {
            return None;
        };
        let pinned = self.pinned.lock().unwrap_or_else(PoisonError::into_inner);
        pinned.names.get(&address).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An address never becomes another name's, and the room ends. (D12)
    #[test]
    fn addresses_are_never_given_twice() {
        let pins = Pins::new("198.18.0.0/29".parse().unwrap()).unwrap();
        let name = |number: u32| Name::parse(&format!("h{number}.good.test")).unwrap();
        let given: Vec<_> = (0..6)
            .map(|number| pins.pin(&name(number)).unwrap())
            .collect();
        assert_eq!(
            given
                .iter()
                .collect::<std::collections::BTreeSet<_>>()
                .len(),
            6
        );
        assert_eq!(pins.pin(&name(6)), None);
        for (number, address) in (0..).zip(&given) {
            assert_eq!(pins.pin(&name(number)), Some(*address));
            assert_eq!(pins.name(IpAddr::V4(*address)), Some(name(number)));
        }
        assert_eq!(pins.name("198.18.0.0".parse().unwrap()), None);
        assert_eq!(pins.name("198.18.0.7".parse().unwrap()), None);
        assert!(Pins::new("198.18.0.0/30".parse().unwrap()).is_err());
        assert!(Pins::new("fd00::/64".parse().unwrap()).is_err());
    }
}
