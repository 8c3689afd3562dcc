//! Header fields: strictly read, and those that end at this proxy taken out.

use base64::Engine as _;
use casemate_model::overrides_method;
use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::{Code, limits::MAX_FIELDS};

/// Fields that say where a message ends, where it goes or who sends it: nobody may have them taken out, or write them
/// in a way that only some programs understand.
const CRITICAL: &[&str] = &[
    "host",
    "content-length",
    "transfer-encoding",
    "content-type",
    "content-encoding",
    "authorization",
    "cookie",
    "connection",
    "upgrade",
    "expect",
    "te",
    "trailer",
    "proxy-authorization",
    "proxy-connection",
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-api-key",
    "x-goog-api-key",
    "api-key",
];
/// Fields by which a server takes another path.
const PATHS: &[&str] = &["x-original-url", "x-rewrite-url"];
/// Fields by which it takes another host.
const HOSTS: &[&str] = &["forwarded", "x-forwarded-host", "x-original-host"];
/// Fields between two neighbours, which go no further (RFC 9110, 7.6.1), and those that would lead round this proxy.
const HOP_BY_HOP: &[&str] = &[
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authorization",
    "proxy-authenticate",
    "te",
    "upgrade",
    "host",
    "content-length",
    "transfer-encoding",
    "expect",
    "alt-used",
    "http2-settings",
];

/// What fields say about their message.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) fields: HeaderMap,
    pub(super) hosts: Vec<HeaderValue>,
    pub(super) lengths: Vec<HeaderValue>,
    pub(super) codings: Vec<HeaderValue>,
    pub(super) close: bool,
    pub(super) continues: bool,
    pub(super) websocket: bool,
}

/// The fields of `block`: lines that end with CR LF.
///
/// # Errors
/// `framing` for what is no field, `head_too_large` for too many.
pub(crate) fn parse_lines(block: &[u8]) -> Result<HeaderMap, Code> {
    let mut fields = HeaderMap::new();
    let mut rest = block;
    while !rest.is_empty() {
        let end = rest
            .windows(2)
            .position(|pair| pair == b"\r\n")
            .ok_or(Code::Framing)?;
        let (line, more) = rest.split_at_checked(end).ok_or(Code::Framing)?;
        rest = more.get(2..).unwrap_or_default();
        let colon = line
            .iter()
            .position(|byte| *byte == b':')
            .ok_or(Code::Framing)?;
        let (name, value) = line.split_at_checked(colon).ok_or(Code::Framing)?;
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        if !value.iter().all(|byte| matches!(byte, b' '..=b'~')) {
            return Err(Code::Framing);
        }
        // A name with a space before its colon, or a folded line, is no name.
        let name = HeaderName::from_bytes(name).map_err(|_| Code::Framing)?;
        let value = HeaderValue::from_bytes(value).map_err(|_| Code::Framing)?;
        if fields.len() >= MAX_FIELDS {
            return Err(Code::HeadTooLarge);
        }
        fields.append(name, value);
    }
    Ok(fields)
}

/// Reads what the fields say about their message, and takes out those that go no further.
///
/// # Errors
/// With what they must not say.
pub(super) fn take(mut fields: HeaderMap) -> Result<Said, Code> {
    if fields.len() > MAX_FIELDS {
        return Err(Code::HeadTooLarge);
    }
    check_names(&fields)?;
    let (mut close, mut upgrade, mut nominated) = (false, false, Vec::new());
    for value in fields.get_all(header::CONNECTION) {
        for token in words(value)? {
            match token.as_str() {
                "close" => close = true,
                "upgrade" => upgrade = true,
                "keep-alive" | "te" => {}
                "http2-settings" => return Err(Code::UpgradeRefused),
                other if CRITICAL.contains(&other) => return Err(Code::Framing),
                other => nominated.push(HeaderName::try_from(other).map_err(|_| Code::Framing)?),
            }
        }
    }
    let websocket = websocket(&fields, upgrade)?;
    let continues = match one(&fields, &header::EXPECT).map_err(|()| Code::Expectation)? {
        None => false,
        Some(value) if value.as_bytes().eq_ignore_ascii_case(b"100-continue") => true,
        Some(_) => return Err(Code::Expectation),
    };
    let all = |name: HeaderName| fields.get_all(name).iter().cloned().collect::<Vec<_>>();
    let (hosts, lengths) = (all(header::HOST), all(header::CONTENT_LENGTH));
    let codings = all(header::TRANSFER_ENCODING);
    let trailers = fields
        .get(header::TE)
        .is_some_and(|te| te.as_bytes() == b"trailers");
    for name in &nominated {
        fields.remove(name);
    }
    for name in HOP_BY_HOP {
        fields.remove(*name);
    }
    if trailers {
        fields.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    Ok(Said {
        fields,
        hosts,
        lengths,
        codings,
        close,
        continues,
        websocket,
    })
}

/// Refuses names that mean a critical field to a program that takes `_` or `.` for `-`, and those that say of the request what
/// was judged elsewhere: its method, its path, its host.
fn check_names(fields: &HeaderMap) -> Result<(), Code> {
    for name in fields.keys() {
        let plain = name.as_str().replace(['_', '.'], "-");
        if overrides_method(&plain) {
            return Err(Code::MethodRefused);
        }
        if PATHS.contains(&plain.as_str()) {
            return Err(Code::PathAmbiguous);
        }
        if HOSTS.contains(&plain.as_str()) {
            return Err(Code::AuthorityMismatch);
        }
        let critical = CRITICAL.contains(&plain.as_str()) || HOP_BY_HOP.contains(&plain.as_str());
        if critical && plain != name.as_str() {
            return Err(Code::Framing);
        }
    }
    Ok(())
}

/// Whether the fields ask for a WebSocket, in the one way there is (RFC 6455, 4.1).
fn websocket(fields: &HeaderMap, upgrade: bool) -> Result<bool, Code> {
    let refused = |()| Code::UpgradeRefused;
    if fields.contains_key("http2-settings") {
        return Err(Code::UpgradeRefused);
    }
    let Some(protocol) = one(fields, &header::UPGRADE).map_err(refused)? else {
        return if upgrade {
            Err(Code::UpgradeRefused)
        } else {
            Ok(false)
        };
    };
    let version = one(fields, &header::SEC_WEBSOCKET_VERSION).map_err(refused)?;
    let key = one(fields, &header::SEC_WEBSOCKET_KEY).map_err(refused)?;
    let key = key.and_then(|key| base64::engine::general_purpose::STANDARD.decode(key).ok());
    let asks = upgrade
        && protocol.as_bytes().eq_ignore_ascii_case(b"websocket")
        && version.is_some_and(|version| version.as_bytes() == b"13")
        && key.is_some_and(|key| key.len() == 16);
    if asks {
        Ok(true)
    } else {
        Err(Code::UpgradeRefused)
    }
}

/// The one value of a field, if it is there at all.
pub(super) fn one<'a>(
    fields: &'a HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'a HeaderValue>, ()> {
    let mut values = fields.get_all(name).iter();
    match (values.next(), values.next()) {
        (first, None) => Ok(first),
        _ => Err(()),
    }
}

/// The words of a list, in small letters.
fn words(value: &HeaderValue) -> Result<Vec<String>, Code> {
    let text = value.to_str().map_err(|_| Code::Framing)?;
    let words = text
        .split(',')
        .map(|word| word.trim_matches(' ').to_ascii_lowercase());
    let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
    match words.len() <= MAX_FIELDS {
        true => Ok(words),
        false => Err(Code::HeadTooLarge),
    }
}

/// Whether a field may come after a body, in trailers.
pub(crate) fn is_trailer(name: &HeaderName) -> bool {
    let name = name.as_str();
    let refused = [CRITICAL, HOP_BY_HOP, PATHS, HOSTS];
    !refused.iter().any(|names| names.contains(&name)) && !overrides_method(name)
}
