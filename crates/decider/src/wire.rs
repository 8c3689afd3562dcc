//! What a decider says.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use crate::{DeciderError, listed::Listed};

const PROTOCOL: u64 = 1;
const MAX_ID: u64 = (1 << 53) - 1;
const MAX_HEADER_BYTES: usize = 64 << 10;
/// Names to take out, or values to set.
const MAX_HEADERS: usize = 190;
const MAX_REASON_BYTES: usize = 1 << 10;
const MAX_BODY_BYTES: u64 = 32 << 20;
/// How a message is delimited: nobody but the proxy says that.
const FRAMING: &[&str] = &[
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "upgrade",
    "te",
    "trailer",
    "keep-alive",
    "proxy-connection",
];

/// The answer to a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It may be sent, without these headers.
    Allow { remove_headers: Vec<String> },
    /// It may be sent, if something is put in that only we put in.
    Widen,
    /// It may not.
    Deny { status: u16, reason: Option<String> },
    /// So much of its body is needed first.
    NeedBody { max: u64 },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Hello {
    t: String,
    proto: u64,
    allowed_domains: Vec<String>,
    denied_domains: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Allow {
    #[serde(rename = "t")]
    _t: String,
    id: u64,
    #[serde(rename = "action")]
    _action: String,
    set_headers: Option<BTreeMap<String, Vec<String>>>,
    remove_headers: Option<Vec<String>>,
    cred: Option<String>,
    credential: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Deny {
    #[serde(rename = "t")]
    _t: String,
    id: u64,
    #[serde(rename = "action")]
    _action: String,
    status: u16,
    reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NeedBody {
    #[serde(rename = "t")]
    _t: String,
    id: u64,
    #[serde(rename = "action")]
    _action: String,
    max: u64,
}

/// Where it lets requests go to at all.
pub(crate) fn hello(frame: Map<String, Value>) -> Result<Listed, DeciderError> {
    const FAULT: DeciderError = DeciderError::Frame("it is no hello");
    let hello: Hello = of(frame, "it is no hello")?;
    if hello.t != "hello" || hello.proto != PROTOCOL {
        return Err(FAULT);
    }
    Listed::new(&hello.allowed_domains, &hello.denied_domains).ok_or(FAULT)
}

/// An answer, and the number of its request.
pub(crate) fn verdict(frame: Map<String, Value>) -> Result<(u64, Verdict), DeciderError> {
    const WHAT: &str = "it is no verdict";
    let text = |key| frame.get(key).and_then(Value::as_str).unwrap_or_default();
    let (id, verdict) = match (text("t"), text("action")) {
        ("verdict", "allow") => allow(of(frame, WHAT)?),
        ("verdict", "deny") => deny(of(frame, WHAT)?),
        ("verdict", "need_body") => {
            let NeedBody { id, max, .. } = of(frame, WHAT)?;
            let fits = (1..=MAX_BODY_BYTES).contains(&max);
            (id, fits.then_some(Verdict::NeedBody { max }))
        }
        _ => return Err(DeciderError::Frame(WHAT)),
    };
    match verdict {
        Some(verdict) if (1..=MAX_ID).contains(&id) => Ok((id, verdict)),
        _ => Err(DeciderError::Frame("it is a verdict beyond its limits")),
    }
}

fn of<T: DeserializeOwned>(
    frame: Map<String, Value>,
    what: &'static str,
) -> Result<T, DeciderError> {
    serde_json::from_value(Value::Object(frame)).map_err(|_| DeciderError::Frame(what))
}

fn allow(allow: Allow) -> (u64, Option<Verdict>) {
    let Allow {
        id,
        set_headers,
        remove_headers,
        cred,
        credential,
        ..
    } = allow;
    let values = |(name, values): (&String, &Vec<String>)| {
        is_removable(name) && values.iter().all(|value| is_line(value))
    };
    let set = set_headers
        .as_ref()
        .is_none_or(|headers| !headers.is_empty() && headers.iter().all(values) && fit(headers));
    let removed = remove_headers.as_ref().is_none_or(|names| {
        let once: BTreeSet<_> = names.iter().collect();
        (1..=MAX_HEADERS).contains(&names.len())
            && once.len() == names.len()
            && names.iter().all(|name| is_removable(name))
            && names.iter().map(String::len).sum::<usize>() <= MAX_HEADER_BYTES
    });
    let credentials = match (&cred, &credential) {
        (None, None) => true,
        (Some(class), Some(_)) => !class.is_empty(),
        _ => false,
    };
    let widens = set_headers.is_some() || credential.is_some();
    let verdict = match widens {
        true => Verdict::Widen,
        false => Verdict::Allow {
            remove_headers: remove_headers.unwrap_or_default(),
        },
    };
    (id, (set && removed && credentials).then_some(verdict))
}

fn deny(deny: Deny) -> (u64, Option<Verdict>) {
    let Deny {
        id, status, reason, ..
    } = deny;
    let reasoned = reason
        .as_ref()
        .is_none_or(|reason| (1..=MAX_REASON_BYTES).contains(&reason.len()) && is_line(reason));
    let fits = reasoned && (400..=599).contains(&status);
    (id, fits.then_some(Verdict::Deny { status, reason }))
}

/// The name of a header in lower case.
pub(crate) fn is_name(name: &str) -> bool {
    let is_token = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"!#$%&'*+-.^_`|~".contains(&byte)
    };
    !name.is_empty() && name.bytes().all(is_token)
}

fn is_removable(name: &str) -> bool {
    is_name(name) && !FRAMING.contains(&name.replace(['_', '.'], "-").as_str())
}

/// A text without control characters, a tab aside.
pub(crate) fn is_line(text: &str) -> bool {
    text.chars().all(|char| char == '\t' || !char.is_control())
}

/// Whether headers are as many and as long as a frame may have: a name without a value counts as one.
pub(crate) fn fit(headers: &BTreeMap<String, Vec<String>>) -> bool {
    let count: usize = headers.values().map(|values| values.len().max(1)).sum();
    let bytes = |(name, values): (&String, &Vec<String>)| {
        name.len() + values.iter().map(String::len).sum::<usize>()
    };
    count <= MAX_HEADERS && headers.iter().map(bytes).sum::<usize>() <= MAX_HEADER_BYTES
}
