//! A way out of a sandbox: what a call that has one is given, and the sockets by which it is served.

mod sockets;

use std::{fmt, path::PathBuf, pin::Pin};

use casemate_model::DecisionId;
use serde::{Deserialize, Serialize};

pub use self::sockets::{BadSocket, WaySockets};

/// The port of the proxy, on the sandbox's loopback.
pub const WAY_OUT_PORT: u16 = 3128;

/// What programs show where their platform would give them tokens. It is no secret: whoever gets there is the call.
pub const WAY_OUT_IDENTITY_HEADER: &str = "casemate";

/// The port of the answerer of names, on the sandbox's loopback.
pub const WAY_OUT_DNS_PORT: u16 = 53;

/// Where programs find the certificate of their way out.
pub const WAY_OUT_AUTHORITY: &str = "/etc/casemate/authority.pem";

/// The same in the form that Java reads.
pub const WAY_OUT_KEYSTORE: &str = "/etc/casemate/authority.jks";

/// The addresses that are made up for names. In a sandbox with a way out all of them are its own.
pub const MADE_UP_ADDRESSES: &str = "198.18.0.0/15";

/// The most ports on which a sandbox listens for connections to made-up addresses.
pub const MAX_WAY_PORTS: usize = 16;

/// The most bytes of an authority's certificate, in PEM.
pub const MAX_AUTHORITY_BYTES: usize = 16 * 1024;

/// A way out of a sandbox that is used once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WayOut {
    /// The certificate, in PEM, by which whoever serves the way out vouches for destinations; programs find it at
    /// [`WAY_OUT_AUTHORITY`].
    pub authority: String,
    /// The ports of destinations by name.
    pub ports: WayPorts,
}

/// A way out of one call in a session whose [`Kind`](crate::Kind) has ways out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// As [`WayOut::authority`].
    pub authority: String,
    /// Where the keeper hands the sockets over when the call begins: a Unix socket of whoever serves them.
    pub handover: PathBuf,
    /// The call that they are of.
    pub decision: DecisionId,
}

/// Brings the sockets of a call's way out to whoever serves them, and waits until they are served.
pub trait HandsOver: fmt::Debug {
    /// Hands `sockets` over for the call of `way`. The call begins only when this comes back.
    fn hand_over<'a>(
        &'a self,
        way: &'a Way,
        sockets: &'a WaySockets,
    ) -> Pin<Box<dyn Future<Output = Result<(), NotServed>> + 'a>>;
}

/// Nobody serves a way out.
#[derive(Debug, thiserror::Error)]
#[error("nobody serves its way out")]
pub struct NotServed(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// The ports on which connections to made-up addresses are taken: 80, 443, and those that rules name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct WayPorts {
    /// In order; 0 where there is none.
    ports: [u16; MAX_WAY_PORTS],
    /// Whether 169.254.169.254, where SDKs of clouds look for the services of their platform, is the sandbox's own too.
    platform: bool,
}

/// The same, as it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    ports: Vec<u16>,
    platform: bool,
}

impl Default for WayPorts {
    /// 80 and 443.
    fn default() -> Self {
        let mut ports = [0; MAX_WAY_PORTS];
        let [http, https, ..] = &mut ports;
        (*http, *https) = (80, 443);
        Self {
            ports,
            platform: false,
        }
    }
}

/// Why there are no such ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "with 80 and 443 at most {MAX_WAY_PORTS} ports can be reached by name: name fewer in the egress rules"
)]
pub struct TooManyPorts;

impl WayPorts {
    /// 80, 443, and those of `named` that are not the way out's own.
    ///
    /// # Errors
    /// When there are too many.
    pub fn new(named: impl IntoIterator<Item = u16>) -> Result<Self, TooManyPorts> {
        let mut all: Vec<u16> = [80, 443].into_iter().chain(named).collect();
        all.retain(|port| ![0, WAY_OUT_PORT, WAY_OUT_DNS_PORT].contains(port));
        all.sort_unstable();
        all.dedup();
        let mut ports = [0; MAX_WAY_PORTS];
        let room = ports.get_mut(..all.len()).ok_or(TooManyPorts)?;
        room.copy_from_slice(&all);
        Ok(Self {
            ports,
            platform: false,
        })
    }

    /// The same, and whether connections to the services of platforms are taken too.
    #[must_use]
    pub const fn with_platform(self, platform: bool) -> Self {
        Self { platform, ..self }
    }

    /// Whether connections to the services of platforms are taken too.
    #[must_use]
    pub const fn has_platform(&self) -> bool {
        self.platform
    }

    /// Each of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = u16> + '_ {
        self.ports.iter().copied().filter(|port| *port != 0)
    }
}

impl TryFrom<Written> for WayPorts {
    type Error = TooManyPorts;

    fn try_from(written: Written) -> Result<Self, TooManyPorts> {
        Ok(Self::new(written.ports)?.with_platform(written.platform))
    }
}

impl From<WayPorts> for Written {
    fn from(all: WayPorts) -> Self {
        Self {
            ports: all.iter().collect(),
            platform: all.platform,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_bounded_and_never_those_of_the_way_out() {
        let of = |named: &[u16]| -> Result<Vec<u16>, TooManyPorts> {
            Ok(WayPorts::new(named.iter().copied())?.iter().collect())
        };
        assert_eq!(of(&[]), Ok(vec![80, 443]));
        assert_eq!(WayPorts::new([]), Ok(WayPorts::default()));
        assert_eq!(
            of(&[8443, 0, 53, 3128, 443, 22]),
            Ok(vec![22, 80, 443, 8443])
        );
        let most: Vec<u16> = (1..).take(MAX_WAY_PORTS - 2).collect();
        assert_eq!(of(&most).unwrap().len(), MAX_WAY_PORTS);
        let more: Vec<u16> = (1..).take(MAX_WAY_PORTS - 1).collect();
        assert_eq!(of(&more), Err(TooManyPorts));
        let ports = WayPorts::new([8443]).unwrap().with_platform(true);
        let text = serde_json::to_string(&ports).unwrap();
        assert_eq!(text, r#"{"ports":[80,443,8443],"platform":true}"#);
        assert_eq!(serde_json::from_str::<WayPorts>(&text).unwrap(), ports);
        let more = format!("{{\"ports\":{more:?},\"platform\":false}}");
        assert!(serde_json::from_str::<WayPorts>(&more).is_err());
    }
}
