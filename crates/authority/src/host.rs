//! One spelling for each host, so that a switch is not missed for a capital letter.

use std::{borrow::Cow, net::Ipv6Addr};

use crate::name::is_name;

/// The spelling under which `host` is looked up: lower case, no dot at the end, an IPv6 address without brackets in its
/// shortest form. Nothing for what cannot be the name of a host, such as a URL or a host with a port.
pub(crate) fn normal_host(host: &str) -> Option<Cow<'_, str>> {
    let host = host.strip_suffix('.').unwrap_or(host);
    if !is_name(host) {
        return None;
    }
    if host.contains(':') {
        let bare = host
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        let address: Ipv6Addr = bare.unwrap_or(host).parse().ok()?;
        return Some(Cow::Owned(address.to_string()));
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if !host.bytes().all(plain) || host.split('.').any(str::is_empty) {
        return None;
    }
    match host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => Some(Cow::Owned(host.to_ascii_lowercase())),
        false => Some(Cow::Borrowed(host)),
    }
}

/// The spelling of what a destination switch is for: a host, or `*.` and a host for everything below it.
pub(crate) fn normal_pattern(pattern: &str) -> Option<String> {
    match pattern.strip_prefix("*.") {
        None => normal_host(pattern).map(Cow::into_owned),
        Some(below) if below.contains(':') => None,
        Some(below) => normal_host(below).map(|host| format!("*.{host}")),
    }
    .filter(|pattern| is_name(pattern))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_host_are_one_and_what_is_no_host_is_none() {
        for (host, normal) in [
            ("evil.example", "evil.example"),
            ("EVIL.Example.", "evil.example"),
            ("10.0.0.1", "10.0.0.1"),
            ("[2001:DB8:0::1]", "2001:db8::1"),
            ("2001:db8::1", "2001:db8::1"),
        ] {
            assert_eq!(normal_host(host).as_deref(), Some(normal), "{host}");
        }
        for bad in [
            "",
            ".",
            "a..b",
            "https://evil.example/",
            "evil.example:443",
            "user@evil.example",
            "*.evil.example",
            "evil example",
            "évil.example",
            "evil\u{200b}.example",
            &"a".repeat(256),
        ] {
            assert_eq!(normal_host(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_pattern_is_a_host_or_everything_below_one() {
        assert_eq!(
            normal_pattern("*.Evil.example").as_deref(),
            Some("*.evil.example")
        );
        assert_eq!(
            normal_pattern("evil.example.").as_deref(),
            Some("evil.example")
        );
        for bad in [
            "*",
            "*.",
            "*.*.a",
            "a.*",
            "*a.b",
            "*.::1",
            &format!("*.{}", "a".repeat(254)),
        ] {
            assert_eq!(normal_pattern(bad), None, "{bad}");
        }
    }
}
