//! Host names as a profile allows them.

use casemate_model::Reach;

use crate::{diagnostic::Fault, visible::quoted};

/// The longest host name, in bytes (RFC 1035).
const MAX_HOST_BYTES: usize = 253;
/// The longest label, in bytes (RFC 1035).
const MAX_LABEL_BYTES: usize = 63;

/// A host name, or `*.` and a host name for everything below it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DomainRule(String);

impl DomainRule {
    /// A rule that was read before, from its text.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        Self::parse(text).ok()
    }

    /// The rule as the profile writes it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the rule allows `host`.
    ///
    /// A host in any other spelling than lower case without a trailing dot is not allowed; `*.` stands
    /// for one or more labels, never for none.
    #[must_use]
    pub fn allows(&self, host: &str) -> bool {
        match self.0.strip_prefix('*') {
            None => self.0 == host,
            Some(below) => host
                .strip_suffix(below)
                .is_some_and(|_| odd_spelling(host).is_none()),
        }
    }

    /// Whether every host that `other` allows is allowed by this rule.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        self == other
            || self.0.strip_prefix('*').is_some_and(|below| {
                let host = other.0.strip_prefix("*.").unwrap_or(&other.0);
                host.ends_with(below) || (other.0.starts_with('*') && other.0.ends_with(below))
            })
    }

    /// Before a rule is read: no host.
    pub(crate) const fn nowhere() -> Self {
        Self(String::new())
    }

    pub(crate) fn parse(text: &str) -> Result<Self, Fault> {
        let host = text.strip_prefix("*.").unwrap_or(text);
        match odd_spelling(host) {
            None => Ok(Self(text.to_owned())),
            Some(hint) => Err(Fault::new(
                format!(
                    "{} is not a host name or `*.` and a host name",
                    quoted(text)
                ),
                hint,
            )),
        }
    }
}

/// Names of metadata services.
const METADATA: &[&str] = &[
    "169.254.169.254",
    "169.254.170.2",
    "100.100.100.200",
    "fd00:ec2::254",
    "metadata",
    "metadata.google.internal",
    "metadata.azure.com",
    "metadata.azure.internal",
    "instance-data.ec2.internal",
];
/// Ends of names that are nobody else's (RFC 6761, 6762, 8375, 9476 and the usual ones of companies).
const PRIVATE: &[&str] = &[
    "localhost",
    "local",
    "internal",
    "intranet",
    "private",
    "corp",
    "home",
    "lan",
    "home.arpa",
    "test",
    "invalid",
    "alt",
];

/// Which network a name is of.
pub(crate) fn reach(host: &str) -> Reach {
    let plain = host.trim_end_matches('.').to_ascii_lowercase();
    let under = |end: &str| {
        plain
            .strip_suffix(end)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    if METADATA.contains(&plain.as_str()) {
        Reach::Metadata
    } else if PRIVATE.iter().any(|end| under(end)) {
        Reach::Private
    } else if odd_spelling(host).is_some() {
        Reach::Unknown
    } else {
        Reach::Global
    }
}

/// Whether `host` is a lower-case host name of two or more labels.
pub(crate) fn is_host(host: &str) -> bool {
    odd_spelling(host).is_none()
}

/// What is wrong with `host`, if it is not a lower-case host name of two or more labels.
fn odd_spelling(host: &str) -> Option<String> {
    if let Some((scheme, _)) = host.split_once("://") {
        return Some(format!("leave out the scheme {}", quoted(scheme)));
    }
    let odd = host
        .chars()
        .find(|char| !matches!(char, 'a'..='z' | '0'..='9' | '-' | '.'));
    let labels = || host.split('.');
    Some(match odd {
        Some('A'..='Z') => format!("write it in lower case: {}", quoted(&host.to_lowercase())),
        Some('[') => "an address is not a host name: name the host".to_owned(),
        Some(':') => "leave out the port".to_owned(),
        Some('/') => "leave out the path".to_owned(),
        Some('*') => "`*` may only stand at the start, as in `*.example.com`".to_owned(),
        Some(char) if !char.is_ascii() => "write it in its ASCII form, `xn--…`".to_owned(),
        Some(_) => "use letters, digits, `-` and `.`".to_owned(),
        None if host.len() > MAX_HOST_BYTES => {
            format!("a host name has at most {MAX_HOST_BYTES} bytes")
        }
        None if labels().any(str::is_empty) => "leave out the empty label".to_owned(),
        None if labels().any(|label| label.len() > MAX_LABEL_BYTES) => {
            format!("a label has at most {MAX_LABEL_BYTES} bytes")
        }
        None if labels().any(|label| label.starts_with('-') || label.ends_with('-')) => {
            "a label neither starts nor ends with `-`".to_owned()
        }
        // A name that ends in a number is an IPv4 address to some resolvers, in one of its many spellings.
        None if labels().next_back().is_some_and(is_number) => {
            "an address is not a host name: name the host".to_owned()
        }
        None if !host.contains('.') => {
            "a name of one label is a local one, and private networks are blocked: write it in full"
                .to_owned()
        }
        None => return None,
    })
}

fn is_number(label: &str) -> bool {
    let digits = |text: &str, radix| text.chars().all(|char| char.is_digit(radix));
    digits(label, 10) || label.strip_prefix("0x").is_some_and(|hex| digits(hex, 16))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_host_names_are_rules() {
        for good in ["example.com", "*.example.com", "a-1.xn--bcher-kva.example"] {
            assert_eq!(DomainRule::parse(good).unwrap().as_str(), good);
        }
        let long = format!("{}.com", "a".repeat(64));
        let longer = format!("{}com", "a1.".repeat(100));
        for bad in [
            "",
            "*",
            "*.",
            ".",
            "com",
            "*.com",
            "localhost",
            "Example.com",
            "https://example.com",
            "example.com:443",
            "example.com/",
            "example.com.",
            ".example.com",
            "a..com",
            "127.0.0.1",
            "1.2.3.4",
            "127.1",
            "127.0x1",
            "*.0.0.1",
            "0x7f.1",
            "[::1]",
            "::1",
            "a_b.com",
            "-a.com",
            "a-.com",
            "a*.example.com",
            "*.*.example.com",
            "ex ample.com",
            "exämple.com",
            "user@example.com",
            "%65xample.com",
            "example.com\n",
            "example.com\0",
            &long,
            &longer,
        ] {
            assert!(DomainRule::parse(bad).is_err(), "{bad:?}");
        }
    }

    /// R133: only the exact host, or a host below a wildcard.
    #[test]
    fn a_rule_allows_no_look_alike() {
        let exact = DomainRule::parse("api.example.com").unwrap();
        let below = DomainRule::parse("*.example.com").unwrap();
        assert!(exact.allows("api.example.com"));
        assert!(below.allows("api.example.com") && below.allows("a.b.example.com"));
        for host in [
            "",
            "example.com",
            ".example.com",
            "a..example.com",
            "evil.com/.example.com",
            "evil.com#.example.com",
            "user@api.example.com",
            "API.example.com",
            "api.example.com.",
            "api.example.com:443",
            "evilexample.com",
            "example.com.evil.com",
            "-.example.com",
            "*.example.com",
            "a\n.example.com",
            "аpi.example.com",
        ] {
            assert!(!exact.allows(host) && !below.allows(host), "{host:?}");
        }
    }
}
