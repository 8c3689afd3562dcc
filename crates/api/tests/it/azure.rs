//! Pools of dynamic sessions, over a network and by raw HTTP: what Azure's clients send, and what none of them should.

use casemate_callers::Role;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    client::Answered,
    remote::{Headers, Remote, bearer},
};

/// The query of the first generation, and of the second.
const FIRST: &str = "api-version=2024-02-02-preview&identifier=a-thread";
const SECOND: &str = "api-version=2025-02-02-preview&identifier=a-thread";

fn python(code: &str) -> Value {
    json!({"properties": {"codeInputType": "inline", "executionType": "synchronous", "code": code}})
}

fn pool(remote: &Remote) -> String {
    let route = remote.house.profile.route.clone();
    format!("/pool/{route}")
}

async fn execute(remote: &Remote, by: &Headers, code: &str) -> Answered {
    let path = format!("{}/code/execute?{FIRST}", pool(remote));
    remote.post(&path, by, &python(code)).await
}

async fn executions(remote: &Remote, by: &Headers, body: &Value) -> Answered {
    let path = format!("{}/executions?{SECOND}", pool(remote));
    remote.post(&path, by, body).await
}

/// A form with one file, and what comes back.
async fn upload(remote: &Remote, by: &Headers, path: &str, name: &str, body: &str) -> Value {
    let form = format!(
        "--x\r\ncontent-disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\r\n{body}\r\n--x--\r\n"
    );
    let answer = raw(remote, by, path, form.as_bytes(), form.len()).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{answer}");
    serde_json::from_str(body).unwrap()
}

/// A form as it is, which says that it has so many bytes.
async fn raw(remote: &Remote, by: &Headers, path: &str, form: &[u8], bytes: usize) -> String {
    let mut stream = TcpStream::connect(remote.address).await.unwrap();
    let (name, value) = &by[0];
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: c\r\nconnection: close\r\n{name}: {value}\r\ncontent-type: multipart/form-data; boundary=x\r\ncontent-length: {bytes}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(form).await.unwrap();
    // Whoever says no more while there is more to come has gone away.
    if form.len() < bytes {
        stream.shutdown().await.unwrap();
    }
    let mut answer = String::new();
    drop(stream.read_to_string(&mut answer).await);
    answer
}

/// Both generations run code in the thread that the identifier names, as any call does.
#[tokio::test]
async fn an_execution_is_a_call_in_a_thread() {
    let remote = Remote::new().await;
    let by = remote.somebody(&["operator"]);
    let first = execute(&remote, &by, "write 3").await;
    assert_eq!(first.status, 200, "{}", first.json());
    let said = &first.json()["properties"];
    assert_eq!(
        (&said["status"], &said["stdout"]),
        (&json!("Success"), &json!("xxx"))
    );
    assert_eq!(
        execute(&remote, &by, "false").await.json()["properties"]["status"],
        "Failure"
    );
    let second =
        json!({"codeInputType": "Inline", "executionType": "Synchronous", "code": "write 2"});
    let second = executions(&remote, &by, &second).await;
    assert_eq!(
        (second.status, &second.json()["status"]),
        (200, &json!("Succeeded"))
    );
    assert_eq!(second.json()["result"]["stdout"], "xx");
    assert_eq!(second.json()["identifier"], "a-thread");
    let place = second.headers["operation-location"].to_str().unwrap();
    let id = second.json()["id"].as_str().unwrap().to_owned();
    assert!(
        place.starts_with("http://casemate/pool/") && place.contains(&id),
        "{place}"
    );
    // One session has it all.
    let sessions = remote.get("/v1/sessions", &by).await.json();
    assert_eq!(sessions["sessions"].as_array().unwrap().len(), 1);
    assert_eq!(sessions["sessions"][0]["thread"], "a-thread");
    let listed = format!("{}/listSessions?{SECOND}", pool(&remote));
    let listed = remote.get(&listed, &by).await.json();
    assert_eq!(listed["value"][0]["identifier"], "a-thread");
    let session = format!("{}/session?{SECOND}", pool(&remote));
    let shown = remote.get(&session, &by).await.json();
    assert!(
        shown["expireAt"].as_str().unwrap().ends_with('Z'),
        "{shown}"
    );
    // It ends once, and a second time there is nothing left to do.
    for _ in 0..2 {
        assert_eq!(remote.delete(&session, &by).await.status, 204);
    }
    assert!(remote.house.keeper.alive().is_empty());
    assert_eq!(remote.get(&session, &by).await.code(), "session_unknown");
}

/// What nobody waits for runs by itself, and can be asked after by those who could know of it.
#[tokio::test]
async fn an_asynchronous_execution_is_asked_after() {
    let remote = Remote::new().await;
    let by = remote.somebody(&["operator"]);
    let body =
        json!({"codeInputType": "Inline", "executionType": "Asynchronous", "code": "write 4"});
    let begun = executions(&remote, &by, &body).await.json();
    assert_eq!(begun["status"], "NotStarted");
    let id = begun["id"].as_str().unwrap();
    let path = format!("{}/executions/{id}?{SECOND}", pool(&remote));
    let mut said = Value::Null;
    for _ in 0..2_000 {
        said = remote.get(&path, &by).await.json();
        if said["status"] == "Succeeded" {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    assert_eq!(said["result"]["stdout"], "xxxx", "{said}");
    // The address that was given leads there too, whoever's agent it is of.
    let path_of_it = format!("{}/executions?{SECOND}&agent=billing", pool(&remote));
    let begun = remote.post(&path_of_it, &by, &body).await;
    let place = begun.headers["operation-location"].to_str().unwrap();
    let (_, place) = place.split_once("/pool/").unwrap();
    let found = remote.get(&format!("/pool/{place}"), &by).await;
    assert_eq!(
        (found.status, &found.json()["id"]),
        (200, &begun.json()["id"])
    );
    // Another session, another agent and another tenant have none of this name.
    let stranger = remote.token(&remote.claims("eve", "other", &["operator"]));
    for (path, by) in [
        (path.replace("a-thread", "b-thread"), &by),
        (format!("{path}&agent=other"), &by),
        (path.clone(), &stranger),
    ] {
        let answer = remote.get(&path, by).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (404, "call_unknown")
        );
    }
}

/// A call that waits for a person has not run, and says so with the name under which it waits.
#[tokio::test]
async fn a_held_execution_is_a_refusal_with_its_name() {
    let remote = Remote::new().await;
    let by = remote.somebody(&["operator"]);
    let held = executions(&remote, &by, &json!({"shellCommand": "true"})).await;
    assert_eq!(
        (held.status, held.code().as_str()),
        (403, "approval_required")
    );
    let id = held.json()["error"]["innererror"]["decision"].clone();
    let id = id.as_str().unwrap();
    assert!(
        held.json()["error"]["message"]
            .as_str()
            .unwrap()
            .contains(id)
    );
    assert_eq!(remote.house.keeper.runs(), 0);
    let path = format!("{}/executions/{id}?{SECOND}", pool(&remote));
    assert_eq!(remote.get(&path, &by).await.json()["status"], "NotStarted");
}

/// Every refusal has the form that Azure's clients read, wherever it comes from, and nothing was done.
#[tokio::test]
async fn what_cannot_be_followed_is_refused_in_their_words() {
    let remote = Remote::new().await;
    let by = remote.somebody(&["operator"]);
    let pool = pool(&remote);
    let run = python("1");
    let long = "a".repeat(129);
    for (status, code, path, body) in [
        (
            404,
            "pool_unknown",
            format!("/pool/nowhere/code/execute?{FIRST}"),
            &run,
        ),
        (400, "invalid_call", format!("{pool}/code/execute"), &run),
        (
            400,
            "invalid_call",
            format!("{pool}/code/execute?api-version=2019-01-01&identifier=abcd"),
            &run,
        ),
        (
            400,
            "invalid_call",
            format!("{pool}/code/execute?api-version=2024-02-02-preview"),
            &run,
        ),
        (
            400,
            "invalid_call",
            format!("{pool}/code/execute?api-version=2024-02-02-preview&identifier=abc"),
            &run,
        ),
        (
            400,
            "invalid_call",
            format!("{pool}/code/execute?api-version=2024-02-02-preview&identifier={long}"),
            &run,
        ),
        (
            400,
            "invalid_call",
            format!("{pool}/code/execute?api-version=2024-02-02-preview&identifier=a%0Abc"),
            &run,
        ),
        (
            400,
            "invalid_call",
            format!("{pool}/code/execute?{FIRST}&agent=No"),
            &run,
        ),
        (
            400,
            "invalid_call",
            format!("{pool}/code/execute?{FIRST}"),
            &json!({"code": "1"}),
        ),
        (
            400,
            "invalid_call",
            format!("{pool}/code/execute?{FIRST}"),
            &json!({"properties": {}}),
        ),
        (
            400,
            "invalid_call",
            format!("{pool}/code/execute?{FIRST}"),
            &json!([1]),
        ),
        (
            400,
            "invalid_call",
            format!("{pool}/executions?{SECOND}"),
            &json!({"code": "1", "shellCommand": "ls"}),
        ),
        (
            400,
            "invalid_call",
            format!("{pool}/executions?{SECOND}"),
            &json!({"code": "1", "timeoutInSeconds": 0}),
        ),
        (404, "no_such_path", format!("{pool}/nothing?{FIRST}"), &run),
        (
            404,
            "no_such_path",
            format!("{pool}/files/other?{FIRST}"),
            &run,
        ),
        (405, "no_such_path", format!("{pool}/session?{FIRST}"), &run),
    ] {
        let answer = remote.post(&path, &by, body).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (status, code),
            "{path} {body}"
        );
    }
    assert_eq!(remote.house.keeper.runs(), 0);
}

/// So is what does not exist, and whoever is not believed.
#[tokio::test]
async fn what_is_not_there_is_refused_in_their_words() {
    let remote = Remote::new().await;
    let by = remote.somebody(&["operator"]);
    let pool = pool(&remote);
    let run = python("1");
    let unknown = format!("/pool/nowhere/files?{FIRST}");
    let unknown = remote.get(&unknown, &by).await.json();
    let says = unknown["error"]["message"].as_str().unwrap();
    assert!(says.contains(&remote.house.profile.route), "{says}");
    for (path, code) in [
        ("executions/dec_x", "invalid_call"),
        (
            "executions/dec_0198c7e4000070008000000000000000",
            "call_unknown",
        ),
        ("files/none/content", "file_not_found"),
        ("files/%2e%2e%2fx/content", "bad_path"),
        ("files/content/%2e%2e/x", "bad_path"),
        ("files/%2fetc%2fpasswd/content", "invalid_call"),
    ] {
        let answer = remote.get(&format!("{pool}/{path}?{SECOND}"), &by).await;
        assert_eq!(answer.code(), code, "{path}");
    }
    assert_eq!(remote.house.keeper.runs(), 0);
    // Strangers too, who are told which credential is wanted.
    for headers in [vec![], bearer("cmt_a.b.c"), bearer("nonsense")] {
        let answer = remote
            .post(&format!("{pool}/code/execute?{FIRST}"), &headers, &run)
            .await;
        assert_eq!(answer.status, 401);
        assert!(!answer.code().is_empty());
        assert!(answer.headers.contains_key("www-authenticate"));
    }
}

/// Too much is refused before it is all there, and a body that ends early is no request.
#[tokio::test]
async fn a_request_that_is_too_large_or_cut_off_runs_nothing() {
    let remote = Remote::new().await;
    let by = remote.somebody(&["operator"]);
    let path = format!("{}/code/execute?{FIRST}", pool(&remote));
    let large = python(&"#".repeat(25 << 20));
    let answer = remote.post(&path, &by, &large).await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (413, "request_too_large")
    );
    let answer = raw(&remote, &by, &path, b"{\"properties\":", 100).await;
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 400"),
        "{answer}"
    );
    assert_eq!(remote.house.keeper.runs(), 0);
}

/// A client that goes away in the middle leaves nothing running.
#[tokio::test]
async fn a_client_that_vanishes_takes_its_execution_along() {
    let remote = Remote::new().await;
    let by = remote.somebody(&["operator"]);
    let body = python("wait").to_string();
    let (name, value) = &by[0];
    let path = format!("{}/code/execute?{FIRST}", pool(&remote));
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: c\r\n{name}: {value}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(remote.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    crate::client::until(|| remote.house.keeper.running() == 1).await;
    drop(stream);
    crate::client::until(|| remote.house.keeper.running() == 0).await;
}

/// Files are below /mnt/data however they are named, in both generations.
#[tokio::test]
async fn files_go_in_and_out_in_both_generations() {
    let remote = Remote::new().await;
    let by = remote.somebody(&["operator"]);
    let pool = pool(&remote);
    let first = upload(
        &remote,
        &by,
        &format!("{pool}/files/upload?{FIRST}"),
        "/mnt/data/a.txt",
        "hello",
    )
    .await;
    let properties = &first["value"][0]["properties"];
    assert_eq!(
        (&properties["filename"], &properties["size"]),
        (&json!("a.txt"), &json!(5))
    );
    let second = format!("{pool}/files?{SECOND}&path=/mnt/data/sub");
    let second = upload(&remote, &by, &second, "b.txt", "hi").await;
    assert_eq!(
        (&second["name"], &second["sizeInBytes"]),
        (&json!("b.txt"), &json!(2))
    );
    assert_eq!(second["directory"], "/mnt/data/sub");
    for (path, content) in [
        (format!("files/content/a.txt?{FIRST}"), "hello"),
        (format!("files/content/sub/b.txt?{FIRST}"), "hi"),
        (format!("files/a.txt/content?{SECOND}"), "hello"),
        (
            format!("files/b.txt/content?{SECOND}&path=/mnt/data/sub"),
            "hi",
        ),
    ] {
        let got = remote.get(&format!("{pool}/{path}"), &by).await;
        assert_eq!(
            (got.status, got.body.as_slice()),
            (200, content.as_bytes()),
            "{path}"
        );
        assert_eq!(got.headers["x-content-type-options"], "nosniff");
    }
    // Another tenant's session of the same name is another one.
    let stranger = remote.token(&remote.claims("eve", "other", &["operator"]));
    let theirs = remote
        .get(&format!("{pool}/files/content/a.txt?{FIRST}"), &stranger)
        .await;
    assert_eq!(theirs.code(), "file_not_found");
    let gone = format!("{pool}/files/a.txt?{SECOND}");
    assert_eq!(remote.delete(&gone, &by).await.status, 204);
    let gone = format!("{pool}/files/a.txt/content?{SECOND}");
    assert_eq!(remote.get(&gone, &by).await.code(), "file_not_found");
}

/// An upload is whole or is not there.
#[tokio::test]
async fn an_upload_that_is_cut_off_or_no_form_leaves_nothing() {
    let remote = Remote::new().await;
    let by = remote.somebody(&["operator"]);
    let pool = pool(&remote);
    let path = format!("{pool}/files/upload?{FIRST}");
    let part = "--x\r\ncontent-disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\nhalf";
    for (form, bytes) in [
        (part.to_owned(), part.len()),
        (part.to_owned(), part.len() + 100),
        (
            "--x\r\ncontent-disposition: form-data; name=\"file\"\r\n\r\nno name\r\n--x--\r\n"
                .to_owned(),
            0,
        ),
        ("nonsense".to_owned(), 0),
        (String::new(), 0),
    ] {
        let bytes = if bytes == 0 { form.len() } else { bytes };
        let answer = raw(&remote, &by, &path, form.as_bytes(), bytes).await;
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 400"),
            "{form}: {answer}"
        );
    }
    let answer = remote.post(&path, &by, &json!({})).await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (400, "invalid_call")
    );
    let none = format!("{pool}/files/content/f?{FIRST}");
    assert_eq!(remote.get(&none, &by).await.code(), "file_not_found");
}

/// R153: the token endpoint gives whoever holds a key a token of that key's authority, for pools and for nothing else, on record.
#[tokio::test]
async fn a_managed_identity_is_an_api_key() {
    let remote = Remote::new().await;
    let ask = "/msi/token?api-version=2019-08-01&resource=https%3A%2F%2Fdynamicsessions.io";
    let (id, key) = remote.new_key("acme", &[Role::Operator]);
    let identity = |key: &str| vec![("x-identity-header", key.to_owned())];
    let given = remote.get(ask, &identity(&key)).await;
    assert_eq!(given.status, 200, "{}", given.json());
    assert_eq!(given.headers["cache-control"], "no-store");
    let given = given.json();
    let expires: u64 = given["expires_on"].as_str().unwrap().parse().unwrap();
    assert!(expires * 1_000 <= remote.now_ms() + 3_600_000 && expires * 1_000 > remote.now_ms());
    let token = given["access_token"].as_str().unwrap();
    let by = bearer(token);
    let ran = execute(&remote, &by, "write 1").await;
    assert_eq!(ran.status, 200, "{}", ran.json());
    let records = remote.house.world.records();
    assert!(
        records
            .iter()
            .any(|record| record.entry.summary["tool"] == "token.issue")
    );
    assert!(
        !records
            .iter()
            .any(|record| format!("{record:?}").contains(token))
    );
    // Not for anything else, and not for another token.
    for path in ["/v1/sessions", "/v1/api-keys", "/mcp", ask] {
        let answer = remote.get(path, &by).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (401, "wrong_audience"),
            "{path}"
        );
    }
    let other = "/msi/token?api-version=2019-08-01&resource=https%3A%2F%2Fmanagement.azure.com";
    let answer = remote.get(other, &identity(&key)).await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (400, "invalid_call")
    );
    // No credential of another kind becomes one, and no key that may not run calls.
    let answer = remote.get(ask, &remote.somebody(&["operator"])).await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (400, "malformed_credential")
    );
    let (_, reader) = remote.new_key("acme", &[Role::Reader]);
    assert_eq!(
        remote.get(ask, &identity(&reader)).await.code(),
        "missing_scope"
    );
    assert_eq!(remote.get(ask, &identity("cm_x")).await.status, 401);
    assert_eq!(remote.get(ask, &vec![]).await.status, 401);
    // It ends with its key.
    remote
        .callers
        .revoke_key("acme", &id, remote.now_ms())
        .unwrap();
    assert_eq!(execute(&remote, &by, "write 1").await.code(), "revoked");
}
