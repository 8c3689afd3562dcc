//! Blocks of addresses.

use std::{fmt, net::IpAddr, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A block of addresses: `10.0.0.0/8`. No bit below the prefix is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cidr {
    address: IpAddr,
    bits: u8,
}

/// Why a text is not a block of addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CidrError {
    /// There is no `/`.
    #[error("write it as address/bits, like 10.0.0.0/8")]
    NoPrefix,
    /// What is before the `/` is no address.
    #[error("it does not begin with an IPv4 or IPv6 address")]
    Address,
    /// What is after the `/` is no length of a prefix, or a longer one than there is.
    #[error("the number after the slash is no length of a prefix")]
    Bits,
    /// Bits below the prefix are set: two blocks could be meant.
    #[error("bits below the prefix are set: write the first address of the block")]
    HostBits,
}

impl Cidr {
    /// The block of `bits` bits that begins with `address`.
    ///
    /// # Errors
    /// When the prefix is too long, or `address` is not the first of the block.
    pub fn new(address: IpAddr, bits: u8) -> Result<Self, CidrError> {
        let block = Self { address, bits };
        if bits > block.width() {
            return Err(CidrError::Bits);
        }
        match block.masked(address) == Some(number(address)) {
            true => Ok(block),
            false => Err(CidrError::HostBits),
        }
    }

    /// A block of a table that a test checks.
    pub(super) const fn raw(address: IpAddr, bits: u8) -> Self {
        Self { address, bits }
    }

    /// Whether `address` is in the block. An IPv4 address is in no block of IPv6.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.masked(address) == Some(number(self.address))
    }

    /// The first address.
    #[must_use]
    pub const fn first(&self) -> IpAddr {
        self.address
    }

    /// The length of the prefix.
    #[must_use]
    pub const fn bits(&self) -> u8 {
        self.bits
    }

    const fn width(&self) -> u8 {
        match self.address {
            IpAddr::V4(_) => 32,
            IpAddr::V6(_) => 128,
        }
    }

    /// `address` with only the bits of the prefix, if it is of the same kind.
    fn masked(&self, address: IpAddr) -> Option<u128> {
        if address.is_ipv4() != self.address.is_ipv4() {
            return None;
        }
        let below = u32::from(self.width().checked_sub(self.bits)?);
        let bits = number(address);
        Some(
            bits.checked_shr(below)
                .unwrap_or(0)
                .checked_shl(below)
                .unwrap_or(0),
        )
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_bits().into(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let (address, bits) = text.split_once('/').ok_or(CidrError::NoPrefix)?;
        let address = address.parse().map_err(|_| CidrError::Address)?;
        let plain = bits.bytes().all(|byte| byte.is_ascii_digit())
            && (bits == "0" || !bits.starts_with('0'));
        let bits = bits.parse().ok().filter(|_| plain).ok_or(CidrError::Bits)?;
        Self::new(address, bits)
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

impl Serialize for Cidr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cidr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}
