//! What a case is.

use std::{collections::BTreeMap, fs, net::IpAddr, path::Path};

use serde::Deserialize;

/// One attack.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// Its name: a letter for the group, the row of the catalogue, and what makes it a neighbour.
    pub id: String,
    /// What is tried.
    pub what: String,
    /// Where it was seen, or why it is here.
    pub seen: String,
    /// Each of these takes the place of `{each}`, in a run of its own.
    #[serde(default)]
    each: Vec<String>,
    /// Where the steps begin: at the proxy's port, in a tunnel to `good.test`, or with whole URLs of plain HTTP.
    #[serde(default = "port")]
    within: Vec<Within>,
    /// More names that are allowed, and all their addresses.
    #[serde(default)]
    pub names: BTreeMap<String, Vec<IpAddr>>,
    /// Whether `good.test` may be spoken to without TLS, though the steps begin elsewhere.
    #[serde(default)]
    pub plaintext: bool,
    /// What `good.test` answers to whatever it is asked, if it does not answer as it should.
    pub reply: Option<String>,
    /// What the client does.
    pub steps: Vec<Step>,
    /// The codes of a refusal; none for what must pass.
    #[serde(default)]
    pub codes: Vec<String>,
    /// How many requests may arrive.
    #[serde(default)]
    pub upstream: usize,
    /// How many messages of a WebSocket may arrive.
    #[serde(default)]
    pub messages: usize,
    /// Whether the request comes to nothing though it is sent: because of its body, its messages or its answer.
    #[serde(default)]
    pub refused: bool,
    /// Whether a request may have begun to arrive of which the end never comes.
    #[serde(default)]
    pub begun: bool,
    /// Whether another proxy may as well send one request that means one thing, instead of refusing.
    #[serde(default)]
    pub mended: bool,
    /// Where this run begins.
    #[serde(skip)]
    pub place: Option<Within>,
}

/// Where the steps of a case begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Within {
    /// At the proxy's port.
    Port,
    /// In a tunnel to `good.test`.
    Tunnel,
    /// The same, with HTTP/2.
    Http2,
    /// At the proxy's port, with whole URLs.
    Plain,
}

fn port() -> Vec<Within> {
    vec![Within::Port]
}

/// What a client does, or sees.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Step {
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
    /// Has seen these bytes nowhere.
    Unseen(String),
    /// Sends a request of HTTP/2 on a stream of its own, and sees what becomes of it.
    Stream(Asked),
    /// Connects to the address that was made up for a name, at this port.
    Transparent(String),
    /// Connects to this address without a proxy.
    Dial(String),
    /// Asks for the address of a name (by the number of a type), and gets this status and so many answers.
    Ask {
        /// The name.
        name: String,
        /// The number of the type.
        kind: u16,
        /// The status of the answer.
        status: u8,
        /// How many addresses it has.
        answers: u8,
    },
}

/// A request of HTTP/2.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// Its fields in their order, one in a line, those with a colon among them. `␍` and `␊` are bytes of a value.
    pub fields: String,
    /// Its body, after which it ends.
    pub body: Option<String>,
    /// Its fields after the body.
    #[serde(default)]
    pub trailers: String,
    /// The statuses it may get; 0 when the stream or the connection may be closed instead.
    pub status: Vec<u16>,
}

/// How a client speaks TLS.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The server's name.
    pub name: String,
    /// The protocols it offers.
    #[serde(default)]
    pub alpn: Vec<String>,
    /// After how many bytes it pauses, each time.
    #[serde(default)]
    pub cuts: Vec<usize>,
    /// The sizes of the records of its ClientHello, before the rest.
    #[serde(default)]
    pub records: Vec<usize>,
    /// Whether it believes only the destination's real authority.
    #[serde(default)]
    pub pinned: bool,
    /// Whether it leaves the server name out of its ClientHello.
    #[serde(default)]
    pub nameless: bool,
}

impl Tls {
    /// To `name`, and nothing else about it.
    #[must_use]
    pub fn to(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..Self::default()
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    case: Vec<Case>,
}

/// All cases, file by file.
#[must_use]
pub fn cases() -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
        .iter()
        .flat_map(|file| {
            let text = fs::read_to_string(file).unwrap();
            let file: File =
                toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            file.case
        })
        .collect()
}

impl Case {
    /// The runs of a case.
    #[must_use]
    pub fn variants(&self) -> Vec<Self> {
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
                if let Some(reply) = &mut variant.reply {
                    *reply = reply.replace("{each}", one);
                }
                for step in &mut variant.steps {
                    step.put(one);
                }
                variants.push(variant);
            }
        }
        variants
    }
}

impl Step {
    /// Puts this in place of `{each}`.
    fn put(&mut self, one: &str) {
        match self {
            Self::Send(text) | Self::Tunnel(text) | Self::Dial(text) => {
                *text = text.replace("{each}", one);
            }
            Self::Tls(tls) | Self::Hello(tls) => {
                tls.name = tls.name.replace("{each}", one);
                for protocol in &mut tls.alpn {
                    *protocol = protocol.replace("{each}", one);
                }
            }
            Self::Ask { name, .. } => *name = name.replace("{each}", one),
            Self::Stream(request) => {
                for fields in [&mut request.fields, &mut request.trailers] {
                    *fields = fields.replace("{each}", one);
                }
            }
            _ => {}
        }
    }
}
