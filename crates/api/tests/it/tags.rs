//! What a client has is still so, or is not written over.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, StatusCode};

use crate::{client::Served, house::House};

const TAG: &str = "etag";

async fn ask(
    served: &Served,
    (method, path): (&str, &str),
    headers: &[(&str, &str)],
    body: &[u8],
) -> (StatusCode, Option<String>, Vec<u8>) {
    let mut request = Request::builder().method(method).uri(path);
    request = request.header("host", "casemate");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(Bytes::copy_from_slice(body)));
    let (head, body) = served.send(request.unwrap()).await.into_parts();
    let tag = head.headers.get(TAG);
    let tag = tag.map(|tag| tag.to_str().unwrap().to_owned());
    let body = body.collect().await.unwrap().to_bytes().to_vec();
    (head.status, tag, body)
}

/// A file is written over or removed only as who does it knows it: of two who know the same, one does.
#[tokio::test]
async fn a_file_is_not_written_over_by_whoever_knows_another() {
    let served = Served::new(House::new("thread")).await;
    let session = served.session("t").await;
    let path = format!("/v1/sessions/{session}/files/f");
    let (put, get, delete) = (("PUT", &*path), ("GET", &*path), ("DELETE", &*path));
    let new = [("if-none-match", "*")];
    let any = [("if-match", "*")];
    // Nothing is there yet.
    assert_eq!(ask(&served, put, &any, b"no").await.0, 412);
    let (status, first, _) = ask(&served, put, &new, b"one").await;
    assert_eq!(status, 201);
    let first = first.unwrap();
    assert_eq!(ask(&served, put, &new, b"no").await.0, 412);
    let (status, tag, body) = ask(&served, get, &[], b"").await;
    assert_eq!(
        (status.as_u16(), tag.as_ref(), &*body),
        (200, Some(&first), &b"one"[..])
    );
    let knows_first = [("if-match", &*first)];
    let (one, other) = tokio::join!(
        ask(&served, put, &knows_first, b"two"),
        ask(&served, put, &knows_first, b"three"),
    );
    let mut statuses = [one.0.as_u16(), other.0.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 412]);
    let (_, tag, body) = ask(&served, get, &[], b"").await;
    let written = if one.0 == 201 { "two" } else { "three" };
    assert_eq!(body, written.as_bytes());
    let second = tag.unwrap();
    assert_ne!(second, first);
    for (headers, status) in [
        ([("if-match", &*first)], 412),
        ([("if-match", "nonsense")], 400),
        ([("if-match", &*second)], 204),
    ] {
        assert_eq!(ask(&served, delete, &headers, b"").await.0, status);
    }
    assert_eq!(ask(&served, get, &[], b"").await.0, 404);
}

/// Whoever has what is there is told no more than that.
#[tokio::test]
async fn what_is_known_is_not_sent_again() {
    let served = Served::new(House::new("thread")).await;
    let session = served.session("t").await;
    let file = format!("/v1/sessions/{session}/files/f");
    ask(&served, ("PUT", &file), &[], b"one").await;
    for path in [&*file, "/v1/switches", "/v1/profiles"] {
        let (status, tag, whole) = ask(&served, ("GET", path), &[], b"").await;
        assert_eq!(status, 200, "{path}");
        let tag = tag.unwrap();
        let weak = format!("W/{tag}");
        for known in [&*tag, &weak, "*", &format!("\"x\", {tag}")] {
            let known = [("if-none-match", known)];
            let (status, again, body) = ask(&served, ("GET", path), &known, b"").await;
            assert_eq!(
                (status.as_u16(), &*body),
                (304, &b""[..]),
                "{path} {known:?}"
            );
            assert_eq!(again.as_ref(), Some(&tag));
        }
        let other = [("if-none-match", "\"x\"")];
        let (status, _, body) = ask(&served, ("GET", path), &other, b"").await;
        assert_eq!((status.as_u16(), body), (200, whole), "{path}");
    }
    // What is too large to be looked at as a whole has no tag, and comes as it is.
    let large = vec![b'x'; (1 << 20) + 1];
    ask(&served, ("PUT", &file), &[], &large).await;
    let (status, tag, body) = ask(&served, ("GET", &file), &[("if-none-match", "*")], b"").await;
    assert_eq!((status.as_u16(), tag, body.len()), (200, None, large.len()));
}
