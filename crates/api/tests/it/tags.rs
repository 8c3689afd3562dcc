//! What a client has is still so, or is not written over.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, StatusCode};

use tokio::{io::AsyncWriteExt as _, time::timeout};

use crate::{
    client::{Served, until},
    house::House,
    session_keeper::Step,
};

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

fn steps(served: &Served, what: &str) -> usize {
    let steps = served.house.keeper.steps();
    let those = |step: &&Step| matches!(step, Step::Files(_, step) if *step == what);
    steps.iter().filter(those).count()
}

/// Whoever is refused keeps nobody out, however slowly the rest of what it sends comes.
#[tokio::test]
async fn a_refused_upload_is_in_nobodys_way() {
    let served = Served::new(House::new("thread")).await;
    let session = served.session("t").await;
    let path = format!("/v1/sessions/{session}/files/f");
    let request = format!(
        "PUT {path} HTTP/1.1\r\nhost: c\r\nif-match: \"x\"\r\ncontent-length: 1000\r\n\r\nx"
    );
    let mut slow = served.connect().await;
    slow.write_all(request.as_bytes()).await.unwrap();
    until(|| steps(&served, "read") == 1).await;
    let other = ask(&served, ("PUT", &path), &[("if-none-match", "*")], b"one");
    let other = timeout(Duration::from_secs(5), other).await;
    assert_eq!(other.unwrap().0, 201);
    drop(slow);
}

/// What is written under a condition has its turn until it is written, also if the client that sent it is gone.
#[tokio::test]
async fn a_write_that_nobody_waits_for_keeps_its_turn() {
    let served = Served::new(House::new("thread")).await;
    let session = served.session("t").await;
    let path = format!("/v1/sessions/{session}/files/f");
    served.house.keeper.write_slowly();
    let request = format!(
        "PUT {path} HTTP/1.1\r\nhost: c\r\nif-none-match: *\r\ncontent-length: 3\r\n\r\none"
    );
    let mut gone = served.connect().await;
    gone.write_all(request.as_bytes()).await.unwrap();
    until(|| steps(&served, "came") == 1).await;
    drop(gone);
    let new = [("if-none-match", "*")];
    let second = ask(&served, ("PUT", &path), &new, b"two");
    tokio::pin!(second);
    let early = timeout(Duration::from_millis(300), &mut second).await;
    assert!(early.is_err(), "it waits for its turn");
    served.house.keeper.release(2);
    assert_eq!(second.await.0, 412);
    let (_, _, there) = ask(&served, ("GET", &path), &[], b"").await;
    assert_eq!(there, b"one");
}
