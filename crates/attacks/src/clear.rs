//! Whether a request that arrived means one thing to everybody.

const METHODS: &[&str] = &["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
/// Fields by which frameworks take another method than the first line's.
const HIDDEN_METHODS: &[&str] = &[
    "x-http-method-override",
    "x-method-override",
    "x-http-method",
];
/// Fields that some servers also know with `_` or `.` for `-`.
const CRITICAL: &[&str] = &[
    "content-length",
    "transfer-encoding",
    "host",
    "x-forwarded-for",
    "proxy-authorization",
    "http2-settings",
];
/// What `Connection` may name.
const OF_A_CONNECTION: &[&str] = &["close", "keep-alive", "upgrade", "te"];

/// How long the body behind a head is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    Bytes(usize),
    Chunks,
}

/// What can be read in two ways in a head that arrived at `authority`, or how long its body is.
pub(crate) fn read(head: &[u8], authority: &str) -> Result<Length, &'static str> {
    let text = std::str::from_utf8(head).map_err(|_| "bytes that are no ASCII")?;
    if !text.is_ascii() {
        return Err("bytes that are no ASCII");
    }
    let text = text.strip_suffix("\r\n\r\n").ok_or("an end without CR")?;
    let lines: Vec<_> = text.split("\r\n").collect();
    if lines
        .iter()
        .any(|line| line.contains(|char: char| char.is_ascii_control() && char != '\t'))
    {
        return Err("control characters");
    }
    let (line, fields) = lines.split_first().ok_or("nothing")?;
    let mut words = line.split(' ');
    let (Some(method), Some(path), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err("a first line that is none");
    };
    if !METHODS.contains(&method) {
        return Err("a method that is not forwarded");
    }
    if !["HTTP/1.1", "HTTP/1.0"].contains(&version) {
        return Err("a version that is none");
    }
    if !is_clear(path) {
        return Err("a path that means two things");
    }
    let (mut hosts, mut lengths, mut codings) = (Vec::new(), Vec::new(), Vec::new());
    for field in fields {
        let (name, value) = field.split_once(':').ok_or("a line that is no field")?;
        let is_token =
            |char: char| char.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(char);
        if name.is_empty() || !name.chars().all(is_token) {
            return Err("a name that is none");
        }
        let (name, value) = (name.to_ascii_lowercase(), value.trim_matches([' ', '\t']));
        let plain = name.replace(['_', '.'], "-");
        if HIDDEN_METHODS.contains(&plain.as_str()) {
            return Err("a second method");
        }
        if plain != name && CRITICAL.contains(&plain.as_str()) {
            return Err("a field in another spelling");
        }
        match name.as_str() {
            "host" => hosts.push(value),
            "content-length" => lengths.push(value),
            "transfer-encoding" => codings.push(value.to_ascii_lowercase()),
            "http2-settings" => return Err("another protocol"),
            "upgrade" if !value.eq_ignore_ascii_case("websocket") => {
                return Err("another protocol");
            }
            "expect" if !value.eq_ignore_ascii_case("100-continue") => {
                return Err("an expectation");
            }
            "connection" => {
                let mut named = value.split(',').map(|one| one.trim().to_ascii_lowercase());
                if !named.all(|one| OF_A_CONNECTION.contains(&one.as_str())) {
                    return Err("fields that Connection takes out");
                }
            }
            _ => {}
        }
    }
    match hosts.as_slice() {
        [host] if is_same(host, authority) => {}
        [_] => return Err("another host"),
        _ => return Err("no host, or two"),
    }
    match (lengths.as_slice(), codings.as_slice()) {
        ([], []) => Ok(Length::Bytes(0)),
        ([length], []) if is_number(length) => {
            Ok(Length::Bytes(length.parse().map_err(|_| "a length")?))
        }
        ([], [coding]) if coding == "chunked" && version == "HTTP/1.1" => Ok(Length::Chunks),
        _ => Err("two lengths, or one that is none"),
    }
}

fn is_same(host: &str, authority: &str) -> bool {
    let host = host.to_ascii_lowercase().replace(".:", ":");
    host.trim_end_matches('.') == authority || authority.strip_suffix(":443") == Some(&host)
}

fn is_number(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
        && (text == "0" || !text.starts_with('0'))
        && !text.is_empty()
}

/// Whether a path has its one spelling.
fn is_clear(target: &str) -> bool {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let Some(segments) = path.strip_prefix('/') else {
        return false;
    };
    let last = segments.split('/').count() - 1;
    let segments_are_clear = segments.split('/').enumerate().all(|(at, segment)| {
        ![".", ".."].contains(&segment) && (at == last || !segment.is_empty())
    });
    segments_are_clear && is_spelt(path.as_bytes(), b"") && is_spelt(query.as_bytes(), b"?;[]|^{}")
}

fn is_spelt(mut bytes: &[u8], more: &[u8]) -> bool {
    let mut decoded = Vec::new();
    loop {
        match bytes {
            [] => return std::str::from_utf8(&decoded).is_ok(),
            [b'%', high, low, rest @ ..] => {
                let pair = [*high, *low];
                let Some(byte) = std::str::from_utf8(&pair)
                    .ok()
                    .filter(|pair| pair.bytes().all(|byte| byte.is_ascii_hexdigit()))
                    .and_then(|pair| u8::from_str_radix(pair, 16).ok())
                else {
                    return false;
                };
                let unreserved = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
                if more.is_empty()
                    && (unreserved || byte.is_ascii_control() || b"/\\%".contains(&byte))
                {
                    return false;
                }
                decoded.push(byte);
                bytes = rest;
            }
            [byte, rest @ ..] => {
                let is_fine = byte.is_ascii_alphanumeric()
                    || b"-._~!$&'()*+,=:@/".contains(byte)
                    || more.contains(byte);
                if !is_fine {
                    return false;
                }
                decoded.push(*byte);
                bytes = rest;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "good.test:8443";

    #[test]
    fn what_means_one_thing_is_clear() {
        for head in [
            "GET / HTTP/1.1\r\nHost: good.test:8443\r\n\r\n",
            "POST /a/b?c=%2e%2e HTTP/1.1\r\nhost: GOOD.test.:8443\r\ncontent-length: 10\r\nConnection: keep-alive\r\n\r\n",
        ] {
            read(head.as_bytes(), GOOD).unwrap();
        }
        let chunks =
            "POST / HTTP/1.1\r\nHost: good.test:8443\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(read(chunks.as_bytes(), GOOD), Ok(Length::Chunks));
    }

    #[test]
    fn what_means_two_things_is_not() {
        for head in [
            "GET / HTTP/1.1\nHost: good.test:8443\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: evil.test:8443\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: good.test:8443\r\nHost: good.test:8443\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: good.test:8443\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: good.test:8443\r\nContent-Length: +1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: good.test:8443\r\nContent_Length: 1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: good.test:8443\r\nConnection: authorization\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: good.test:8443\r\nX: a\r\n b\r\n\r\n",
            "GET /a/../b HTTP/1.1\r\nHost: good.test:8443\r\n\r\n",
            "GET /a/%2E%2e/b HTTP/1.1\r\nHost: good.test:8443\r\n\r\n",
            "GET //a HTTP/1.1\r\nHost: good.test:8443\r\n\r\n",
            "GET /a%2fb HTTP/1.1\r\nHost: good.test:8443\r\n\r\n",
            "GET https://good.test:8443/ HTTP/1.1\r\nHost: good.test:8443\r\n\r\n",
            "TRACE / HTTP/1.1\r\nHost: good.test:8443\r\n\r\n",
            "GET /\u{e9} HTTP/1.1\r\nHost: good.test:8443\r\n\r\n",
        ] {
            assert!(read(head.as_bytes(), GOOD).is_err(), "{head:?}");
        }
    }
}
