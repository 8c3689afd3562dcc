//! Sessions and their files.

use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use crate::{
    client::{Served, until},
    house::House,
};

#[tokio::test]
async fn files_go_in_and_out() {
    let served = Served::new(House::new("thread")).await;
    let session = served.session("t").await;
    let path = format!("/v1/sessions/{session}/files/a/b%20c.bin");
    let content: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    let put = served.ask("PUT", &path, &content).await;
    assert_eq!((put.status, &put.json()["bytes"]), (201, &json!(300_000)));
    assert_eq!(put.json()["path"], "a/b c.bin");
    let got = served.get(&path).await;
    assert_eq!(
        (got.status, &got.headers["content-length"]),
        (200, &"300000".parse().unwrap())
    );
    assert!(got.body == content);
    // What was done is on record under the name in its answer.
    let log = served.house.world.records();
    for (answer, done) in [(&put, "file.write"), (&got, "file.read")] {
        let name = answer.headers["casemate-decision"].to_str().unwrap();
        let named = |record: &&casemate_ledger::Record| {
            record.entry.decision.to_string() == name && record.entry.summary["tool"] == done
        };
        assert!(log.iter().any(|record| named(&record)), "{done}");
    }
    assert_eq!(served.ask("DELETE", &path, b"").await.status, 204);
    let gone = served.get(&path).await;
    assert_eq!((gone.code().as_str(), gone.status), ("file_not_found", 404));
    assert_eq!(gone.json()["path"], "a/b c.bin");
    // The id of what was meant, and what to do.
    assert_eq!(gone.json()["session"], json!(session));
    assert!(gone.json()["hint"].is_string());
    let listed = served.get(&format!("/v1/sessions/{session}/files")).await;
    assert_eq!(listed.json()["entries"], json!([]));
}

/// An upload that is cut off in the middle leaves nothing, nor does one to somebody else's session.
#[tokio::test]
async fn an_upload_that_is_cut_off_leaves_nothing() {
    let served = Served::new(House::new("thread")).await;
    let session = served.session("t").await;
    let path = format!("/v1/sessions/{session}/files/f");
    for head in ["content-length: 100", "transfer-encoding: chunked"] {
        let request = format!("PUT {path} HTTP/1.1\r\nhost: c\r\n{head}\r\n\r\n5\r\nhello");
        let (mut stream, answer) = served.raw(request.as_bytes()).await;
        assert!(answer.is_empty());
        stream.shutdown().await.unwrap();
        drop(stream);
    }
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    assert_eq!(served.get(&path).await.code(), "file_not_found");
    let foreign = served
        .ask("PUT", &format!("{path}?agent=other"), b"x")
        .await;
    assert_eq!(
        (foreign.code().as_str(), foreign.status),
        ("session_unknown", 404)
    );
    assert_eq!(served.get(&path).await.code(), "file_not_found");
}

#[tokio::test]
async fn odd_paths_are_refused() {
    let served = Served::new(House::new("thread")).await;
    let session = served.session("t").await;
    for path in [
        "%2e%2e/x",
        "a/%2e%2e/%2e%2e/b",
        "a%00b",
        "a//b",
        "%2fetc/passwd",
        "a/.",
        "a/",
    ] {
        for (method, body) in [("GET", &b""[..]), ("PUT", b"x"), ("DELETE", b"")] {
            let path = format!("/v1/sessions/{session}/files/{path}");
            let answer = served.ask(method, &path, body).await;
            assert_eq!(
                (answer.code().as_str(), answer.status),
                ("bad_path", 400),
                "{method} {path}"
            );
        }
    }
    let answer = served
        .get(&format!("/v1/sessions/{session}/files/%ff"))
        .await;
    assert_eq!(answer.code(), "invalid_call");
}

#[tokio::test]
async fn sessions_are_opened_listed_and_destroyed() {
    let served = Served::new(House::new("thread")).await;
    let opened = served.post("/v1/sessions", &json!({ "thread": "t" })).await;
    assert_eq!(
        (opened.status, &opened.json()["new_session"]),
        (201, &json!(true))
    );
    let session = opened.json()["session"].as_str().unwrap().to_owned();
    let again = served.post("/v1/sessions", &json!({ "thread": "t" })).await;
    assert_eq!(
        (again.status, &again.json()["session"]),
        (200, &json!(session))
    );
    let listed = served.get("/v1/sessions").await.json();
    assert_eq!(listed["sessions"][0]["session"], json!(session));
    assert_eq!(listed["sessions"][0]["state"], "alive");
    assert_eq!(
        served.get("/v1/sessions?agent=other").await.json()["sessions"],
        json!([])
    );
    let path = format!("/v1/sessions/{session}");
    assert_eq!(served.get(&format!("{path}?agent=other")).await.status, 404);
    assert_eq!(
        served
            .ask("DELETE", &format!("{path}?agent=other"), b"")
            .await
            .status,
        404
    );
    assert_eq!(served.house.keeper.alive().len(), 1);
    assert_eq!(served.ask("DELETE", &path, b"").await.status, 204);
    assert!(served.house.keeper.alive().is_empty());
    let gone = served.get(&path).await.json();
    assert_eq!(
        (&gone["state"], &gone["gone"]["why"]),
        (&json!("gone"), &json!("destroyed"))
    );
    let again = served.ask("DELETE", &path, b"").await;
    assert_eq!((again.code().as_str(), again.status), ("session_gone", 410));
    for bad in [
        json!({ "thread": "" }),
        json!({ "thread": "a\n" }),
        json!({ "x": 1 }),
    ] {
        let answer = served.post("/v1/sessions", &bad).await;
        assert_eq!(answer.code(), "invalid_call", "{bad}");
    }
    assert!(served.get("/v1/pools").await.json()["pools"].is_array());
    until(|| served.house.keeper.alive().is_empty()).await;
}

#[tokio::test]
async fn contexts_are_opened_used_and_closed() {
    let served = Served::new(House::new("thread")).await;
    let session = served.session("t").await;
    let path = format!("/v1/sessions/{session}/contexts");
    let opened = served.post(&path, &json!({})).await;
    assert_eq!(opened.status, 201);
    let context = opened.json()["context"].as_str().unwrap().to_owned();
    let cell = json!({ "context": context, "tool": "python", "code": "1" });
    let answer = served.post("/v1/calls", &cell).await.json();
    assert_eq!(
        (&answer["context"], &answer["session"]),
        (&json!(context), &json!(session))
    );
    let other = json!({ "context": context, "tool": "shell", "argv": ["true"] });
    let other = served.post("/v1/calls", &other).await;
    assert_eq!(
        (other.code().as_str(), other.status),
        ("context_mismatch", 409)
    );
    assert_eq!(other.json()["context"], json!(context));
    let path = format!("/v1/contexts/{context}");
    assert_eq!(served.ask("DELETE", &path, b"").await.status, 204);
    assert_eq!(
        served.ask("DELETE", &path, b"").await.code(),
        "context_unknown"
    );
    assert_eq!(
        served.post("/v1/calls", &cell).await.code(),
        "context_unknown"
    );
}
