//! By which variables programs find their way out, and the certificate that vouches for what is behind it.

use std::collections::BTreeMap;

use casemate_model::Text;
use casemate_policy::BaseUrl;
use casemate_ports::{WAY_OUT_AUTHORITY, WAY_OUT_IDENTITY_HEADER, WAY_OUT_PORT};

/// Where clients look for a proxy: those that are only written in one case are read in that case.
const PROXIES: &[&str] = &[
    "ALL_PROXY",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "all_proxy",
    "https_proxy",
    "http_proxy",
];
/// What runtimes want to be told before they look there.
const SWITCHES: &[&str] = &["NODE_USE_ENV_PROXY"];
/// Where they look for what needs none.
const DIRECT: &[&str] = &["NO_PROXY", "no_proxy"];
/// Where runtimes look for authorities.
const AUTHORITIES: &[&str] = &[
    "AWS_CA_BUNDLE",
    "CARGO_HTTP_CAINFO",
    "CURL_CA_BUNDLE",
    "DENO_CERT",
    "GIT_SSL_CAINFO",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
    "NODE_EXTRA_CA_CERTS",
    "PIP_CERT",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_FILE",
];
/// Where SDKs ask the platform for tokens: at the proxy, which gives them placeholders.
const PLATFORMS: &[(&str, &str)] = &[
    (
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "/casemate/aws/credentials",
    ),
    ("IDENTITY_ENDPOINT", "/casemate/azure/token"),
];
/// Where those of Google ask, which want no scheme.
const GOOGLE: &[&str] = &["GCE_METADATA_HOST", "GCE_METADATA_IP"];
/// What they are told beside that.
const BESIDE: &[(&str, &str)] = &[
    // A body in chunks that carry signatures cannot be signed again.
    ("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required"),
    ("IDENTITY_HEADER", WAY_OUT_IDENTITY_HEADER),
];
/// Where clients that take a base URL find what stands for a destination.
const BASE_URL: &str = "CASEMATE_ROUTE_";
/// What is in the sandbox itself.
const LOOPBACK: &str = "localhost,127.0.0.1,::1";

/// Whether a call with a way out may not set this variable, in whatever case.
#[must_use]
pub fn is_reserved(name: &str) -> bool {
    let known = [PROXIES, SWITCHES, DIRECT, AUTHORITIES, GOOGLE];
    let known = known.into_iter().flatten().copied();
    let platforms = PLATFORMS.iter().chain(BESIDE).map(|(known, _)| *known);
    let mut known = known.chain(platforms);
    let begins = name.get(..BASE_URL.len());
    known.any(|known| known.eq_ignore_ascii_case(name))
        || begins.is_some_and(|begin| begin.eq_ignore_ascii_case(BASE_URL))
}

/// The variables of a program with a way out, which has these base URLs.
#[must_use]
pub fn variables(base_urls: &[BaseUrl]) -> BTreeMap<String, Text> {
    let here = format!("127.0.0.1:{WAY_OUT_PORT}");
    let proxy = format!("http://{here}");
    let values = [
        (PROXIES, proxy.as_str()),
        (SWITCHES, "1"),
        (DIRECT, LOOPBACK),
        (AUTHORITIES, WAY_OUT_AUTHORITY),
        (GOOGLE, here.as_str()),
    ];
    let named = |(names, value): (&'static [&'static str], &str)| {
        let value = Text::from(value.to_owned());
        names
            .iter()
            .map(move |name| ((*name).to_owned(), value.clone()))
    };
    let platforms = PLATFORMS
        .iter()
        .map(|(name, path)| ((*name).to_owned(), Text::from(format!("{proxy}{path}"))));
    let beside = BESIDE
        .iter()
        .map(|(name, value)| ((*name).to_owned(), Text::from((*value).to_owned())));
    let base_urls = base_urls.iter().map(|url| {
        let value = format!("{proxy}/{}", url.name);
        (url.variable(), Text::from(value))
    });
    values
        .into_iter()
        .flat_map(named)
        .chain(platforms)
        .chain(beside)
        .chain(base_urls)
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use casemate_policy::{Profile, Syntax};

    use super::*;

    #[test]
    fn what_leads_out_is_not_for_callers() {
        let builtin = Profile::builtin().unwrap();
        let builtin = String::from_utf8(builtin.source().to_vec()).unwrap();
        let allowed = builtin.replace(
            "allowed_domains = []",
            "allowed_domains = [\"api.example.com\"]",
        );
        let url =
            "\n[[egress.base_urls]]\nname = \"open-ai\"\nurl = \"https://api.example.com/v1\"\n";
        let profile = Profile::parse((allowed + url).as_bytes(), Syntax::Toml).unwrap();
        let all = variables(&profile.base_urls);
        let found = all.get("CASEMATE_ROUTE_OPEN_AI").unwrap();
        assert_eq!(found.as_str(), Some("http://127.0.0.1:3128/open-ai"));
        for name in all.keys() {
            assert!(is_reserved(name), "{name}");
        }
        for name in [
            "Https_Proxy",
            "ssl_cert_file",
            "No_PROXY",
            "casemate_route_X",
        ] {
            assert!(is_reserved(name), "{name}");
        }
        for name in ["PROXY", "HTTPS_PROXY_", "SSL_CERT", "A"] {
            assert!(!is_reserved(name), "{name}");
        }
    }
}
