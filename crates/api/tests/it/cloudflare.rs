//! The bridge to sandboxes that Cloudflare's clients use, over a network.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use casemate_api::CLOUDFLARE_ENDPOINTS;
use casemate_callers::Role;
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use crate::{
    client::{Answered, until},
    e2b::raw,
    remote::{Headers, Remote, bearer},
};

const SANDBOXES: &str = "/cloudflare/v1/sandbox";

async fn made(remote: &Remote, by: &Headers) -> String {
    let answer = remote.post(SANDBOXES, by, &Value::Null).await;
    assert_eq!(answer.status, 200, "{}", answer.json());
    answer.json()["id"].as_str().unwrap().to_owned()
}

/// A refusal in the words that its clients read.
#[track_caller]
fn refused(answer: &Answered, status: u16, code: &str) {
    let said = answer.json();
    assert_eq!(
        (answer.status, &said["code"]),
        (status, &json!(code)),
        "{said}"
    );
    assert!(said["error"].is_string(), "{said}");
}

async fn exec(remote: &Remote, by: &Headers, id: &str, words: &[&str]) -> Answered {
    let path = format!("{SANDBOXES}/{id}/exec");
    let mut headers = by.clone();
    headers.push(("content-type", "application/json".to_owned()));
    let body = json!({ "argv": words }).to_string();
    raw(remote, "POST", &path, &headers, body.as_bytes()).await
}

/// A sandbox is a session, what is executed in it a call, and its output comes as events.
#[tokio::test]
async fn a_command_is_a_call_in_a_session() {
    let (remote, by) = Remote::with_operator().await;
    let id = made(&remote, &by).await;
    let ran = exec(&remote, &by, &id, &["write", "3"]).await;
    assert_eq!(ran.headers["content-type"], "text/event-stream");
    assert!(
        ran.headers["casemate-decision"]
            .to_str()
            .unwrap()
            .starts_with("dec_")
    );
    let said = String::from_utf8(ran.body).unwrap();
    let output = format!("event: stdout\ndata: {}\n\n", BASE64_STANDARD.encode("xxx"));
    assert!(said.starts_with(&output), "{said}");
    assert!(
        said.ends_with("event: exit\ndata: {\"exit_code\":0}\n\n"),
        "{said}"
    );
    let failed = exec(&remote, &by, &id, &["false"]).await;
    assert!(
        String::from_utf8(failed.body)
            .unwrap()
            .contains("{\"exit_code\":1}")
    );
    let sandbox = format!("{SANDBOXES}/{id}");
    let running = format!("{sandbox}/running");
    assert_eq!(
        remote.get(&running, &by).await.json(),
        json!({ "running": true })
    );
    let file = format!("{sandbox}/file/workspace/a/b.txt");
    assert_eq!(
        remote.ask("PUT", &file, &by, &json!("hello")).await.status,
        200
    );
    let read = remote.get(&file, &by).await;
    assert_eq!(
        (read.status, read.body.as_slice()),
        (200, &b"\"hello\""[..])
    );
    let none = format!("{sandbox}/file/workspace/none");
    refused(&remote.get(&none, &by).await, 404, "file_not_found");
    assert_eq!(remote.delete(&sandbox, &by).await.status, 204);
    assert!(remote.house.keeper.alive().is_empty());
    assert_eq!(
        remote.get(&running, &by).await.json(),
        json!({ "running": false })
    );
    refused(
        &exec(&remote, &by, &id, &["true"]).await,
        404,
        "session_gone",
    );
}

/// Nobody takes a part for the whole: an archive that was cut off is none, and a command whose output was has no exit code.
#[tokio::test]
async fn what_was_cut_off_is_no_answer() {
    let remote = Remote::with_shell_and("\n[quotas.session]\noutput_bytes = 100\n").await;
    let (_, text) = remote.new_key("acme", &[Role::Operator]);
    let by = bearer(&text);
    let id = made(&remote, &by).await;
    let persist = format!("{SANDBOXES}/{id}/persist");
    let whole = remote.post(&persist, &by, &Value::Null).await;
    assert_eq!((whole.status, whole.body.len()), (200, 60));
    let part = remote.post(&persist, &by, &Value::Null).await;
    refused(&part, 500, "failed");
    let said = part.json();
    assert!(
        said["error"].as_str().unwrap().contains("cut off"),
        "{said}"
    );
    let id = made(&remote, &by).await;
    let ran = exec(&remote, &by, &id, &["write", "101"]).await;
    let said = String::from_utf8(ran.body).unwrap();
    assert!(
        said.contains("event: error\ndata: {\"error\":\"its output was cut off"),
        "{said}"
    );
    assert!(!said.contains("event: exit"), "{said}");
}

/// A client that goes away in the middle leaves nothing running.
#[tokio::test]
async fn a_client_that_vanishes_takes_its_command_along() {
    let (remote, by) = Remote::with_operator().await;
    let id = made(&remote, &by).await;
    let body = json!({ "argv": ["wait"] }).to_string();
    let (name, value) = &by[0];
    let request = format!(
        "POST {SANDBOXES}/{id}/exec HTTP/1.1\r\nhost: c\r\n{name}: {value}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(remote.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    until(|| remote.house.keeper.running() == 1).await;
    drop(stream);
    until(|| remote.house.keeper.running() == 0).await;
}

/// What is no request, leads elsewhere, waits for a person or is another tenant's does nothing.
#[tokio::test]
async fn what_cannot_be_followed_is_refused_in_their_words() {
    let remote = Remote::new().await;
    let by = remote.somebody(&["operator"]);
    let id = made(&remote, &by).await;
    refused(
        &exec(&remote, &by, &id, &["true"]).await,
        403,
        "approval_required",
    );
    let path = format!("{SANDBOXES}/{id}/exec");
    for body in [
        json!({}),
        json!({ "argv": [] }),
        json!({ "argv": "true" }),
        json!({ "argv": ["a"], "x": 1 }),
    ] {
        let answer = remote.post(&path, &by, &body).await;
        assert!(matches!(answer.status, 400 | 422), "{body}");
        refused(&answer, answer.status, "invalid_call");
    }
    for (path, status, code) in [
        ("file/etc/passwd", 403, "bad_path"),
        ("file/workspace/%2e%2e/x", 400, "bad_path"),
        ("file/workspacex/a", 403, "bad_path"),
        ("mount", 404, "no_such_path"),
        ("pty", 404, "no_such_path"),
    ] {
        let answer = remote.get(&format!("{SANDBOXES}/{id}/{path}"), &by).await;
        refused(&answer, status, code);
    }
    refused(
        &exec(&remote, &by, "x", &["true"]).await,
        404,
        "sandbox_unknown",
    );
    let stranger = remote.token(&remote.claims("eve", "other", &["operator"]));
    for endpoint in CLOUDFLARE_ENDPOINTS
        .iter()
        .filter(|one| one.path.contains("{id}"))
    {
        let path = endpoint
            .path
            .replace("{id}", &id)
            .replace("{*path}", "workspace/a");
        let answer = remote
            .ask(
                endpoint.method,
                &path,
                &stranger,
                &json!({ "argv": ["true"] }),
            )
            .await;
        assert_eq!(answer.status, 404, "{path}: {}", answer.json());
        let none = remote
            .ask(
                endpoint.method,
                &path,
                &Headers::new(),
                &json!({ "argv": ["true"] }),
            )
            .await;
        assert_eq!(none.status, 401, "{path}");
        assert!(none.json()["error"].is_string());
    }
    assert_eq!(remote.house.keeper.runs(), 0);
    assert_eq!(remote.house.keeper.alive().len(), 1);
}

/// R158: each endpoint takes its permission.
#[tokio::test]
async fn each_endpoint_takes_its_permission() {
    let (remote, by) = Remote::with_operator().await;
    let id = made(&remote, &by).await;
    let path = |path: &str| path.replace("{id}", &id).replace("{*path}", "workspace/a");
    let (roles, words) = ([Role::Reader, Role::Approver], json!({ "argv": ["true"] }));
    let asked = remote.asked_by(&roles, CLOUDFLARE_ENDPOINTS, path, bearer, &words);
    asked.await;
    assert_eq!(remote.house.keeper.runs(), 0);
}
