//! Entity tags (RFC 9110): what a client has is still so, or is not written over.
//!
//! A tag is the digest of what it stands for, so it is a strong one. Answers to GET below `/v1` get one if they are small enough to
//! be looked at as a whole; files of sessions are written and removed under a condition whatever their size is.

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use casemate_model::Digest;
use http_body::Body as _;
use http_body_util::BodyExt as _;

use crate::{
    limits::{MAX_TAGGED_BYTES, MAX_TAGS},
    problem::Problem,
};

/// The tag of what has this digest.
pub(crate) fn tag_of(digest: Digest) -> Option<HeaderValue> {
    // A digest is letters, digits and a colon.
    HeaderValue::from_str(&format!("\"{digest}\"")).ok()
}

/// What a header names.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Tags {
    /// Whatever is there.
    Any,
    /// These; and whether each is a strong one.
    These(Vec<(String, bool)>),
}

impl Tags {
    fn of(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Self>, Problem> {
        let mut tags = Vec::new();
        let mut is_there = false;
        for value in headers.get_all(name) {
            is_there = true;
            let text = value.to_str().unwrap_or_default().trim();
            if text == "*" {
                return Ok(Some(Self::Any));
            }
            tags.extend(parse(text).ok_or_else(|| {
                Problem::invalid(format!(
                    "`{name}` is `*`, or tags in quotes with commas between"
                ))
            })?);
            if tags.len() > MAX_TAGS {
                let most = format!("`{name}` names more than {MAX_TAGS} tags");
                return Err(Problem::invalid(most));
            }
        }
        Ok(is_there.then_some(Self::These(tags)))
    }

    fn names(&self, digest: Option<Digest>, strongly: bool) -> bool {
        let Some(digest) = digest else {
            return false;
        };
        match self {
            Self::Any => true,
            Self::These(tags) => {
                let wanted = digest.to_string();
                tags.iter()
                    .any(|(tag, is_strong)| *tag == wanted && (*is_strong || !strongly))
            }
        }
    }
}

fn parse(text: &str) -> Option<Vec<(String, bool)>> {
    let (mut tags, mut rest) = (Vec::new(), text);
    loop {
        let (is_strong, quoted) = match rest.strip_prefix("W/") {
            Some(weak) => (false, weak),
            None => (true, rest),
        };
        let (tag, after) = quoted.strip_prefix('"')?.split_once('"')?;
        tags.push((tag.to_owned(), is_strong));
        rest = match after.trim_start() {
            "" => return Some(tags),
            more => more.strip_prefix(',')?.trim_start(),
        };
    }
}

/// Under which condition something is to be done.
#[derive(Debug)]
pub(crate) struct Condition {
    matches: Option<Tags>,
    none_matches: Option<Tags>,
}

impl Condition {
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        Ok(Self {
            matches: Tags::of(headers, &header::IF_MATCH)?,
            none_matches: Tags::of(headers, &header::IF_NONE_MATCH)?,
        })
    }

    pub(crate) const fn is_given(&self) -> bool {
        self.matches.is_some() || self.none_matches.is_some()
    }

    /// Whether it holds for what is there, if something is.
    pub(crate) fn check(&self, there: Option<Digest>) -> Result<(), Problem> {
        let is = self.matches.as_ref();
        let is_not = self.none_matches.as_ref();
        let holds = is.is_none_or(|tags| tags.names(there, true))
            && is_not.is_none_or(|tags| !tags.names(there, false));
        match holds {
            true => Ok(()),
            false => Err(Problem::new(
                StatusCode::PRECONDITION_FAILED,
                "precondition_failed",
                "what is there is not what the request expects: read it again",
            )),
        }
    }
}

/// Tags what is read, and says no more of it than that to whoever has it.
pub(crate) async fn tag(request: Request, next: Next) -> Response {
    if request.method() != Method::GET || !request.uri().path().starts_with("/v1/") {
        return next.run(request).await;
    }
    let known = match Tags::of(request.headers(), &header::IF_NONE_MATCH) {
        Ok(known) => known,
        Err(problem) => return problem.into_response(),
    };
    let response = next.run(request).await;
    let bytes = response.body().size_hint().exact();
    let Some(bytes) = bytes.filter(|bytes| *bytes <= MAX_TAGGED_BYTES) else {
        return response;
    };
    if response.status() != StatusCode::OK {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let whole = match body.collect().await {
        Ok(whole) => whole.to_bytes(),
        Err(error) => return Problem::failed(error.to_string()).into_response(),
    };
    // What was cut off is passed on as that: it is shorter than its head says.
    if whole.len() as u64 != bytes {
        return Response::from_parts(parts, Body::from(whole));
    }
    let digest = Digest::of(&whole);
    if let Some(tag) = tag_of(digest) {
        parts.headers.insert(header::ETAG, tag);
    }
    if known.is_some_and(|known| known.names(Some(digest), false)) {
        parts.status = StatusCode::NOT_MODIFIED;
        parts.headers.remove(header::CONTENT_LENGTH);
        parts.headers.remove(header::CONTENT_TYPE);
        return Response::from_parts(parts, Body::empty());
    }
    Response::from_parts(parts, Body::from(whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(name: HeaderName, value: &str) -> Result<Condition, Problem> {
        let value = HeaderValue::from_str(value).unwrap();
        Condition::of(&HeaderMap::from_iter([(name, value)]))
    }

    /// RFC 9110 section 13.1: a weak tag never matches where something is to be written over.
    #[test]
    fn a_condition_holds_for_what_it_names_only() {
        let (one, other) = (Digest::of(b"one"), Digest::of(b"other"));
        let cases = [
            (format!("\"{one}\""), Some(one), true, false),
            (format!("\"{one}\""), Some(other), false, true),
            (format!("\"{one}\""), None, false, true),
            (format!("\"x\" ,\"{one}\""), Some(one), true, false),
            (format!("W/\"{one}\""), Some(one), false, false),
            ("*".to_owned(), Some(one), true, false),
            ("*".to_owned(), None, false, true),
            ("\"\"".to_owned(), Some(one), false, true),
        ];
        for (text, there, matches, none_matches) in cases {
            let is = condition(header::IF_MATCH, &text).unwrap();
            assert_eq!(is.check(there).is_ok(), matches, "{text} {there:?}");
            let is_not = condition(header::IF_NONE_MATCH, &text).unwrap();
            assert_eq!(is_not.check(there).is_ok(), none_matches, "{text}");
        }
    }

    /// Whoever cannot be understood is not taken to have said no condition.
    #[test]
    fn what_is_no_list_of_tags_is_refused() {
        let many = vec!["\"x\""; MAX_TAGS + 1].join(",");
        for text in [
            "",
            "x",
            "\"x",
            "\"x\" \"y\"",
            "\"x\",",
            "W/x",
            "*, \"x\"",
            &many,
        ] {
            assert!(condition(header::IF_MATCH, text).is_err(), "{text}");
        }
        assert!(!Condition::of(&HeaderMap::new()).unwrap().is_given());
    }
}
