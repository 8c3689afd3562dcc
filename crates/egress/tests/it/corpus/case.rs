//! What a case is.

use std::{collections::BTreeMap, net::IpAddr, path::Path};

use serde::Deserialize;

/// One attack.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    pub(crate) id: String,
    /// What is tried.
    pub(crate) what: String,
    /// Where it was seen, or why it is here.
    pub(crate) seen: String,
    /// Each of these takes the place of `{each}`, in a run of its own.
    #[serde(default)]
    each: Vec<String>,
    /// Where the steps begin: at the proxy's port, in a tunnel to `good.test`, or with whole URLs of plain HTTP.
    #[serde(default = "port")]
    within: Vec<Within>,
    /// More names that are allowed, and all their addresses.
    #[serde(default)]
    pub(crate) names: BTreeMap<String, Vec<IpAddr>>,
    /// Whether `good.test` may be spoken to without TLS, though the steps begin elsewhere.
    #[serde(default)]
    pub(crate) plaintext: bool,
    pub(crate) steps: Vec<Step>,
    /// The codes of a refusal; none for what must pass.
    #[serde(default)]
    pub(crate) codes: Vec<String>,
    /// How many requests may arrive.
    #[serde(default)]
    pub(crate) upstream: usize,
    #[serde(skip)]
    pub(crate) place: Option<Within>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Within {
    Port,
    Tunnel,
    Plain,
}

fn port() -> Vec<Within> {
    vec![Within::Port]
}

/// What a client does, or sees.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Step {
    /// Sends these bytes.
    Send(String),
    /// Asks for a tunnel, and gets it.
    Tunnel(String),
    /// Speaks TLS from now on.
    Tls(Tls),
    /// Begins with this ClientHello, and nothing comes of it.
    Hello(Tls),
    /// Is answered with one of these.
    Status(Vec<u16>),
    /// Sees whether the connection ends without another byte.
    Closed(bool),
    /// Connects to the address that was made up for a name, at this port.
    Transparent(String),
    /// Connects to this address without a proxy.
    Dial(String),
    /// Asks for the address of a name (by the number of a type), and gets this status and so many answers.
    Ask {
        name: String,
        kind: u16,
        status: u8,
        answers: u8,
    },
}

/// How a client speaks TLS.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tls {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) alpn: Vec<String>,
    /// After how many bytes it pauses, each time.
    #[serde(default)]
    pub(crate) cuts: Vec<usize>,
    /// The sizes of the records of its ClientHello, before the rest.
    #[serde(default)]
    pub(crate) records: Vec<usize>,
    /// Whether it believes only the destination's real authority.
    #[serde(default)]
    pub(crate) pinned: bool,
    /// Whether it leaves the server name out of its ClientHello.
    #[serde(default)]
    pub(crate) nameless: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    case: Vec<Case>,
}

impl Case {
    pub(crate) fn read(text: &str, file: &Path) -> Vec<Self> {
        let file: File =
            toml::from_str(text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        file.case
    }

    /// The runs of a case.
    pub(crate) fn variants(&self) -> Vec<Self> {
        let each = if self.each.is_empty() {
            vec![String::new()]
        } else {
            self.each.clone()
        };
        let mut variants = Vec::new();
        for place in &self.within {
            for one in &each {
                let mut variant = self.clone();
                variant.place = Some(*place);
                variant.what = format!("{} ({place:?} {})", self.what, one.escape_debug());
                for step in &mut variant.steps {
                    if let Step::Send(text) | Step::Tunnel(text) | Step::Dial(text) = step {
                        *text = text.replace("{each}", one);
                    }
                    if let Step::Tls(tls) | Step::Hello(tls) = step {
                        tls.name = tls.name.replace("{each}", one);
                    }
                    if let Step::Ask { name, .. } = step {
                        *name = name.replace("{each}", one);
                    }
                }
                variants.push(variant);
            }
        }
        variants
    }
}
