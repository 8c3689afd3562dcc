//! The page on which people answer.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use casemate_model::Digest;

use crate::{client::Served, house::House};

/// A browser runs the script of the page and nothing else, and speaks to this gateway only.
#[tokio::test]
async fn a_browser_may_do_on_the_page_what_the_page_does_and_no_more() {
    let served = Served::new(House::new("thread")).await;
    let page = served.get("/approvals").await;
    assert_eq!(page.status, 200);
    assert_eq!(page.headers["content-type"], "text/html; charset=utf-8");
    assert_eq!(page.headers["x-content-type-options"], "nosniff");
    assert_eq!(page.headers["cache-control"], "no-store");
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    let html = String::from_utf8(page.body).unwrap();
    let between = |open: &str, close: &str| {
        let (_, rest) = html.split_once(open).unwrap();
        rest.split_once(close).unwrap().0.to_owned()
    };
    for (name, text) in [
        ("script-src", between("<script>", "</script>")),
        ("style-src", between("<style>", "</style>")),
    ] {
        let hash = BASE64_STANDARD.encode(Digest::of(text.as_bytes()).as_bytes());
        assert!(
            policy.contains(&format!("{name} 'sha256-{hash}'")),
            "{policy}"
        );
        assert!(text.len() > 500);
    }
    for rule in [
        "default-src 'none'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "trusted-types 'none'",
    ] {
        assert!(policy.contains(rule), "{rule}: {policy}");
    }
    assert!(!policy.contains("unsafe") && !policy.contains("http:"));
    assert!(!html.contains("/*HIDDEN*/") && html.contains("[8232,8238]"));
    for way in [
        "innerHTML",
        "outerHTML",
        "insertAdjacent",
        "document.write",
        "eval(",
        "localStorage",
        "document.cookie",
    ] {
        assert!(!html.contains(way), "{way}");
    }
    assert_eq!(html.matches("<script").count(), 1);
}
