//! Where a decider lets requests go to at all, as its hello says.

use std::{collections::BTreeSet, net::IpAddr};

/// Entries are a name, `*.` and a name, or an address; each with a port, or for all of them.
#[derive(Debug)]
pub(crate) struct Listed {
    allowed: Vec<Entry>,
    denied: Vec<Entry>,
}

#[derive(Debug, PartialEq, Eq)]
struct Entry {
    host: Host,
    port: Option<u16>,
}

#[derive(Debug, PartialEq, Eq)]
enum Host {
    Name(String),
    Below(String),
    Address(IpAddr),
}

impl Listed {
    pub(crate) fn new(allowed: &[String], denied: &[String]) -> Option<Self> {
        Some(Self {
            allowed: entries(allowed)?,
            denied: entries(denied)?,
        })
    }

    /// Whether it would let anything go there. Nothing goes anywhere if it lists nothing.
    pub(crate) fn permits(&self, host: &str, port: u16) -> bool {
        let meant = |entries: &[Entry]| entries.iter().any(|entry| entry.is_meant(host, port));
        meant(&self.allowed) && !meant(&self.denied)
    }
}

fn entries(texts: &[String]) -> Option<Vec<Entry>> {
    let once: BTreeSet<_> = texts.iter().collect();
    (once.len() == texts.len()).then_some(())?;
    texts.iter().map(|text| Entry::parse(text)).collect()
}

impl Entry {
    fn parse(text: &str) -> Option<Self> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, rest) = rest.split_once(']')?;
                address.contains(':').then_some(())?;
                let port = rest.strip_prefix(':');
                (port.is_some() || rest.is_empty()).then_some(())?;
                (address, port)
            }
            None if text.parse::<IpAddr>().is_ok() => (text, None),
            None => match text.rsplit_once(':') {
                // An address with a port has brackets if it has colons.
                Some((host, port)) if !host.contains(':') => (host, Some(port)),
                Some(_) => return None,
                None => (text, None),
            },
        };
        Some(Self {
            host: Host::parse(host)?,
            port: match port {
                Some(digits) => Some(parse_port(digits)?),
                None => None,
            },
        })
    }

    fn is_meant(&self, host: &str, port: u16) -> bool {
        let same = match &self.host {
            Host::Name(name) => name == host,
            Host::Below(suffix) => host
                .strip_suffix(suffix.as_str())
                .is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')),
            Host::Address(address) => host.parse::<IpAddr>().is_ok_and(|host| host == *address),
        };
        same && self.port.is_none_or(|only| only == port)
    }
}

impl Host {
    fn parse(text: &str) -> Option<Self> {
        if let Ok(address) = text.parse() {
            return Some(Self::Address(address));
        }
        let below = text.strip_prefix("*.");
        let name = below.unwrap_or(text);
        let is_label = |label: &str| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        };
        // A last label that begins with a letter is no spelling of an address.
        let last = name.rsplit('.').next()?;
        let good = name.len() <= 253
            && name.split('.').all(is_label)
            && last.starts_with(|first: char| first.is_ascii_lowercase())
            && (below.is_none() || name.contains('.'));
        good.then(|| match below {
            Some(name) => Self::Below(name.to_owned()),
            None => Self::Name(name.to_owned()),
        })
    }
}

fn parse_port(digits: &str) -> Option<u16> {
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
    plain.then(|| digits.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(allowed: &[&str], denied: &[&str]) -> Option<Listed> {
        let texts = |all: &[&str]| all.iter().map(ToString::to_string).collect::<Vec<_>>();
        Listed::new(&texts(allowed), &texts(denied))
    }

    #[test]
    fn only_what_is_listed_and_not_denied_is_permitted() {
        let listed = listed(
            &[
                "a.test",
                "*.b.test",
                "c.test:8443",
                "192.0.2.1",
                "[2001:db8::1]:443",
            ],
            &["x.b.test"],
        )
        .unwrap();
        for (host, port) in [
            ("a.test", 443),
            ("a.test", 1),
            ("y.b.test", 443),
            ("c.test", 8443),
            ("192.0.2.1", 80),
            ("2001:db8::1", 443),
        ] {
            assert!(listed.permits(host, port), "{host}:{port}");
        }
        for (host, port) in [
            ("b.test", 443),
            (".b.test", 443),
            ("evilb.test", 443),
            ("x.b.test", 443),
            ("c.test", 443),
            ("2001:db8::1", 80),
            ("A.test", 443),
            ("x.a.test", 443),
            ("", 443),
        ] {
            assert!(!listed.permits(host, port), "{host}:{port}");
        }
        assert!(
            !super::tests::listed(&[], &[])
                .unwrap()
                .permits("a.test", 443)
        );
    }

    #[test]
    fn entries_that_could_mean_something_else_are_refused() {
        for bad in [
            "",
            "*",
            "*.",
            "*.test",
            "A.test",
            "a..test",
            "-a.test",
            "a_b.test",
            "a.test:",
            "a.test:0",
            "a.test:080",
            "a.test:65536",
            "a.test:+1",
            "https://a.test",
            "a.test/",
            "1.2",
            "0x7f.1",
            "a.1",
            "[a.test]",
            "[1.2.3.4]",
            "[::1",
            "[::1]x",
            "[::1]:",
            "::1:443x",
            "é.test",
            "a b.test",
        ] {
            assert!(listed(&[bad], &[]).is_none(), "{bad}");
            assert!(listed(&[], &[bad]).is_none(), "{bad}");
        }
        assert!(listed(&["a.test", "a.test"], &[]).is_none());
    }
}
