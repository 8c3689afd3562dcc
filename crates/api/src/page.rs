//! The page on which people answer: one file, which believes nothing that it is not shown the bytes of.
//!
//! It is nobody's secret: what is on it comes by the same interface, with the credentials that whoever looks at it types in.

use std::sync::LazyLock;

use axum::{
    http::{HeaderName, HeaderValue, header},
    response::{Html, IntoResponse as _, Response},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use casemate_model::{Digest, HIDDEN};

const MARKUP: &str = include_str!("page/approvals.html");
const STYLE: &str = include_str!("page/approvals.css");
const SCRIPT: &str = include_str!("page/approvals.js");

/// The page, and what a browser may do on it.
struct Page {
    html: String,
    policy: HeaderValue,
}

static PAGE: LazyLock<Page> = LazyLock::new(|| {
    // The same characters are hidden from people here as in a terminal.
    let hidden: Vec<_> = HIDDEN
        .iter()
        .map(|range| [u32::from(*range.start()), u32::from(*range.end())])
        .collect();
    let hidden = serde_json::to_string(&hidden).unwrap_or_default();
    let script = SCRIPT.replace("/*HIDDEN*/", &hidden);
    let policy = [
        "default-src 'none'".to_owned(),
        format!("script-src '{}'", hash(&script)),
        format!("style-src '{}'", hash(STYLE)),
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
            .to_owned(),
        "require-trusted-types-for 'script'; trusted-types 'none'".to_owned(),
    ];
    Page {
        html: MARKUP
            .replace("/*STYLE*/", STYLE)
            .replace("/*SCRIPT*/", &script),
        // It is ASCII. A page without its policy would be worse than none that works.
        policy: HeaderValue::from_str(&policy.join("; "))
            .unwrap_or(HeaderValue::from_static("default-src 'none'")),
    }
});

/// What a policy names a script or a style by.
fn hash(text: &str) -> String {
    let digest = BASE64_STANDARD.encode(Digest::of(text.as_bytes()).as_bytes());
    format!("sha256-{digest}")
}

/// `GET /approvals`
pub(crate) async fn approvals() -> Response {
    let mut response = Html(PAGE.html.as_str()).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, PAGE.policy.clone());
    let fixed = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
