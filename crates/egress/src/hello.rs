//! What a TLS client says first, put together from the records that it comes in.
//!
//! The bytes go on to rustls as they came; here it is only found out for whom they are, before anything is answered.

use crate::{
    Code, Name,
    limits::{MAX_ALPN, MAX_HELLO_BYTES, MAX_HELLO_RECORDS},
};

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const MAX_RECORD_BYTES: usize = 1 << 14;
const SERVER_NAME: u16 = 0;
const ALPN: u16 = 16;
/// The version field of TLS 1.2, which 1.3 sends too. What is older is not spoken.
const VERSION: u16 = 0x0303;

/// A ClientHello.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    /// The name that the client expects.
    pub(crate) server_name: Option<Name>,
    /// Whether it speaks HTTP/2.
    pub(crate) offers_h2: bool,
    /// Whether it offers protocols, and none of them is HTTP.
    pub(crate) offers_no_http: bool,
}

/// The ClientHello at the beginning of a connection, if it is there whole. The same bytes give the same answer,
/// however they come.
///
/// # Errors
/// `not_tls` as soon as it cannot become one, `tls_handshake` for one that is not well formed.
pub(crate) fn read(buffer: &[u8]) -> Result<Option<Hello>, Code> {
    let (mut rest, mut message) = (buffer, Vec::new());
    for _ in 0..MAX_HELLO_RECORDS {
        let Some(payload) = record(&mut rest)? else {
            return Ok(None);
        };
        message.extend_from_slice(payload.bytes);
        if let [kind, ..] = message.as_slice()
            && *kind != CLIENT_HELLO
        {
            return Err(Code::NotTls);
        }
        if let [_, a, b, c, ..] = message.as_slice() {
            let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
            if length > MAX_HELLO_BYTES {
                return Err(Code::TlsHandshake);
            }
            match message.len().cmp(&(length + 4)) {
                std::cmp::Ordering::Less => {}
                // Something after the first message, before we answered it.
                std::cmp::Ordering::Greater => return Err(Code::TlsHandshake),
                std::cmp::Ordering::Equal if payload.whole => {
                    return hello(message.get(4..).unwrap_or_default()).map(Some);
                }
                std::cmp::Ordering::Equal => {}
            }
        }
        if !payload.whole {
            return Ok(None);
        }
    }
    Err(Code::TlsHandshake)
}

struct Payload<'a> {
    bytes: &'a [u8],
    whole: bool,
}

/// The payload of the next record, as far as it is there.
fn record<'a>(rest: &mut &'a [u8]) -> Result<Option<Payload<'a>>, Code> {
    match **rest {
        [] => return Ok(None),
        [kind, ..] if kind != HANDSHAKE => return Err(Code::NotTls),
        [_, major, ..] if major != 3 => return Err(Code::NotTls),
        [_, _, minor, ..] if minor > 3 => return Err(Code::NotTls),
        _ => {}
    }
    let [_, _, _, high, low, body @ ..] = *rest else {
        return Ok(None);
    };
    let length = usize::from(*high) << 8 | usize::from(*low);
    if length == 0 || length > MAX_RECORD_BYTES {
        return Err(Code::NotTls);
    }
    let there = body.len().min(length);
    let (bytes, more) = body.split_at_checked(there).unwrap_or_default();
    *rest = more;
    Ok(Some(Payload {
        bytes,
        whole: there == length,
    }))
}

/// Reads bytes from the front.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Code> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Code::TlsHandshake)?;
        self.0 = rest;
        Ok(taken)
    }

    fn number(&mut self, bytes: usize) -> Result<usize, Code> {
        let bytes = self.take(bytes)?;
        Ok(bytes
            .iter()
            .fold(0, |sum, byte| sum << 8 | usize::from(*byte)))
    }

    /// What a length of `bytes` bytes is in front of.
    fn vector(&mut self, bytes: usize) -> Result<Reader<'a>, Code> {
        let length = self.number(bytes)?;
        self.take(length).map(Reader)
    }

    fn end(&self) -> Result<(), Code> {
        match self.0.is_empty() {
            true => Ok(()),
            false => Err(Code::TlsHandshake),
        }
    }
}

fn hello(message: &[u8]) -> Result<Hello, Code> {
    let mut reader = Reader(message);
    if reader.number(2)? != usize::from(VERSION) {
        return Err(Code::TlsHandshake);
    }
    reader.take(32)?;
    let session = reader.vector(1)?;
    let suites = reader.vector(2)?;
    let compressions = reader.vector(1)?;
    if session.0.len() > 32
        || suites.0.is_empty()
        || suites.0.len() % 2 != 0
        || compressions.0 != [0]
    {
        return Err(Code::TlsHandshake);
    }
    let mut found = Hello {
        server_name: None,
        offers_h2: false,
        offers_no_http: false,
    };
    let mut extensions = reader.vector(2)?;
    reader.end()?;
    let mut seen = std::collections::BTreeSet::new();
    while !extensions.0.is_empty() {
        let kind = extensions.number(2)?;
        let body = extensions.vector(2)?;
        if !seen.insert(kind) {
            return Err(Code::TlsHandshake);
        }
        match u16::try_from(kind) {
            Ok(SERVER_NAME) => found.server_name = Some(server_name(body)?),
            Ok(ALPN) => (found.offers_h2, found.offers_no_http) = alpn(body)?,
            _ => {}
        }
    }
    Ok(found)
}

/// The one host name (RFC 6066, 3). It has no dot at its end, so one is not left out here.
fn server_name(mut body: Reader<'_>) -> Result<Name, Code> {
    let mut list = body.vector(2)?;
    body.end()?;
    let kind = list.number(1)?;
    let name = list.vector(2)?;
    list.end()?;
    let text = std::str::from_utf8(name.0)
        .ok()
        .filter(|text| !text.ends_with('.'));
    match (kind, text) {
        (0, Some(text)) => Name::parse(text),
        (0, None) => Err(Code::HostSyntax),
        _ => Err(Code::TlsHandshake),
    }
}

fn alpn(mut body: Reader<'_>) -> Result<(bool, bool), Code> {
    let mut list = body.vector(2)?;
    body.end()?;
    let (mut h2, mut http) = (false, false);
    for _ in 0..MAX_ALPN {
        if list.0.is_empty() {
            return Ok((h2, !h2 && !http));
        }
        match list.vector(1)?.0 {
            [] => return Err(Code::TlsHandshake),
            b"h2" => h2 = true,
            b"http/1.1" => http = true,
            _ => {}
        }
    }
    match list.0.is_empty() {
        true => Ok((h2, !h2 && !http)),
        false => Err(Code::TlsHandshake),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use rustls::{ClientConfig, ClientConnection, RootCertStore, pki_types::ServerName};

    use super::*;

    /// The message of a ClientHello of rustls, without its record.
    fn message(name: &'static str, alpn: &[&[u8]]) -> Vec<u8> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|one| one.to_vec()).collect();
        let name = ServerName::try_from(name).unwrap();
        let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        bytes[5..].to_vec()
    }

    /// Records of these sizes, then one with the rest.
    fn records(message: &[u8], sizes: &[usize]) -> Vec<u8> {
        let (mut bytes, mut rest) = (Vec::new(), message);
        let sizes = sizes.iter().copied().chain([MAX_RECORD_BYTES; 4]);
        for size in sizes {
            let (now, later) = rest.split_at(size.clamp(1, MAX_RECORD_BYTES).min(rest.len()));
            if now.is_empty() {
                break;
            }
            bytes.extend([22, 3, 1]);
            bytes.extend(u16::try_from(now.len()).unwrap().to_be_bytes());
            bytes.extend(now);
            rest = later;
        }
        bytes
    }

    #[test]
    fn a_hello_says_for_whom_it_is() {
        let bytes = records(&message("good.test", &[b"h2", b"http/1.1"]), &[]);
        let hello = read(&bytes).unwrap().unwrap();
        assert_eq!(hello.server_name, Some(Name::parse("good.test").unwrap()));
        assert!(hello.offers_h2 && !hello.offers_no_http);
        let other = read(&records(&message("good.test", &[b"acme-tls/1"]), &[]))
            .unwrap()
            .unwrap();
        assert!(other.offers_no_http);
        let address = read(&records(&message("127.0.0.1", &[]), &[]))
            .unwrap()
            .unwrap();
        assert_eq!(address.server_name, None);
    }

    /// What is not TLS is known by its first bytes. (T12)
    #[test]
    fn other_protocols_are_refused_at_once() {
        for bytes in [
            &b"PRI * HTTP/2.0\r\n"[..],
            b"GET",
            b"SSH-2.0-",
            b"\0",
            b"\x16\x02",
            b"\x16\x03\x04",
            b"\x16\x03\x01\0\0",
            b"\x16\x03\x01\x40\x01",
            b"\x15\x03\x01",
            b"\x16\x03\x01\0\x01\x02",
            b"\x80\x2e\x01\x03\x01",
        ] {
            assert_eq!(read(bytes), Err(Code::NotTls), "{bytes:?}");
        }
    }

    #[test]
    fn malformed_hellos_are_refused() {
        let good = message("good.test", &[b"h2"]);
        let mut longer = good.clone();
        longer.push(1);
        assert_eq!(read(&records(&longer, &[])), Err(Code::TlsHandshake));
        // TLS 1.1.
        let mut old = good.clone();
        old[5] = 2;
        assert_eq!(read(&records(&old, &[])), Err(Code::TlsHandshake));
        // A length that never comes.
        assert_eq!(
            read(&records(&[1, 255, 255, 255], &[])),
            Err(Code::TlsHandshake)
        );
        // Records of one byte without end.
        assert_eq!(
            read(&records(&good, &[1; MAX_HELLO_RECORDS])),
            Err(Code::TlsHandshake)
        );
        // The name, spelled with a dot at its end or with an escape.
        let at = good
            .windows(9)
            .position(|window| window == b"good.test")
            .unwrap();
        for (offset, byte) in [(8, b'.'), (0, b'%'), (4, 0)] {
            let mut odd = good.clone();
            odd[at + offset] = byte;
            assert_eq!(read(&records(&odd, &[])), Err(Code::HostSyntax));
        }
    }

    proptest! {
        /// However it comes, in records or segments, it says the same; before its end it says nothing. (T01 to T03)
        #[test]
        fn any_splitting_gives_the_same_hello(sizes in prop::collection::vec(1usize..40, 0..20)) {
            let message = message("good.test", &[b"http/1.1"]);
            let bytes = records(&message, &sizes);
            let whole = read(&records(&message, &[])).unwrap();
            for end in 0..bytes.len() {
                prop_assert_eq!(read(&bytes[..end]), Ok(None), "{}", end);
            }
            prop_assert_eq!(read(&bytes).unwrap(), whole);
        }

        /// Anything else than a hello is refused or waited for, never taken for one, and nothing breaks.
        #[test]
        fn broken_hellos_never_change_their_mind(at in 0usize..500, byte in any::<u8>()) {
            let mut bytes = records(&message("good.test", &[b"http/1.1"]), &[100]);
            let at = at % bytes.len();
            bytes[at] = byte;
            let mut refused = None;
            for end in 0..=bytes.len() {
                let found = read(&bytes[..end]);
                if let Some(code) = refused {
                    prop_assert_eq!(found, Err(code));
                } else if let Err(code) = found {
                    refused = Some(code);
                }
            }
        }
    }
}
