//! Every key that can be told.

use std::{net::SocketAddr, path::PathBuf};

use super::Config;

/// The most profiles that can be named.
pub(super) const MAX_PROFILES: usize = 256;

/// A key.
pub(super) struct Key {
    /// Its name in a file: the part before a dot is a table.
    pub(super) path: &'static str,
    /// How the command line says it, if it can.
    pub(super) flag: Option<&'static str>,
    /// Where it goes, and what it may be.
    pub(super) slot: Slot,
    /// What counts when nobody says anything.
    pub(super) otherwise: &'static str,
    /// What it is.
    pub(super) says: &'static str,
}

/// Where a value goes.
pub(super) enum Slot {
    /// An address and a port.
    Address(fn(&mut Config) -> &mut Option<SocketAddr>),
    /// A path.
    Path(fn(&mut Config) -> &mut Option<PathBuf>),
    /// Several paths.
    Paths(fn(&mut Config) -> &mut Vec<PathBuf>),
    /// A number from the one to the other.
    Number(fn(&mut Config) -> &mut Option<u64>, u64, u64),
}

impl Key {
    /// The variable of the environment that says it.
    pub(super) fn variable(&self) -> String {
        format!("CASEMATE_{}", self.path.to_uppercase().replace('.', "_"))
    }
}

pub(super) const KEYS: &[Key] = &[
    Key {
        path: "state_dir",
        flag: Some("--state-dir DIR"),
        slot: Slot::Path(|config| &mut config.state_dir),
        otherwise: "`$XDG_STATE_HOME/casemate`, or `~/.local/state/casemate`",
        says: "Where everything durable is: keys, the audit log, the agents' databases, policies, images, and the sockets of the processes. Other commands find it by the variable.",
    },
    Key {
        path: "socket",
        flag: Some("--socket PATH"),
        slot: Slot::Path(|config| &mut config.socket),
        otherwise: "`run/casemate.sock` in the state directory",
        says: "The Unix socket on which this user is heard.",
    },
    Key {
        path: "listen",
        flag: Some("--listen ADDRESS"),
        slot: Slot::Address(|config| &mut config.listen),
        otherwise: "`127.0.0.1:7480` for `casemate up`, no network for `casemate serve`",
        says: "The address on which others are heard. One that other hosts reach needs `tls`.",
    },
    Key {
        path: "callers",
        flag: Some("--callers FILE"),
        slot: Slot::Path(|config| &mut config.callers),
        otherwise: "the API keys of this gateway for `casemate up`, nobody for `casemate serve`",
        says: "Who may call over the network: [a file](../callers.md).",
    },
    Key {
        path: "profiles",
        flag: Some("--profile FILE, repeated"),
        slot: Slot::Paths(|config| &mut config.profiles),
        otherwise: "the bundle in force, or the built-in profile",
        says: "[Profiles](profile.md) to decide by, each on its route.",
    },
    Key {
        path: "webhooks",
        flag: Some("--webhooks FILE"),
        slot: Slot::Path(|config| &mut config.webhooks),
        otherwise: "nobody is told",
        says: "Services that are told about calls that wait, and about alerts: [a file](../approvals.md).",
    },
    Key {
        path: "tls.certificate",
        flag: Some("--tls-cert FILE"),
        slot: Slot::Path(|config| &mut config.tls.certificate),
        otherwise: "no TLS",
        says: "The certificate of the server, and those that vouch for it (PEM).",
    },
    Key {
        path: "tls.key",
        flag: Some("--tls-key FILE"),
        slot: Slot::Path(|config| &mut config.tls.key),
        otherwise: "no TLS",
        says: "Its key (PEM), for this user only to read.",
    },
    Key {
        path: "tls.client_ca",
        flag: Some("--client-ca FILE"),
        slot: Slot::Path(|config| &mut config.tls.client_ca),
        otherwise: "no client is asked for a certificate",
        says: "The authorities that vouch for clients (PEM): a client that presents a certificate must have one of theirs.",
    },
    Key {
        path: "limits.calls",
        flag: None,
        slot: Slot::Number(|config| &mut config.limits.calls, 1, 65_536),
        otherwise: "16 for each core, at least 64",
        says: "Calls that run at once, of all tenants.",
    },
    Key {
        path: "limits.queued",
        flag: None,
        slot: Slot::Number(|config| &mut config.limits.queued, 1, 1_048_576),
        otherwise: "65536",
        says: "Calls that wait for their turn, of all tenants. More are refused as `overloaded`.",
    },
    Key {
        path: "limits.queue_timeout_ms",
        flag: None,
        slot: Slot::Number(|config| &mut config.limits.queue_timeout_ms, 1, 3_600_000),
        otherwise: "60000",
        says: "How long a call waits for its turn.",
    },
    Key {
        path: "limits.start_ms",
        flag: None,
        slot: Slot::Number(|config| &mut config.limits.start_ms, 1, 3_600_000),
        otherwise: "60000",
        says: "How long `casemate up` waits until calls can be run. Then it ends, having said what was missing.",
    },
    Key {
        path: "limits.drain_ms",
        flag: None,
        slot: Slot::Number(|config| &mut config.limits.drain_ms, 0, 3_600_000),
        otherwise: "30000",
        says: "How long calls have to end by themselves when the gateway is asked to stop; then they are interrupted.",
    },
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_key_has_a_name_and_a_place_of_its_own() {
        let names: BTreeSet<_> = KEYS.iter().map(|key| key.path).collect();
        assert_eq!(names.len(), KEYS.len());
        let mut config = Config::default();
        for (number, key) in KEYS.iter().enumerate() {
            // What is written by one is not written by another.
            match &key.slot {
                Slot::Address(of) => {
                    assert_eq!(of(&mut config).replace(([127, 0, 0, 1], 1).into()), None);
                }
                Slot::Path(of) => {
                    assert_eq!(of(&mut config).replace(number.to_string().into()), None);
                }
                Slot::Paths(of) => {
                    assert!(of(&mut config).is_empty());
                    of(&mut config).push(number.to_string().into());
                }
                Slot::Number(of, from, to) => {
                    assert!(from < to, "{}", key.path);
                    assert_eq!(of(&mut config).replace(*from), None);
                }
            }
        }
    }
}
