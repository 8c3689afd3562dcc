//! Which sandbox, and which port of it, a request is for.

use http::{HeaderMap, header};

use crate::limits::ENVD_PORT;

const SANDBOX: &str = "e2b-sandbox-id";
const PORT: &str = "e2b-sandbox-port";

/// A port of a sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The sandbox's id, as the client has it.
    pub sandbox: String,
    /// The port.
    pub port: u16,
}

/// A request that says where it is to go, and cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// A header is there twice, or is no text.
    #[error("the header `{0}` has to be there once, as text")]
    Header(&'static str),
    /// The id is none.
    #[error("`E2b-Sandbox-Id` is not the id of a sandbox")]
    Id,
    /// The port is none.
    #[error("`E2b-Sandbox-Port` is not a port")]
    Port,
    /// The headers say another sandbox or port than the host.
    #[error("the headers and the host name different sandboxes or ports")]
    Torn,
}

impl Address {
    /// Where a request is to go, by its headers or by its host `{port}-{id}.{domain}`; nothing if it says neither.
    ///
    /// # Errors
    /// When it says something else, or two things.
    pub fn of(headers: &HeaderMap) -> Result<Option<Self>, AddressError> {
        let host = one(headers, header::HOST.as_str())
            .map_err(|()| AddressError::Header("Host"))?
            .and_then(Self::of_host);
        let sandbox = one(headers, SANDBOX).map_err(|()| AddressError::Header("E2b-Sandbox-Id"))?;
        let port = one(headers, PORT).map_err(|()| AddressError::Header("E2b-Sandbox-Port"))?;
        let Some(sandbox) = sandbox else {
            return Ok(host);
        };
        if !is_id(sandbox) {
            return Err(AddressError::Id);
        }
        let port = port
            .map(|port| port.parse().map_err(|_| AddressError::Port))
            .transpose()?;
        if let Some(host) = &host
            && (host.sandbox != sandbox || port.is_some_and(|port| port != host.port))
        {
            return Err(AddressError::Torn);
        }
        let by_host = host.map(|host| host.port);
        Ok(Some(Self {
            sandbox: sandbox.to_owned(),
            port: port.or(by_host).unwrap_or(ENVD_PORT),
        }))
    }

    fn of_host(host: &str) -> Option<Self> {
        let (label, domain) = host.split_once('.')?;
        let (port, sandbox) = label.split_once('-')?;
        let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        let port: u16 = port.parse().ok().filter(|port| digits && *port != 0)?;
        (is_id(sandbox) && !domain.is_empty()).then(|| Self {
            sandbox: sandbox.to_owned(),
            port,
        })
    }
}

/// The domain below which ports of sandboxes have names, for a client that reached us at `host`: what comes after `api.`, or the
/// host itself; below an address nothing has a name, but for this machine's own.
#[must_use]
pub fn domain_of(host: &str) -> Option<String> {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port))
            if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            (name, format!(":{port}"))
        }
        _ => (host, String::new()),
    };
    let letters = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
    let is_name = name.bytes().any(|byte| byte.is_ascii_alphabetic()) && name.bytes().all(letters);
    match name {
        "127.0.0.1" | "[::1]" => Some(format!("localhost{port}")),
        _ if is_name => Some(format!(
            "{}{port}",
            name.strip_prefix("api.").unwrap_or(name)
        )),
        _ => None,
    }
}

/// Ids are letters and digits, so that a host can name them; in a host their case does not count, so there is none.
fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

fn one<'h>(headers: &'h HeaderMap, name: &str) -> Result<Option<&'h str>, ()> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    match (value.to_str(), values.next()) {
        (Ok(value), None) => Ok(Some(value)),
        _ => Err(()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn of(pairs: &[(&'static str, &'static str)]) -> Result<Option<(String, u16)>, AddressError> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        let address = Address::of(&headers)?;
        Ok(address.map(|address| (address.sandbox, address.port)))
    }

    #[test]
    fn headers_and_hosts_name_a_sandbox_and_a_port() {
        for (pairs, sandbox, port) in [
            (&[("e2b-sandbox-id", "a1")][..], "a1", 49_983),
            (
                &[("e2b-sandbox-id", "a1"), ("e2b-sandbox-port", "49999")],
                "a1",
                49_999,
            ),
            (&[("host", "3000-a1.example.com:8443")], "a1", 3000),
            (
                &[("host", "3000-a1.example.com"), ("e2b-sandbox-id", "a1")],
                "a1",
                3000,
            ),
        ] {
            assert_eq!(of(pairs), Ok(Some((sandbox.to_owned(), port))), "{pairs:?}");
        }
        for host in [
            "127.0.0.1:7480",
            "localhost",
            "a-b.example",
            "0-a.example",
            "99999-a.example",
            "-a.example",
            "3000-.example",
            "3000-A.example",
            "+80-a.example",
        ] {
            assert_eq!(of(&[("host", host)]), Ok(None), "{host}");
        }
    }

    #[test]
    fn a_domain_is_a_name() {
        for (host, domain) in [
            ("127.0.0.1:7480", Some("localhost:7480")),
            ("[::1]:7480", Some("localhost:7480")),
            ("localhost", Some("localhost")),
            ("api.e2b.example:8443", Some("e2b.example:8443")),
            ("10.0.0.1:80", None),
            ("[fe80::1]:80", None),
            ("a/b.example", None),
        ] {
            assert_eq!(domain_of(host).as_deref(), domain, "{host}");
        }
    }

    #[test]
    fn what_says_two_things_says_nothing() {
        for (pairs, error) in [
            (
                &[("e2b-sandbox-id", "a"), ("e2b-sandbox-id", "b")][..],
                AddressError::Header("E2b-Sandbox-Id"),
            ),
            (&[("e2b-sandbox-id", "../a")], AddressError::Id),
            (&[("e2b-sandbox-id", "")], AddressError::Id),
            (
                &[("e2b-sandbox-id", "a"), ("e2b-sandbox-port", "65536")],
                AddressError::Port,
            ),
            (
                &[("e2b-sandbox-id", "a"), ("host", "80-b.example")],
                AddressError::Torn,
            ),
            (
                &[
                    ("e2b-sandbox-id", "a"),
                    ("e2b-sandbox-port", "81"),
                    ("host", "80-a.example"),
                ],
                AddressError::Torn,
            ),
        ] {
            assert_eq!(of(pairs), Err(error), "{pairs:?}");
        }
    }
}
