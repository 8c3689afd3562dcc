//! Base URLs: paths of the proxy itself that stand for a destination, for clients that take a base URL and no proxy.

use crate::{Code, Target, head::Path};

/// What a path of the proxy stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    segment: String,
    target: Target,
    base: String,
}

impl Route {
    /// Requests for `/segment/…` go to `target`, with `base` in front of the rest of the path.
    ///
    /// # Errors
    /// When `segment` is not one plain segment, or `base` is not empty and not a canonical path without a `/` at its end.
    pub fn new(segment: &str, target: Target, base: &str) -> Result<Self, Code> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if segment.is_empty() || !segment.bytes().all(plain) {
            return Err(Code::PathAmbiguous);
        }
        if !base.is_empty() && (base.ends_with('/') || base.contains('?')) {
            return Err(Code::PathAmbiguous);
        }
        Path::parse(&format!("{base}/"))?;
        Ok(Self {
            segment: segment.to_owned(),
            target,
            base: base.to_owned(),
        })
    }

    /// Where a request for `path` goes, if this route is meant.
    pub(crate) fn resolve(&self, path: &Path) -> Option<Result<(Target, Path), Code>> {
        let rest = path
            .path
            .strip_prefix('/')?
            .strip_prefix(self.segment.as_str())?;
        if !rest.is_empty() && !rest.starts_with('/') {
            return None;
        }
        let mut text = format!("{}{rest}", self.base);
        if text.is_empty() {
            text.push('/');
        }
        if let Some(query) = &path.query {
            text.push('?');
            text.push_str(query);
        }
        Some(Path::parse(&text).map(|path| (self.target.clone(), path)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Host, Scheme};

    #[test]
    fn a_route_keeps_to_its_base() {
        let target = Target {
            scheme: Scheme::Https,
            host: Host::parse("good.test").unwrap(),
            port: 443,
        };
        let route = Route::new("ai", target.clone(), "/v1").unwrap();
        let to = |path: &str| {
            route
                .resolve(&Path::parse(path).unwrap())
                .map(|found| found.unwrap().1.joined())
        };
        assert_eq!(to("/ai/chat?x=1").as_deref(), Some("/v1/chat?x=1"));
        assert_eq!(to("/ai").as_deref(), Some("/v1"));
        assert_eq!(to("/ai?x=1").as_deref(), Some("/v1?x=1"));
        assert_eq!(to("/ai/").as_deref(), Some("/v1/"));
        let root = Route::new("ai", target.clone(), "").unwrap();
        for path in ["/ai", "/ai/"] {
            let (_, found) = root.resolve(&Path::parse(path).unwrap()).unwrap().unwrap();
            assert_eq!(found.joined(), "/");
        }
        assert_eq!(to("/air/chat"), None);
        assert_eq!(to("/chat"), None);
        for (segment, base) in [
            ("", "/v1"),
            ("a/b", "/v1"),
            ("..", ""),
            ("ai", "/v1/"),
            ("ai", "v1"),
            ("ai", "/a/../b"),
            ("ai", "/v1?x"),
        ] {
            assert!(
                Route::new(segment, target.clone(), base).is_err(),
                "{segment} {base}"
            );
        }
    }
}
