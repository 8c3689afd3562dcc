//! Hosts as clients write them. What could be read in two ways is refused, not mended.

use std::{fmt, net::IpAddr, str};

use crate::{
    Code,
    limits::{MAX_LABEL_BYTES, MAX_NAME_BYTES},
};

/// A host name in lower-case letters, digits and hyphens, without a dot at its end. A name in another alphabet is in
/// its ASCII form (`xn--`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(String);

impl Name {
    /// The name that `text` spells; one dot at its end is left out, capitals become small.
    ///
    /// # Errors
    /// `addr_literal` for what some program would take for an address, `host_syntax` for what is no name.
    pub fn parse(text: &str) -> Result<Self, Code> {
        let text = text.strip_suffix('.').unwrap_or(text);
        let is_label = |label: &str| {
            (1..=MAX_LABEL_BYTES).contains(&label.len())
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        if text.len() > MAX_NAME_BYTES || !text.split('.').all(is_label) {
            return Err(Code::HostSyntax);
        }
        match text.rsplit('.').next().is_some_and(is_number) {
            true => Err(Code::AddrLiteral),
            false => Ok(Self(text.to_ascii_lowercase())),
        }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether a name with this last label is an address to `getaddrinfo` and browsers: `127.1`, `0x7f000001`.
fn is_number(label: &str) -> bool {
    let hex = label
        .strip_prefix("0x")
        .or_else(|| label.strip_prefix("0X"));
    hex.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
        || label.bytes().all(|byte| byte.is_ascii_digit())
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A name, or an address in its one plain spelling.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Host {
    /// A name.
    Name(Name),
    /// An address.
    Address(IpAddr),
}

impl Host {
    /// The host that `text` spells, with brackets around an address of IPv6.
    ///
    /// # Errors
    /// As [`Name::parse`].
    pub fn parse(text: &str) -> Result<Self, Code> {
        if let Some(inner) = text.strip_prefix('[') {
            let inner = inner.strip_suffix(']').ok_or(Code::HostSyntax)?;
            let address = inner.parse().map_err(|_| Code::HostSyntax)?;
            return Ok(Self::Address(IpAddr::V6(address)));
        }
        match text.parse() {
            Ok(address) => Ok(Self::Address(IpAddr::V4(address))),
            Err(_) => Name::parse(text).map(Self::Name),
        }
    }

    /// The name, if it is one.
    #[must_use]
    pub const fn name(&self) -> Option<&Name> {
        match self {
            Self::Name(name) => Some(name),
            Self::Address(_) => None,
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::Address(IpAddr::V4(v4)) => v4.fmt(f),
            Self::Address(IpAddr::V6(v6)) => write!(f, "[{v6}]"),
        }
    }
}

/// A host and, if there is one, a port: an authority without a user.
///
/// # Errors
/// As [`Name::parse`], and `host_syntax` for a port that is none.
pub fn parse_authority(bytes: &[u8]) -> Result<(Host, Option<u16>), Code> {
    let text = str::from_utf8(bytes).ok().filter(|text| text.is_ascii());
    let text = text.ok_or(Code::HostSyntax)?;
    let port_at = match text.rfind(']') {
        Some(end) => text
            .get(end..)
            .and_then(|rest| rest.find(':'))
            .map(|at| end + at),
        None => text.find(':'),
    };
    let Some((host, port)) = port_at.and_then(|at| text.split_at_checked(at)) else {
        return Ok((Host::parse(text)?, None));
    };
    let digits = port.strip_prefix(':').unwrap_or_default();
    let plain = !digits.is_empty()
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && !digits.starts_with('0');
    let port = digits
        .parse()
        .ok()
        .filter(|_| plain)
        .ok_or(Code::HostSyntax)?;
    Ok((Host::parse(host)?, Some(port)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Spellings that some program reads as another host. (A06, A17, N04, N06 to N11)
    #[test]
    fn odd_spellings_are_refused() {
        for number in [
            "2130706433",
            "0177.0.0.1",
            "0x7f000001",
            "127.1",
            "0",
            "0x",
            "1.2.3.4.5",
            "good.1",
            "127.0.0.1.",
            "good.0X7F",
        ] {
            assert_eq!(Host::parse(number), Err(Code::AddrLiteral), "{number}");
        }
        for odd in [
            "",
            ".",
            "..",
            "good..test",
            ".good.test",
            "good.test..",
            "-good.test",
            "good-.test",
            "go_od.test",
            "%67ood.test",
            "good%2etest",
            "good.test\0",
            "good.test\0.evil.test",
            "[good.test]",
            "[::1",
            "good.test]",
            "good.test@evil.test",
            "evil.test#@good.test",
            "evil.test\\@good.test",
            "good.test/",
            "good test",
            "①②⑦.⓪.⓪.①",
            "127。0。0。1",
            "аpple.com",
            "ｇood.test",
            "[fe80::1%25eth0]",
            "[::1%lo]",
            "::1",
            "*.good.test",
        ] {
            assert_eq!(Host::parse(odd), Err(Code::HostSyntax), "{odd}");
        }
        for long in ["a".repeat(64) + ".test", "a.".repeat(127) + "test"] {
            assert_eq!(Host::parse(&long), Err(Code::HostSyntax), "{long}");
        }
        for port in [
            "good.test:443:80",
            "good.test:0",
            "good.test:65536",
            "good.test:+443",
            "good.test: 443",
            "good.test:",
            "good.test:0443",
            "[::1]443",
            "[::1]:",
            "[::1]x:1",
        ] {
            assert_eq!(
                parse_authority(port.as_bytes()),
                Err(Code::HostSyntax),
                "{port}"
            );
        }
    }

    #[test]
    fn case_and_one_dot_do_not_matter() {
        let name = |text: &str| Name::parse(text).unwrap();
        assert_eq!(name("GOOD.test."), name("good.test"));
        assert_eq!(parse_authority(b"[2001:db8::1]:443").unwrap().1, Some(443));
        assert_eq!(parse_authority(b"xn--pple-43d.com").unwrap().1, None);
    }

    proptest! {
        /// What is accepted here means the same to the URL standard, whatever it is.
        #[test]
        fn accepted_hosts_mean_the_same_to_others(text in "[a-zA-Z0-9.:%\\[\\]\\-@x]{1,24}|[0-9a-fx.]{1,16}|\\[[0-9a-f:.]{2,20}\\]") {
            if let Ok(host) = Host::parse(&text) {
                // Names in the ASCII form of another alphabet are checked further there, and refused at most.
                let Ok(theirs) = url::Host::parse(&text) else {
                    prop_assert!(text.to_ascii_lowercase().contains("xn--"), "{}", text);
                    return Ok(());
                };
                let ours = host.to_string();
                let theirs = theirs.to_string();
                prop_assert_eq!(theirs.trim_end_matches('.'), ours);
            }
        }

        /// An authority reads the same as in a URL.
        #[test]
        fn accepted_authorities_mean_the_same_to_others(text in "[a-z0-9.:@\\[\\]\\-]{1,20}(:[0-9+ ]{0,6})?") {
            if let Ok((host, port)) = parse_authority(text.as_bytes()) {
                let Ok(url) = url::Url::parse(&format!("foo://{text}/")) else {
                    prop_assert!(false, "{} is no URL's", text);
                    return Ok(());
                };
                prop_assert!(url.username().is_empty() && url.password().is_none());
                prop_assert_eq!(url.port(), port);
                prop_assert_eq!(url.host_str().unwrap_or_default().trim_end_matches('.').to_ascii_lowercase(), host.to_string());
            }
        }
    }
}
