//! Hosts on which strangers have a place too, and whose place a request means.

use psl::Psl as _;

use super::pattern::{matches, meets_below};
use crate::domain::DomainRule;

/// Where it says whose place a request means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In so many segments at the beginning of the path.
    Path(usize),
    /// In so many segments after one of these beginnings.
    After(&'static [&'static str], usize),
    /// Likewise; or in so many at the beginning, which are then no names of the site's own.
    AfterOrPath(&'static [&'static str], usize),
    /// In so many labels at the beginning of the host, and segments of the path.
    Host(usize, usize),
    /// In all labels before this end of the host.
    Before(&'static str),
    /// Only the credential says it.
    Credential,
    /// Nowhere: whatever is sent there is everybody's.
    Nowhere,
}

/// By patterns of hosts; the first that fits counts.
const HOSTS: &[(&str, Place)] = &[
    // GitHub: organisation and repository.
    ("github.com", Place::Path(2)),
    ("api.github.com", Place::After(&["repos"], 2)),
    ("uploads.github.com", Place::After(&["repos"], 2)),
    ("raw.githubusercontent.com", Place::Path(2)),
    ("codeload.github.com", Place::Path(2)),
    ("gist.github.com", Place::Path(1)),
    ("gist.githubusercontent.com", Place::Path(1)),
    ("*.githubusercontent.com", Place::Nowhere),
    // GitLab and Bitbucket: group or workspace, and repository.
    ("gitlab.com", Place::Path(2)),
    ("bitbucket.org", Place::Path(2)),
    ("api.bitbucket.org", Place::After(&["2.0/repositories"], 2)),
    // Azure Storage: account and container.
    ("*.blob.core.windows.net", Place::Host(1, 1)),
    ("*.dfs.core.windows.net", Place::Host(1, 1)),
    ("*.file.core.windows.net", Place::Host(1, 1)),
    ("*.queue.core.windows.net", Place::Host(1, 1)),
    ("*.table.core.windows.net", Place::Host(1, 0)),
    // S3: bucket.
    ("s3.amazonaws.com", Place::Path(1)),
    ("s3-*.amazonaws.com", Place::Path(1)),
    ("s3.*.amazonaws.com", Place::Path(1)),
    ("s3.dualstack.*.amazonaws.com", Place::Path(1)),
    ("**.s3.amazonaws.com", Place::Before(".s3.amazonaws.com")),
    ("**.s3-*.amazonaws.com", Place::Before(".s3-")),
    ("**.s3.*.amazonaws.com", Place::Before(".s3.")),
    (
        "**.s3.dualstack.*.amazonaws.com",
        Place::Before(".s3.dualstack."),
    ),
    ("s3-*.*.amazonaws.com", Place::Path(1)),
    ("**.s3-*.*.amazonaws.com", Place::Before(".s3-")),
    ("s3-*.dualstack.*.amazonaws.com", Place::Path(1)),
    ("**.s3-*.dualstack.*.amazonaws.com", Place::Before(".s3-")),
    (
        "**.s3express-*.*.amazonaws.com",
        Place::Before(".s3express-"),
    ),
    // Other services of AWS: whose account it is, the signature says.
    ("**.amazonaws.com", Place::Credential),
    // Google Cloud Storage: bucket.
    (
        "storage.googleapis.com",
        Place::After(
            &[
                "storage/v1/b",
                "upload/storage/v1/b",
                "download/storage/v1/b",
            ],
            1,
        ),
    ),
    ("*.storage.googleapis.com", Place::Host(1, 0)),
    // Slack: workspace.
    (
        "hooks.slack.com",
        Place::After(&["services", "workflows", "triggers"], 1),
    ),
    ("slack.com", Place::Credential),
    ("*.slack.com", Place::Host(1, 0)),
    // Hugging Face: namespace.
    (
        "huggingface.co",
        Place::AfterOrPath(
            &[
                "api/models",
                "api/datasets",
                "api/spaces",
                "datasets",
                "spaces",
            ],
            1,
        ),
    ),
    // APIs of models: a file that is uploaded with a stranger's key is the stranger's.
    ("api.openai.com", Place::Credential),
    ("api.anthropic.com", Place::Credential),
    ("generativelanguage.googleapis.com", Place::Credential),
    ("api.mistral.ai", Place::Credential),
    // Where anybody leaves something for anybody.
    ("pastebin.com", Place::Nowhere),
    ("paste.rs", Place::Nowhere),
    ("dpaste.com", Place::Nowhere),
    ("hastebin.com", Place::Nowhere),
    ("0x0.st", Place::Nowhere),
    ("transfer.sh", Place::Nowhere),
    ("file.io", Place::Nowhere),
    ("webhook.site", Place::Nowhere),
    ("*.webhook.site", Place::Nowhere),
    ("*.requestbin.net", Place::Nowhere),
    ("*.ngrok.io", Place::Nowhere),
    ("*.ngrok-free.app", Place::Nowhere),
    ("*.trycloudflare.com", Place::Nowhere),
];

/// The patterns, and what is pinned there, for the reference page.
pub(crate) fn known_tenants() -> impl Iterator<Item = (&'static str, String)> {
    HOSTS
        .iter()
        .map(|(pattern, place)| (*pattern, place.described()))
}

impl Place {
    fn described(self) -> String {
        let segments = |count: usize| match count {
            1 => "the first segment of the path".to_owned(),
            count => format!("the first {count} segments of the path"),
        };
        match self {
            Self::Path(count) => segments(count),
            Self::After(starts, count) | Self::AfterOrPath(starts, count) => {
                let starts: Vec<_> = starts.iter().map(|start| format!("`/{start}/`")).collect();
                let or = match self {
                    Self::AfterOrPath(..) => ", or of the whole path",
                    _ => "",
                };
                format!("{} after {}{or}", segments(count), starts.join(", "))
            }
            Self::Host(_, 0) | Self::Before(_) => "the beginning of the host".to_owned(),
            Self::Host(_, count) => {
                format!("the beginning of the host, `/`, and {}", segments(count))
            }
            Self::Credential => "the credential: a rule has to have one, and no tenant".to_owned(),
            Self::Nowhere => "nothing: no rule may allow it".to_owned(),
        }
    }

    /// Whose place a request means, if it says it.
    pub(super) fn tenant(self, host: &str, path: &str) -> Option<String> {
        let path = path.strip_prefix('/').unwrap_or(path);
        match self {
            Self::Path(count) => first_segments(path, count),
            Self::After(starts, count) => {
                after(path, starts).and_then(|rest| first_segments(rest, count))
            }
            Self::AfterOrPath(starts, count) => {
                first_segments(after(path, starts).unwrap_or(path), count)
            }
            Self::Host(labels, segments) => {
                let name = host.split('.').take(labels).collect::<Vec<_>>().join(".");
                match segments {
                    0 => Some(name),
                    count => Some(format!("{name}/{}", first_segments(path, count)?)),
                }
            }
            Self::Before(end) => host
                .rfind(end)
                .and_then(|at| host.get(..at))
                .map(str::to_owned),
            Self::Credential | Self::Nowhere => None,
        }
    }

    /// Whether rules name the tenants.
    pub(super) fn is_named(self) -> bool {
        !matches!(self, Self::Credential | Self::Nowhere)
    }
}

/// What follows one of `starts`.
fn after<'p>(path: &'p str, starts: &[&str]) -> Option<&'p str> {
    starts
        .iter()
        .find_map(|start| path.strip_prefix(start)?.strip_prefix('/'))
}

fn first_segments(path: &str, count: usize) -> Option<String> {
    let segments: Vec<_> = path.split('/').take(count).collect();
    let all = segments.len() == count && segments.iter().all(|segment| !segment.is_empty());
    let last = segments.join("/");
    // Git asks for the same repository with this end and without it.
    all.then(|| last.strip_suffix(".git").unwrap_or(&last).to_owned())
}

/// Where a request to this host says whose place it means, if strangers have one there.
pub(super) fn place_of(host: &str) -> Option<Place> {
    HOSTS
        .iter()
        .find(|(pattern, _)| matches(pattern, host))
        .map(|(_, place)| *place)
}

/// The places that requests which `rule` covers can mean.
pub(super) fn places_of(rule: &DomainRule) -> Vec<Place> {
    match rule.as_str().strip_prefix("*.") {
        None => place_of(rule.as_str()).into_iter().collect(),
        Some(suffix) => HOSTS
            .iter()
            .filter(|(pattern, _)| meets_below(pattern, suffix))
            .map(|(_, place)| *place)
            .collect(),
    }
}

/// Whether everything below a wildcard is one party's: not if names right below it are given to anybody.
pub(super) fn is_public_suffix(rule: &DomainRule) -> bool {
    rule.as_str().strip_prefix("*.").is_some_and(|suffix| {
        psl::List
            .suffix(suffix.as_bytes())
            .is_some_and(|public| public.as_bytes() == suffix.as_bytes())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// C25 of the corpus: whose place a request means is read from where the host has it.
    #[test]
    fn each_host_says_whose_place_it_is() {
        for (host, path, tenant) in [
            ("github.com", "/acme/site.git/info/refs", Some("acme/site")),
            ("github.com", "/acme/site", Some("acme/site")),
            ("github.com", "/acme", None),
            ("github.com", "/acme/", None),
            (
                "api.github.com",
                "/repos/acme/site/issues",
                Some("acme/site"),
            ),
            ("api.github.com", "/gists", None),
            ("api.github.com", "/user/repos", None),
            ("api.github.com", "/graphql", None),
            ("api.github.com", "/reposx/acme/site", None),
            ("acct.blob.core.windows.net", "/box/name", Some("acct/box")),
            ("acct.blob.core.windows.net", "/", None),
            ("s3.amazonaws.com", "/bucket/key", Some("bucket")),
            ("s3.eu-west-1.amazonaws.com", "/bucket/key", Some("bucket")),
            (
                "evil.s3express-use1-az4.us-east-1.amazonaws.com",
                "/key",
                Some("evil"),
            ),
            (
                "evil.s3-website.eu-central-1.amazonaws.com",
                "/key",
                Some("evil"),
            ),
            (
                "s3-fips.us-east-1.amazonaws.com",
                "/bucket/key",
                Some("bucket"),
            ),
            (
                "evil.s3-fips.dualstack.us-east-1.amazonaws.com",
                "/key",
                Some("evil"),
            ),
            ("my.bucket.s3.amazonaws.com", "/key", Some("my.bucket")),
            ("bucket.s3.eu-west-1.amazonaws.com", "/key", Some("bucket")),
            (
                "bucket.s3.dualstack.eu-west-1.amazonaws.com",
                "/key",
                Some("bucket"),
            ),
            (
                "s3.evil.s3.eu-west-1.amazonaws.com",
                "/key",
                Some("s3.evil"),
            ),
            (
                "storage.googleapis.com",
                "/upload/storage/v1/b/bucket/o",
                Some("bucket"),
            ),
            ("storage.googleapis.com", "/batch/storage/v1", None),
            ("bucket.storage.googleapis.com", "/o", Some("bucket")),
            ("hooks.slack.com", "/services/T1/B1/x", Some("T1")),
            ("acme.slack.com", "/api/x", Some("acme")),
            ("huggingface.co", "/api/models/acme/net", Some("acme")),
            ("huggingface.co", "/datasets/acme/net", Some("acme")),
            ("huggingface.co", "/acme/net/resolve/main/x", Some("acme")),
            ("huggingface.co", "/api/whoami", Some("api")),
            ("s3-us-west-2.amazonaws.com", "/bucket/key", Some("bucket")),
            ("bucket.s3-us-west-2.amazonaws.com", "/key", Some("bucket")),
            ("gist.github.com", "/somebody/1", Some("somebody")),
        ] {
            let place = place_of(host).unwrap();
            assert_eq!(place.tenant(host, path).as_deref(), tenant, "{host}{path}");
        }
        assert_eq!(place_of("pastebin.com"), Some(Place::Nowhere));
        assert_eq!(
            place_of("sts.eu-west-1.amazonaws.com"),
            Some(Place::Credential)
        );
        assert_eq!(place_of("slack.com"), Some(Place::Credential));
        assert_eq!(place_of("example.com"), None);
    }

    /// N03 of the corpus.
    #[test]
    fn names_that_anybody_is_given_are_not_one_party() {
        let is = |text: &str| is_public_suffix(&DomainRule::parse(text).unwrap());
        for public in [
            "*.co.uk",
            "*.github.io",
            "*.blob.core.windows.net",
            "*.herokuapp.com",
            "*.pages.dev",
        ] {
            assert!(is(public), "{public}");
        }
        for own in [
            "*.example.com",
            "*.acme.github.io",
            "example.co.uk",
            "*.example.co.uk",
        ] {
            assert!(!is(own), "{own}");
        }
    }
}
