//! Containers of OpenAI's clients, over a network and by raw HTTP: what its SDKs send, and what none of them should.

use casemate_api::OPENAI_ENDPOINTS;
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

const CONTAINERS: &str = "/openai/v1/containers";

async fn made(remote: &Remote, by: &Headers, new: &Value) -> String {
    let answer = remote.post(CONTAINERS, by, new).await;
    assert_eq!(answer.status, 200, "{}", answer.json());
    answer.json()["id"].as_str().unwrap().to_owned()
}

/// A refusal in the words of OpenAI, which is one in every respect.
#[track_caller]
fn refused(answer: &Answered, status: u16, code: &str) {
    let said = answer.json();
    let error = &said["error"];
    assert_eq!(
        (answer.status, &error["code"]),
        (status, &json!(code)),
        "{said}"
    );
    assert!(error["message"].is_string() && error["type"].is_string() && error["param"].is_null());
    assert_eq!(answer.headers["content-type"], "application/json");
    assert_eq!(
        answer.headers.contains_key("www-authenticate"),
        status == 401
    );
    let named = answer.headers.get("x-request-id");
    assert_eq!(
        named
            .map(|name| json!(name.to_str().unwrap()))
            .unwrap_or_default(),
        error["decision"]
    );
}

fn form(name: &str, content: &str) -> String {
    format!(
        "--x\r\ncontent-disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\r\n{content}\r\n--x--\r\n"
    )
}

/// A form as it is, which says that it has so many bytes.
async fn raw(remote: &Remote, by: &Headers, id: &str, form: &str, bytes: usize) -> (u16, Value) {
    let mut stream = TcpStream::connect(remote.address).await.unwrap();
    let (name, value) = &by[0];
    let head = format!(
        "POST {CONTAINERS}/{id}/files HTTP/1.1\r\nhost: c\r\nconnection: close\r\n{name}: {value}\r\ncontent-type: multipart/form-data; boundary=x\r\ncontent-length: {bytes}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(form.as_bytes()).await.unwrap();
    // Whoever says no more while there is more to come has gone away.
    if form.len() < bytes {
        stream.shutdown().await.unwrap();
    }
    let mut answer = String::new();
    drop(stream.read_to_string(&mut answer).await);
    let Some((head, body)) = answer.split_once("\r\n\r\n") else {
        return (0, Value::Null);
    };
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap())
}

async fn upload(remote: &Remote, by: &Headers, id: &str, name: &str, content: &str) -> Value {
    let form = form(name, content);
    let (status, said) = raw(remote, by, id, &form, form.len()).await;
    assert_eq!(status, 200, "{said}");
    said
}

async fn paths(remote: &Remote, by: &Headers, id: &str) -> Vec<String> {
    let listed = remote.get(&format!("{CONTAINERS}/{id}/files"), by).await;
    assert_eq!(listed.status, 200, "{}", listed.json());
    let listed = listed.json()["data"].as_array().unwrap().clone();
    let path = |file: &Value| file["path"].as_str().unwrap().to_owned();
    listed.iter().map(path).collect()
}

/// A container is a session with a thread of its own, which ends when the client says or sooner, and everything is on record.
#[tokio::test]
async fn a_container_is_a_session() {
    let (remote, by) = Remote::with_operator().await;
    let new =
        json!({ "name": "work", "expires_after": { "anchor": "last_active_at", "minutes": 2 } });
    let answer = remote.post(CONTAINERS, &by, &new).await;
    let said = answer.json();
    assert_eq!(answer.status, 200, "{said}");
    assert!(
        answer.headers["x-request-id"]
            .to_str()
            .unwrap()
            .starts_with("dec_")
    );
    assert_eq!(
        (
            &said["object"],
            &said["status"],
            &said["name"],
            &said["expires_after"]["minutes"]
        ),
        (
            &json!("container"),
            &json!("running"),
            &json!("work"),
            &json!(2)
        )
    );
    let id = said["id"].as_str().unwrap();
    let session = id.replace("cntr_", "ses_");
    let sessions = remote.get("/v1/sessions", &by).await.json();
    assert_eq!(sessions["sessions"][0]["session"], session);
    assert_eq!(remote.house.keeper.idle_ms(), [120_000]);
    // What the profile gives is the most that there is.
    let most = remote.house.profile.sandbox.session_idle_ms;
    let new =
        json!({ "name": "b", "expires_after": { "anchor": "last_active_at", "minutes": 1_440 } });
    let second = remote.post(CONTAINERS, &by, &new).await.json();
    assert_eq!(second["expires_after"]["minutes"], most / 60_000);
    assert_eq!(remote.house.keeper.idle_ms(), [120_000, most]);
    // Calls run in it as in any session, and it is found by whoever began again.
    let call = json!({ "session": session, "tool": "shell", "argv": ["true"] });
    assert_eq!(remote.post("/v1/calls", &by, &call).await.status, 200);
    let path = format!("{CONTAINERS}/{id}");
    assert_eq!(remote.get(&path, &by).await.json()["id"], id);
    let gone = remote.delete(&path, &by).await;
    assert_eq!((gone.status, &gone.json()["deleted"]), (200, &json!(true)));
    assert_eq!(remote.house.keeper.alive().len(), 1);
    refused(&remote.get(&path, &by).await, 404, "container_unknown");
    refused(&remote.delete(&path, &by).await, 404, "container_unknown");
    let listed = remote.get(CONTAINERS, &by).await.json();
    assert_eq!(listed["data"].as_array().unwrap().len(), 1);
}

/// One that ended by itself is told as over, and nothing is done in it.
#[tokio::test]
async fn a_container_that_is_over_says_so() {
    let (remote, by) = Remote::with_operator().await;
    let id = made(&remote, &by, &json!({ "name": "a" })).await;
    let session = id.replace("cntr_", "ses_").parse().unwrap();
    remote.house.keeper.end(session, casemate_ports::Gone::Idle);
    let path = format!("{CONTAINERS}/{id}");
    let said = remote.get(&path, &by).await.json();
    assert_eq!(said["status"], "expired");
    let listed = remote.get(CONTAINERS, &by).await.json();
    assert_eq!(listed["data"][0]["status"], "expired");
    refused(
        &remote.get(&format!("{path}/files"), &by).await,
        404,
        "container_expired",
    );
    let form = form("a", "b");
    let (status, _) = raw(&remote, &by, &id, &form, form.len()).await;
    assert_eq!(status, 404);
}

/// Files go in and out, whoever made them, and each is what its id says.
#[tokio::test]
async fn files_go_in_and_out() {
    let (remote, by) = Remote::with_operator().await;
    let id = made(&remote, &by, &json!({ "name": "a" })).await;
    let brought = upload(&remote, &by, &id, "a.txt", "hello").await;
    assert_eq!(
        (
            &brought["path"],
            &brought["bytes"],
            &brought["source"],
            &brought["object"]
        ),
        (
            &json!("/mnt/data/a.txt"),
            &json!(5),
            &json!("user"),
            &json!("container.file")
        )
    );
    // By another interface: as far as a client of this one knows, the assistant made it.
    let session = id.replace("cntr_", "ses_");
    let other = format!("/v1/sessions/{session}/files/sub/b.txt");
    assert_eq!(
        remote.ask("PUT", &other, &by, &json!("x")).await.status,
        201
    );
    let mut listed = paths(&remote, &by, &id).await;
    listed.sort();
    assert_eq!(listed, ["/mnt/data/a.txt", "/mnt/data/sub/b.txt"]);
    let files = format!("{CONTAINERS}/{id}/files");
    let all = remote.get(&files, &by).await.json();
    let made = all["data"].as_array().unwrap();
    let made = made
        .iter()
        .find(|file| file["path"] == "/mnt/data/sub/b.txt");
    assert_eq!(made.unwrap()["source"], "assistant");
    let file = format!("{files}/{}", brought["id"].as_str().unwrap());
    assert_eq!(remote.get(&file, &by).await.json()["bytes"], 5);
    let content = remote.get(&format!("{file}/content"), &by).await;
    assert_eq!(
        (content.status, content.body.as_slice()),
        (200, &b"hello"[..])
    );
    assert_eq!(content.headers["x-content-type-options"], "nosniff");
    let gone = remote.delete(&file, &by).await;
    assert_eq!((gone.status, &gone.json()["deleted"]), (200, &json!(true)));
    for path in [file.clone(), format!("{file}/content")] {
        refused(&remote.get(&path, &by).await, 404, "file_not_found");
    }
    refused(&remote.delete(&file, &by).await, 404, "file_not_found");
}

/// An upload is whole or is not there, and its name leads nowhere else.
#[tokio::test]
async fn an_upload_that_is_none_leaves_nothing() {
    let (remote, by) = Remote::with_operator().await;
    let id = made(&remote, &by, &json!({ "name": "a" })).await;
    let whole = form("a.txt", &"x".repeat(200_000));
    let (status, _) = raw(
        &remote,
        &by,
        &id,
        whole.get(..150_000).unwrap(),
        whole.len(),
    )
    .await;
    assert!(matches!(status, 0 | 400), "{status}");
    let too_large = 600 << 20;
    let (status, _) = raw(&remote, &by, &id, "--x\r\n", too_large).await;
    assert!(matches!(status, 0 | 400 | 413), "{status}");
    for name in ["../a", "/etc/a", "", "/mnt/data/", "a/../../b"] {
        let form = form(name, "x");
        let (status, said) = raw(&remote, &by, &id, &form, form.len()).await;
        assert_eq!(
            (status, &said["error"]["type"]),
            (400, &json!("invalid_request_error")),
            "{name}"
        );
    }
    for (form, wanted) in [
        ("--x--\r\n", 400),
        ("nonsense", 400),
        (
            "--x\r\ncontent-disposition: form-data; name=\"file\"\r\n\r\nx\r\n--x--\r\n",
            400,
        ),
        (
            "--x\r\ncontent-disposition: form-data; name=\"file_id\"\r\n\r\nfile-1\r\n--x--\r\n",
            404,
        ),
    ] {
        let (status, said) = raw(&remote, &by, &id, form, form.len()).await;
        assert_eq!(status, wanted, "{said}");
    }
    let files = format!("{CONTAINERS}/{id}/files");
    refused(
        &remote
            .post(&files, &by, &json!({ "file_id": "file-1" }))
            .await,
        404,
        "file_not_found",
    );
    refused(
        &remote.post(&files, &by, &json!({ "x": 1 })).await,
        400,
        "invalid_call",
    );
    assert_eq!(paths(&remote, &by, &id).await, [""; 0]);
}

/// What would widen the profile, is not there, or is no request, makes nothing.
#[tokio::test]
async fn what_cannot_be_given_makes_no_container() {
    let (remote, by) = Remote::with_operator().await;
    let before = remote.house.keeper.opened();
    let after = |minutes: Value| json!({ "anchor": "last_active_at", "minutes": minutes });
    for (member, value) in [
        ("name", json!("")),
        ("name", json!("a\nb")),
        ("name", json!("a".repeat(193))),
        ("name", json!(7)),
        ("memory_limit", json!("64g")),
        ("memory_limit", json!("2g")),
        (
            "network_policy",
            json!({ "type": "allowlist", "allowed_domains": ["example.com"] }),
        ),
        (
            "network_policy",
            json!({ "type": "allowlist", "allowed_domains": [], "domain_secrets": [{}] }),
        ),
        ("network_policy", json!({ "type": "open" })),
        ("file_ids", json!(["file-1"])),
        ("skills", json!([{}])),
        ("expires_after", after(json!(0))),
        ("expires_after", after(json!(1_441))),
        ("expires_after", after(json!(-1))),
        (
            "expires_after",
            json!({ "anchor": "created_at", "minutes": 1 }),
        ),
        ("no_such_member", json!(1)),
    ] {
        let mut new = json!({ "name": "a" });
        new[member] = value;
        let answer = remote.post(CONTAINERS, &by, &new).await;
        assert!(
            matches!(answer.status, 400 | 422),
            "{new}: {}",
            answer.status
        );
        refused(&answer, answer.status, "invalid_call");
    }
    for path in [
        format!("{CONTAINERS}?route=nowhere"),
        format!("{CONTAINERS}?agent=NO"),
    ] {
        let answer = remote.post(&path, &by, &json!({ "name": "a" })).await;
        refused(&answer, 400, "invalid_call");
    }
    for query in [
        "limit=0",
        "limit=101",
        "limit=x",
        "order=up",
        "after=cntr_x",
    ] {
        let answer = remote.get(&format!("{CONTAINERS}?{query}"), &by).await;
        refused(&answer, 400, "invalid_call");
    }
    for (id, code) in [
        ("cntr_x", "container_unknown"),
        ("ses_0198c7e4000070008000000000000000", "container_unknown"),
    ] {
        refused(
            &remote.get(&format!("{CONTAINERS}/{id}"), &by).await,
            404,
            code,
        );
    }
    refused(
        &remote.get("/openai/v1/models", &by).await,
        404,
        "no_such_path",
    );
    refused(
        &remote.ask("PUT", CONTAINERS, &by, &Value::Null).await,
        405,
        "no_such_path",
    );
    assert_eq!(remote.house.keeper.opened(), before);
    // The rest of what is offered is taken.
    let new = json!({ "name": "a", "file_ids": [], "skills": [], "network_policy": { "type": "disabled" } });
    made(&remote, &by, &new).await;
}

/// R158: each endpoint takes its permission, and strangers are told which credential is wanted.
#[tokio::test]
async fn each_endpoint_takes_its_permission() {
    let (remote, by) = Remote::with_operator().await;
    let id = made(&remote, &by, &json!({ "name": "a" })).await;
    let roles = [Role::Reader, Role::Operator, Role::Approver];
    let path = |path: &str| path.replace("{id}", &id).replace("{file}", "cfile_YQ");
    let new = json!({ "name": "b" });
    let asked = remote.asked_by(&roles, OPENAI_ENDPOINTS, path, bearer, &new);
    asked.await;
    let before = remote.happened();
    for endpoint in OPENAI_ENDPOINTS {
        let path = endpoint
            .path
            .replace("{id}", &id)
            .replace("{file}", "cfile_YQ");
        let answer = remote
            .ask(
                endpoint.method,
                &path,
                &Headers::new(),
                &json!({ "name": "b" }),
            )
            .await;
        let code = answer.json()["error"]["code"].as_str().unwrap().to_owned();
        refused(&answer, 401, &code);
    }
    assert_eq!(remote.happened(), before);
}

/// R153: what is of one tenant is to another as what never was, and so is a session that is no container.
#[tokio::test]
async fn nobody_finds_the_containers_of_others() {
    let (remote, by) = Remote::with_operator().await;
    let id = made(&remote, &by, &json!({ "name": "mine" })).await;
    let file = upload(&remote, &by, &id, "a.txt", "hello").await;
    let file = file["id"].as_str().unwrap();
    let (_, text) = remote.new_key("other", &[Role::Operator, Role::Administrator]);
    let stranger = bearer(&text);
    for endpoint in OPENAI_ENDPOINTS
        .iter()
        .filter(|one| one.path.contains("{id}"))
    {
        let path = endpoint.path.replace("{id}", &id).replace("{file}", file);
        for (path, by) in [
            (path.clone(), &stranger),
            (format!("{path}?agent=another"), &by),
        ] {
            let answer = remote.ask(endpoint.method, &path, by, &Value::Null).await;
            refused(&answer, 404, "container_unknown");
        }
    }
    let listed = remote.get(CONTAINERS, &stranger).await.json();
    assert_eq!(listed["data"], json!([]));
    let call = json!({ "thread": "mine", "tool": "shell", "argv": ["true"] });
    let session = remote.post("/v1/calls", &by, &call).await.json()["session"].clone();
    let other = session.as_str().unwrap().replace("ses_", "cntr_");
    refused(
        &remote.get(&format!("{CONTAINERS}/{other}"), &by).await,
        404,
        "container_unknown",
    );
    assert_eq!(paths(&remote, &by, &id).await, ["/mnt/data/a.txt"]);
}
