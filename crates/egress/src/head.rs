//! The head of a request, read from the bytes that came, before a library can make them better than they were.
//!
//! HTTP/1.1 is read here alone. HTTP/2 is read by its library, which refuses what is malformed, and its result goes
//! through the same checks.

mod fields;
mod path;
mod scan;
#[cfg(test)]
mod tests;

use http::{HeaderMap, HeaderValue, Method, Version};

use self::fields::Said;
pub(crate) use self::{
    fields::{is_trailer, parse_lines},
    path::Path,
    scan::Scan,
};
use crate::{Code, Host, Scheme, parse_authority};

/// A request's head that means one thing.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) method: Method,
    pub(crate) aim: Aim,
    /// Its fields, without those that end at this proxy.
    pub(crate) fields: HeaderMap,
    pub(crate) length: Length,
    /// Whether another request may follow.
    pub(crate) persists: bool,
    /// Whether the client waits for 100 (Continue) before it sends the body.
    pub(crate) continues: bool,
    /// Whether it asks for a WebSocket.
    pub(crate) websocket: bool,
}

/// What a request is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Aim {
    /// A tunnel.
    Tunnel { host: Host, port: u16 },
    /// A whole URL.
    Absolute {
        scheme: Scheme,
        host: Host,
        port: Option<u16>,
        path: Path,
    },
    /// A path of the host of the connection.
    Origin {
        host: Host,
        port: Option<u16>,
        path: Path,
    },
}

/// How long the body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    /// There is none.
    Nothing,
    /// So many bytes.
    Bytes(u64),
    /// As many as its chunks say.
    Chunked,
    /// Until its stream ends; only in HTTP/2.
    Stream,
}

impl Head {
    /// The head in `bytes`, which [`Scan`] found the end of.
    ///
    /// # Errors
    /// With the code of what it must not be.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Code> {
        let line_end = bytes
            .windows(2)
            .position(|pair| pair == b"\r\n")
            .ok_or(Code::Framing)?;
        let line = bytes
            .get(..line_end)
            .and_then(|line| std::str::from_utf8(line).ok());
        let lines = bytes
            .get(line_end + 2..)
            .and_then(|rest| rest.strip_suffix(b"\r\n"));
        let (line, lines) = line.zip(lines).ok_or(Code::Framing)?;
        let mut words = line.split(' ');
        let (Some(method), Some(target), Some(version), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(Code::Framing);
        };
        let version = match version {
            "HTTP/1.1" => Version::HTTP_11,
            "HTTP/1.0" => Version::HTTP_10,
            _ => return Err(Code::Framing),
        };
        let method = method_of(method)?;
        // It knows no chunks, in which an answer may come. What clients of older Pythons ask for has no answer but a tunnel.
        if version == Version::HTTP_10 && method != Method::CONNECT {
            return Err(Code::Framing);
        }
        let said = fields::take(parse_lines(lines)?)?;
        let host = host_of(&said.hosts)?;
        let length = length_of(&said, version)?;
        let aim = aim_of(&method, target, host)?;
        let bodiless = matches!(method, Method::GET | Method::HEAD | Method::CONNECT);
        if bodiless && !matches!(length, Length::Nothing | Length::Bytes(0)) {
            return Err(Code::Framing);
        }
        if said.websocket && (method != Method::GET || length != Length::Nothing) {
            return Err(Code::UpgradeRefused);
        }
        Ok(Self {
            persists: version == Version::HTTP_11 && !said.close,
            method,
            aim,
            fields: said.fields,
            length,
            continues: said.continues && length != Length::Nothing,
            websocket: said.websocket,
        })
    }

    /// The head of a stream of HTTP/2, whose library has refused what is malformed.
    ///
    /// # Errors
    /// As [`Head::parse`].
    pub(crate) fn of_stream(parts: &http::request::Parts, ended: bool) -> Result<Self, Code> {
        let method = method_of(parts.method.as_str())?;
        if method == Method::CONNECT {
            return Err(Code::MethodRefused);
        }
        if !parts.headers.values().all(|value| {
            value
                .as_bytes()
                .iter()
                .all(|byte| matches!(byte, b' '..=b'~'))
        }) {
            return Err(Code::Framing);
        }
        let said = fields::take(parts.headers.clone())?;
        if said.websocket || !said.codings.is_empty() {
            return Err(Code::Framing);
        }
        if parts
            .uri
            .scheme_str()
            .is_some_and(|scheme| scheme != "https")
        {
            return Err(Code::Framing);
        }
        let named = host_of(&said.hosts)?;
        let authority = parts
            .uri
            .authority()
            .map(|authority| parse_authority(authority.as_str().as_bytes()));
        let (host, port) = match (authority.transpose()?, named) {
            (Some(authority), Some(named)) if authority != named => return Err(Code::Framing),
            (Some(host), _) | (None, Some(host)) => host,
            (None, None) => return Err(Code::Framing),
        };
        let path = parts.uri.path_and_query().map_or("", |path| path.as_str());
        let path = Path::parse(path)?;
        let length = match (ended, length_of(&said, Version::HTTP_2)?) {
            (true, Length::Bytes(1..)) => return Err(Code::Framing),
            (true, _) => Length::Nothing,
            (false, Length::Nothing) => Length::Stream,
            (false, length) => length,
        };
        let bodiless = matches!(method, Method::GET | Method::HEAD);
        if bodiless && !matches!(length, Length::Nothing | Length::Bytes(0)) {
            return Err(Code::Framing);
        }
        Ok(Self {
            method,
            aim: Aim::Origin { host, port, path },
            fields: said.fields,
            length,
            persists: true,
            continues: false,
            websocket: false,
        })
    }
}

/// The methods that are forwarded, and `CONNECT`.
fn method_of(text: &str) -> Result<Method, Code> {
    const METHODS: [Method; 8] = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
        Method::OPTIONS,
        Method::CONNECT,
    ];
    let method = METHODS.into_iter().find(|method| method.as_str() == text);
    method.ok_or(Code::MethodRefused)
}

fn host_of(hosts: &[HeaderValue]) -> Result<Option<(Host, Option<u16>)>, Code> {
    match hosts {
        [] => Ok(None),
        [host] => parse_authority(host.as_bytes()).map(Some),
        _ => Err(Code::Framing),
    }
}

fn length_of(said: &Said, version: Version) -> Result<Length, Code> {
    match (said.lengths.as_slice(), said.codings.as_slice()) {
        ([], []) => Ok(Length::Nothing),
        ([], [coding]) if coding.as_bytes() == b"chunked" && version == Version::HTTP_11 => {
            Ok(Length::Chunked)
        }
        ([length], []) => decimal(length.as_bytes())
            .map(Length::Bytes)
            .ok_or(Code::Framing),
        _ => Err(Code::Framing),
    }
}

/// Digits, in the one way to write a number.
fn decimal(digits: &[u8]) -> Option<u64> {
    let plain = digits == b"0" || !digits.starts_with(b"0");
    let text = std::str::from_utf8(digits).ok()?;
    let all = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| plain && all)
}

fn aim_of(method: &Method, target: &str, named: Option<(Host, Option<u16>)>) -> Result<Aim, Code> {
    if *method == Method::CONNECT {
        let (host, port) = parse_authority(target.as_bytes())?;
        let port = port.ok_or(Code::HostSyntax)?;
        // A `Host` beside it says the same, with or without the port.
        return match named {
            Some((other, other_port))
                if other != host || other_port.is_some_and(|other| other != port) =>
            {
                Err(Code::Framing)
            }
            _ => Ok(Aim::Tunnel { host, port }),
        };
    }
    let (host, port) = named.ok_or(Code::Framing)?;
    if target.starts_with('/') {
        return Ok(Aim::Origin {
            host,
            port,
            path: Path::parse(target)?,
        });
    }
    let (scheme, rest) = match (
        target.strip_prefix("http://"),
        target.strip_prefix("https://"),
    ) {
        (Some(rest), _) => (Scheme::Http, rest),
        (_, Some(rest)) => (Scheme::Https, rest),
        _ => return Err(Code::PathAmbiguous),
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (wanted, wanted_port) = parse_authority(authority.as_bytes())?;
    let same_port = wanted_port.unwrap_or(scheme.port()) == port.unwrap_or(scheme.port());
    if wanted != host || !same_port {
        return Err(Code::Framing);
    }
    let path = Path::parse(if path.is_empty() { "/" } else { path })?;
    Ok(Aim::Absolute {
        scheme,
        host: wanted,
        port: wanted_port,
        path,
    })
}
