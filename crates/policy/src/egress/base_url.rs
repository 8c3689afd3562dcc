//! Base URLs: names of the proxy itself that stand for a destination, for clients that take a base URL and no proxy.

use casemate_model::{check_path, has_escaped_slash};

use crate::{
    diagnostic::{Fault, Report},
    domain::DomainRule,
    key::{Absent, Form, Key, Subject, text},
    profile::Profile,
    tree::Node,
    visible::quoted,
    walk::walk_part,
};

/// The most base URLs of one profile.
pub const MAX_BASE_URLS: usize = 32;
/// Below which the proxy answers itself: with placeholders.
const OURS: &str = "casemate";
/// The most bytes of a name.
const MAX_NAME_BYTES: usize = 32;
/// What the variables begin with in which programs find them.
pub(crate) const VARIABLE: &str = "CASEMATE_ROUTE_";
/// The port of `https`.
const HTTPS: u16 = 443;

/// A name of the proxy that stands for a destination. What is sent there is judged like everything else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl {
    /// The first segment of the path at the proxy.
    pub name: String,
    /// The host, which is spoken to over TLS.
    pub host: DomainRule,
    /// Its port.
    pub port: u16,
    /// What the rest of the path comes behind; empty, or a path without a `/` at its end.
    pub base: String,
}

impl BaseUrl {
    /// The variable in which programs find it.
    #[must_use]
    pub fn variable(&self) -> String {
        format!(
            "{VARIABLE}{}",
            self.name.to_ascii_uppercase().replace('-', "_")
        )
    }

    /// It and what it stands for, for people.
    pub(crate) fn shown(&self) -> String {
        let Self {
            name,
            host,
            port,
            base,
        } = self;
        format!("{name} = https://{}:{port}{base}", host.as_str())
    }
}

impl Subject for BaseUrl {
    const KEYS: &'static [&'static [Key<Self>]] = &[&[
        text(
            "name",
            Form::Free("name of small letters, digits and `-`"),
            |subject, text| name(text).map(|name| subject.name = name),
            Absent::Refused,
            "Programs find it as `http://127.0.0.1:3128/NAME`, and that in the variable `CASEMATE_ROUTE_NAME`, in upper case and with `_` for `-`.",
        ),
        text(
            "url",
            Form::Free("URL, such as `https://api.example.com/v1`"),
            |subject, text| {
                parse(text).map(|(host, port, base)| {
                    (subject.host, subject.port, subject.base) = (host, port, base);
                })
            },
            Absent::Refused,
            "What it stands for: `https`, a host that `allowed_domains` covers, and a path without a `/` at its end.",
        ),
    ]];
}

/// Reads one base URL of `profile`, of which destinations were read before.
pub(crate) fn read_base_url(profile: &mut Profile, node: &Node, report: &mut Report<'_>) {
    let mut url = BaseUrl {
        name: String::new(),
        host: DomainRule::nowhere(),
        port: HTTPS,
        base: String::new(),
    };
    walk_part(node, &mut url, report);
    let network = &profile.sandbox.network;
    let host = url.host.as_str();
    let mut domains = network.allowed_domains.iter();
    if !host.is_empty() && !domains.any(|allowed| allowed.covers(&url.host)) {
        let message = format!(
            "{} is not in `sandbox.network.allowed_domains`",
            quoted(host)
        );
        let hint = "add it there: base URLs only name what is there";
        report.add(node.at, "url", || Fault::new(message, hint));
    }
    let mut others = profile.base_urls.iter();
    if !url.name.is_empty() && others.any(|other| other.name == url.name) {
        let message = format!("another base URL is called {}", quoted(&url.name));
        report.add(node.at, "name", || {
            Fault::new(message, "give each its own name")
        });
    }
    profile.base_urls.push(url);
}

fn name(text: &str) -> Result<String, Fault> {
    let inner = |char: char| char.is_ascii_lowercase() || char.is_ascii_digit() || char == '-';
    if text == OURS {
        let message = format!("{} is what the proxy itself answers", quoted(text));
        return Err(Fault::new(message, "give it another name"));
    }
    let good = text.len() <= MAX_NAME_BYTES
        && text.starts_with(|first: char| first.is_ascii_lowercase())
        && text.chars().all(inner);
    if good {
        return Ok(text.to_owned());
    }
    Err(Fault::new(
        format!("{} is not a name for a base URL", quoted(text)),
        format!("use at most {MAX_NAME_BYTES} small letters, digits and `-`, the first a letter"),
    ))
}

fn parse(text: &str) -> Result<(DomainRule, u16, String), Fault> {
    let fault = |hint: &str| Fault::new(format!("{} is not a base URL", quoted(text)), hint);
    let rest = text
        .strip_prefix("https://")
        .ok_or_else(|| fault("begin it with `https://`"))?;
    let (authority, base) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (host, port) = match authority.split_once(':') {
        None => (authority, HTTPS),
        Some((host, digits)) => {
            let plain =
                digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
            let port = digits.parse().ok().filter(|_| plain);
            (host, port.ok_or_else(|| fault("write the port in digits"))?)
        }
    };
    let host = DomainRule::parse(host)?;
    if host.as_str().starts_with('*') {
        return Err(fault("name one host"));
    }
    let is_plain = || check_path(base).is_ok() && !has_escaped_slash(base);
    if !base.is_empty() && (base.ends_with('/') || !is_plain()) {
        let hint =
            "write its path in its plain form, without a `/` at its end, a query and a fragment";
        return Err(fault(hint));
    }
    Ok((host, port, base.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_url_is_spelled_in_one_way() {
        let (host, port, base) = parse("https://api.example.com:8443/v1").unwrap();
        assert_eq!(
            (host.as_str(), port, base.as_str()),
            ("api.example.com", 8443, "/v1")
        );
        let (_, port, base) = parse("https://api.example.com").unwrap();
        assert_eq!((port, base.as_str()), (HTTPS, ""));
        for bad in [
            "",
            "http://api.example.com",
            "HTTPS://api.example.com",
            "https://",
            "https://api.example.com/",
            "https://api.example.com/v1/",
            "https://api.example.com/v1?x=1",
            "https://api.example.com/v1#x",
            "https://api.example.com/../v1",
            "https://api.example.com/%76",
            "https://api.example.com/a%2Fb",
            "https://api.example.com//v1",
            "https://u@api.example.com/v1",
            "https://api.example.com:/v1",
            "https://api.example.com:0/v1",
            "https://api.example.com:0443/v1",
            "https://api.example.com:65536/v1",
            "https://*.example.com/v1",
            "https://127.0.0.1/v1",
            "https://[::1]/v1",
            "https://API.example.com/v1",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        for bad in [
            "casemate", "", "a/b", "A", "1a", "-a", "a_b", "a.b", "..", "a%20",
        ] {
            assert!(name(bad).is_err(), "{bad}");
        }
        assert_eq!(name("open-ai2").unwrap(), "open-ai2");
    }
}
