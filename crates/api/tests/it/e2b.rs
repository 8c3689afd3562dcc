//! E2B's clients, in raw HTTP, on a fake keeper: the control plane, the door of sandboxes, and whatever is no message.

use casemate_api::{E2B_ENDPOINTS, ENVD_ENDPOINTS, INTERPRETER_ENDPOINTS, limits::MAX_E2B_TOKENS};
use casemate_callers::Role;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::{
    client::Answered,
    remote::{Headers, Remote},
};

pub(crate) fn key(key: &str) -> Headers {
    vec![("x-api-key", key.to_owned())]
}

/// A gateway, and the key of an operator of `acme`.
pub(crate) async fn served() -> (Remote, Headers) {
    let remote = Remote::new().await;
    let (_, text) = remote.new_key("acme", &[Role::Operator]);
    (remote, key(&text))
}

pub(crate) async fn made(remote: &Remote, by: &Headers) -> Value {
    let answer = remote
        .post(
            "/v2/sandboxes",
            by,
            &json!({ "templateID": "base", "timeout": 60 }),
        )
        .await;
    assert_eq!(answer.status, 201, "{}", answer.json());
    answer.json()
}

pub(crate) fn text(of: &Value, member: &str) -> String {
    of[member].as_str().unwrap().to_owned()
}

/// What goes to a sandbox, for whoever has its token.
pub(crate) fn inside(sandbox: &Value, port: u16) -> Headers {
    vec![
        ("e2b-sandbox-id", text(sandbox, "sandboxID")),
        ("e2b-sandbox-port", port.to_string()),
        ("x-access-token", text(sandbox, "envdAccessToken")),
    ]
}

/// Bytes as they are.
pub(crate) async fn raw(
    remote: &Remote,
    method: &str,
    path: &str,
    headers: &Headers,
    body: &[u8],
) -> Answered {
    let stream = TcpStream::connect(remote.address).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut request = Request::builder().method(method).uri(path);
    if !headers.iter().any(|(name, _)| *name == "host") {
        request = request.header("host", "casemate");
    }
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    let request = request
        .body(Full::new(Bytes::copy_from_slice(body)))
        .unwrap();
    let (head, body) = sender.send_request(request).await.unwrap().into_parts();
    Answered {
        status: head.status.as_u16(),
        headers: head.headers,
        body: body.collect().await.unwrap().to_bytes().to_vec(),
    }
}

pub(crate) fn with(headers: &Headers, more: &[(&'static str, &str)]) -> Headers {
    let more = more
        .iter()
        .map(|(name, value)| (*name, (*value).to_owned()));
    headers.iter().cloned().chain(more).collect()
}

pub(crate) fn framed(flags: u8, message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[flags], &length[..], message].concat()
}

/// The error at the end of a stream.
pub(crate) fn end_of(answer: &Answered) -> Value {
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body[0], 2, "{:?}", answer.body);
    serde_json::from_slice::<Value>(&answer.body[5..]).unwrap()["error"].clone()
}

#[tokio::test]
async fn a_sandbox_is_made_found_kept_and_killed_in_both_versions() {
    let (remote, by) = served().await;
    for path in ["/sandboxes", "/v2/sandboxes"] {
        let new = json!({"templateID": "code-interpreter-v1", "timeout": 60, "secure": true, "allow_internet_access": true,
            "metadata": {"who": path}, "envVars": {"A": "b"}, "autoPause": false});
        let answer = remote.post(path, &by, &new).await;
        assert_eq!(answer.status, 201, "{}", answer.json());
        let sandbox = answer.json();
        let id = text(&sandbox, "sandboxID");
        // A host can name it.
        assert!(
            id.bytes()
                .all(|byte| byte.is_ascii_digit() || byte.is_ascii_lowercase()),
            "{id}"
        );
        assert!(text(&sandbox, "trafficAccessToken").len() >= 32);

        let listed = remote
            .get(
                "/v2/sandboxes?state=running&metadata=who%3D%252Fsandboxes",
                &by,
            )
            .await;
        let found = listed.json().as_array().unwrap().len();
        assert_eq!(
            found,
            usize::from(path == "/sandboxes"),
            "{}",
            listed.json()
        );
        let paused = remote.get("/v2/sandboxes?state=paused", &by).await.json();
        assert_eq!(paused, json!([]));

        let shown = remote.get(&format!("/sandboxes/{id}"), &by).await.json();
        assert_eq!(
            (&shown["state"], &shown["metadata"]["who"]),
            (&json!("running"), &json!(path))
        );
        let longer = json!({ "timeout": 600 });
        let kept = remote
            .post(&format!("/sandboxes/{id}/timeout"), &by, &longer)
            .await;
        assert_eq!(kept.status, 204);
        let later = remote.get(&format!("/sandboxes/{id}"), &by).await.json();
        assert!(text(&later, "endAt") > text(&shown, "endAt"));
        for connect in [
            format!("/v2/sandboxes/{id}/connect"),
            format!("/sandboxes/{id}/connect"),
            format!("/sandboxes/{id}/resume"),
        ] {
            let connected = remote.post(&connect, &by, &json!({ "timeout": 1 })).await;
            assert_eq!(connected.status, 200, "{}", connected.json());
            // The same caller has the same token, and nobody's time becomes shorter.
            assert_eq!(
                connected.json()["envdAccessToken"],
                sandbox["envdAccessToken"]
            );
        }
        assert_eq!(
            remote.get(&format!("/sandboxes/{id}"), &by).await.json()["endAt"],
            later["endAt"]
        );
        let health = raw(&remote, "GET", "/health", &inside(&sandbox, 49_983), b"").await;
        assert_eq!(health.status, 204);

        assert_eq!(
            remote.delete(&format!("/sandboxes/{id}"), &by).await.status,
            204
        );
        let gone = remote.delete(&format!("/sandboxes/{id}"), &by).await;
        assert_eq!(
            (gone.status, gone.json()["code"].as_u64()),
            (404, Some(404))
        );
        let health = raw(&remote, "GET", "/health", &inside(&sandbox, 49_983), b"").await;
        assert_eq!(health.status, 502);
        assert!(text(&health.json(), "message").contains("was not found"));
    }
}

/// A list goes on where it ended.
#[tokio::test]
async fn a_list_has_pages() {
    let (remote, by) = served().await;
    let mut made_ids = Vec::new();
    for _ in 0..3 {
        remote.house.world.clock.advance(1);
        made_ids.push(text(&made(&remote, &by).await, "sandboxID"));
    }
    made_ids.reverse();
    let (mut found, mut next) = (Vec::new(), String::new());
    for _ in 0..2 {
        let page = remote
            .get(&format!("/v2/sandboxes?limit=2{next}"), &by)
            .await;
        found.extend(
            page.json()
                .as_array()
                .unwrap()
                .iter()
                .map(|one| text(one, "sandboxID")),
        );
        let token = page
            .headers
            .get("x-next-token")
            .map(|token| token.to_str().unwrap().to_owned());
        next = token.map_or_else(|| "end".to_owned(), |token| format!("&nextToken={token}"));
    }
    assert_eq!((found, next.as_str()), (made_ids, "end"));
    for bad in ["limit=0", "limit=101", "limit=x", "nextToken=0"] {
        assert_eq!(
            remote
                .get(&format!("/v2/sandboxes?{bad}"), &by)
                .await
                .status,
            400,
            "{bad}"
        );
    }
}

/// What a profile does not give is not given to a sandbox, and what cannot be done is not left out silently.
#[tokio::test]
async fn nothing_is_made_that_is_more_than_the_profile() {
    let (remote, by) = served().await;
    let before = remote.happened();
    for (more, status, word) in [
        (json!({"templateID": "nope"}), 404, "there are"),
        (json!({"templateID": "x".repeat(300)}), 400, "at most"),
        (json!({"timeout": 100_000_000}), 400, "session_max_ms"),
        (json!({"timeout": -1}), 400, "expected u64"),
        (json!({"timeout": "1"}), 400, "expected u64"),
        (
            json!({"network": {"allowOut": ["example.com"]}}),
            403,
            "cannot widen",
        ),
        (
            json!({"network": {"allowOut": ["0.0.0.0/0"]}}),
            403,
            "cannot widen",
        ),
        (json!({"network": {"rules": {"a": []}}}), 400, "profile"),
        (
            json!({"network": {"egressProxy": {"address": "a"}}}),
            400,
            "profile",
        ),
        (
            json!({"network": {"dnsServers": ["1.1.1.1"]}}),
            400,
            "profile",
        ),
        (json!({"autoPause": true}), 400, "not available"),
        (
            json!({"volumeMounts": [{"name": "v", "path": "/v"}]}),
            400,
            "not available",
        ),
        (
            json!({"iam": {"tokens": {"t": {}}}}),
            400,
            "lent by the profile",
        ),
        (json!({"mcp": {"x": {}}}), 400, "not available"),
        (
            json!({"envVars": (0..300).map(|n| (format!("V{n}"), "x")).collect::<std::collections::BTreeMap<_, _>>()}),
            400,
            "at most",
        ),
    ] {
        let mut new = json!({ "templateID": "base" });
        new.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let answer = remote.post("/v2/sandboxes", &by, &new).await;
        let message = text(&answer.json(), "message");
        assert_eq!(answer.status, status, "{new}: {message}");
        assert!(message.contains(word), "{new}: {message}");
    }
    for body in [&b"{"[..], b"[]", b"\xff", b"null"] {
        let headers = with(&by, &[("content-type", "application/json")]);
        let answer = raw(&remote, "POST", "/v2/sandboxes", &headers, body).await;
        assert_eq!(answer.status, 400, "{body:?}");
    }
    assert_eq!(remote.happened(), before);
    // What tightens what is tight already is what there is.
    let tight = json!({"templateID": "base", "allow_internet_access": false, "network": {"denyOut": ["0.0.0.0/0"]}});
    assert_eq!(remote.post("/v2/sandboxes", &by, &tight).await.status, 201);
}

/// R153: another tenant's sandbox is as unknown as one that never was.
#[tokio::test]
async fn another_tenant_finds_no_sandbox() {
    let (remote, by) = served().await;
    let sandbox = made(&remote, &by).await;
    let id = text(&sandbox, "sandboxID");
    let (_, other) = remote.new_key("other", &[Role::Operator]);
    let other = key(&other);
    let before = remote.happened();
    let timeout = json!({ "timeout": 1 });
    for (id, what) in [
        (id.as_str(), "another's"),
        ("00000000000000000000000000000000", "none"),
        ("..", "no id"),
    ] {
        for (method, path, body) in [
            ("GET", format!("/sandboxes/{id}"), &Value::Null),
            ("DELETE", format!("/sandboxes/{id}"), &Value::Null),
            ("POST", format!("/sandboxes/{id}/timeout"), &timeout),
            ("POST", format!("/v2/sandboxes/{id}/connect"), &timeout),
            ("POST", format!("/sandboxes/{id}/pause"), &timeout),
            ("GET", format!("/sandboxes/{id}/metrics"), &Value::Null),
        ] {
            let answer = remote.ask(method, &path, &other, body).await;
            assert_eq!(answer.status, 404, "{what}: {method} {path}");
        }
    }
    assert_eq!(remote.get("/v2/sandboxes", &other).await.json(), json!([]));
    assert_eq!(remote.happened(), before);
    let paused = remote
        .post(&format!("/sandboxes/{id}/pause"), &by, &json!({}))
        .await;
    assert_eq!(
        (paused.status, paused.json()["error_code"].clone()),
        (501, json!("not_available"))
    );
}

/// R158: each endpoint takes its permission.
#[tokio::test]
async fn who_only_looks_makes_and_runs_nothing() {
    let (remote, by) = served().await;
    let id = text(&made(&remote, &by).await, "sandboxID");
    let new = json!({"templateID": "base"});
    let path = |path: &str| path.replace("{id}", &id);
    let roles = [Role::Reader, Role::Operator];
    let asked = remote.asked_by(&roles, E2B_ENDPOINTS, path, key, &new);
    asked.await;
    let none = remote.post("/sandboxes", &Headers::new(), &new).await;
    assert_eq!(
        (none.status, none.json()["code"].as_u64()),
        (401, Some(401))
    );
    assert!(none.json()["message"].is_string());
}

/// I14: nobody is let into a sandbox who does not show what was given out for it, and whoever tries is on record.
#[tokio::test]
async fn nobody_gets_in_without_the_token() {
    let (remote, by) = served().await;
    let (sandbox, other) = (made(&remote, &by).await, made(&remote, &by).await);
    let good = inside(&sandbox, 49_983);
    let without: Headers = good
        .iter()
        .filter(|(name, _)| *name != "x-access-token")
        .cloned()
        .collect();
    let before = remote.happened();
    let mut refused = remote.refusals().len();
    for (port, endpoints) in [("49983", ENVD_ENDPOINTS), ("49999", INTERPRETER_ENDPOINTS)] {
        remote.house.world.clock.advance(61_000);
        // Time passes: the sandboxes have to be there yet.
        for sandbox in [&sandbox, &other] {
            let path = format!("/sandboxes/{}/timeout", text(sandbox, "sandboxID"));
            assert_eq!(
                remote
                    .post(&path, &by, &json!({"timeout": 600}))
                    .await
                    .status,
                204
            );
        }
        for endpoint in endpoints {
            let headers: Headers = with(&without, &[("content-type", "application/json")])
                .into_iter()
                .map(|(name, value)| {
                    if name == "e2b-sandbox-port" {
                        (name, port.to_owned())
                    } else {
                        (name, value)
                    }
                })
                .collect();
            let answer = raw(
                &remote,
                endpoint.method,
                &endpoint.path.replace("{id}", "x"),
                &headers,
                b"{}",
            )
            .await;
            assert_eq!(answer.status, 401, "{}", endpoint.path);
            refused += 1;
        }
    }
    assert_eq!(remote.refusals().len(), refused);
    remote.house.world.clock.advance(61_000);
    let list = "/process.Process/List";
    for token in [
        &[("x-access-token", "")][..],
        &[("x-access-token", "x")],
        &[("x-access-token", &text(&other, "envdAccessToken"))],
        &[
            ("x-access-token", &text(&sandbox, "envdAccessToken")),
            ("x-access-token", &text(&sandbox, "envdAccessToken")),
        ],
    ] {
        let headers = with(
            &with(&without, token),
            &[("content-type", "application/json")],
        );
        let answer = raw(&remote, "POST", list, &headers, b"{}").await;
        assert_eq!(
            (answer.status, answer.json()["code"].clone()),
            (401, json!("unauthenticated"))
        );
    }
    // A program's port is no other door.
    let app = with(
        &[(
            "host",
            format!("8000-{}.x.test", text(&sandbox, "sandboxID")),
        )]
        .to_vec(),
        &[],
    );
    assert_eq!(raw(&remote, "GET", "/", &app, b"").await.status, 401);
    assert_eq!(remote.happened(), before);
    let answer = raw(
        &remote,
        "POST",
        list,
        &with(&good, &[("content-type", "application/json")]),
        b"{}",
    )
    .await;
    assert_eq!(
        (answer.status, answer.json()),
        (200, json!({"processes": []}))
    );
}

/// A token stands on the key with which the sandbox was made: it ends with it.
#[tokio::test]
async fn a_token_ends_with_the_key_that_it_stands_on() {
    let remote = Remote::new().await;
    let (id, text) = remote.new_key("acme", &[Role::Operator]);
    let sandbox = made(&remote, &key(&text)).await;
    let headers = with(
        &inside(&sandbox, 49_983),
        &[("content-type", "application/json")],
    );
    let list = async || {
        raw(&remote, "POST", "/process.Process/List", &headers, b"{}")
            .await
            .status
    };
    assert_eq!(list().await, 200);
    remote
        .callers
        .revoke_key("acme", &id, remote.now_ms())
        .unwrap();
    assert_eq!(list().await, 401);
    // Another caller has another token, which does not stand on that key.
    let (_, second) = remote.new_key("acme", &[Role::Operator]);
    let path = format!(
        "/v2/sandboxes/{}/connect",
        sandbox["sandboxID"].as_str().unwrap()
    );
    let again = remote
        .post(&path, &key(&second), &json!({"timeout": 60}))
        .await
        .json();
    assert_ne!(again["envdAccessToken"], sandbox["envdAccessToken"]);
    assert_eq!(list().await, 401);
}

/// When too many callers have a token of a sandbox, one that is past its time goes first, and then the one that was not used for
/// longest.
#[tokio::test]
async fn a_token_that_is_used_outlives_those_that_are_not() {
    let remote = Remote::new().await;
    let new = || key(&remote.new_key("acme", &[Role::Operator]).1);
    let sandbox = made(&remote, &new()).await;
    let path = format!("/v2/sandboxes/{}/connect", text(&sandbox, "sandboxID"));
    let connect = async |by: &Headers| {
        let answer = remote.post(&path, by, &json!({"timeout": 3000})).await;
        assert_eq!(answer.status, 200, "{}", answer.json());
        answer.json()
    };
    let list = async |shown: &Value| {
        let more = [("content-type", "application/json")];
        let headers = with(&inside(shown, 49_983), &more);
        raw(&remote, "POST", "/process.Process/List", &headers, b"{}")
            .await
            .status
    };
    let (second, third) = (connect(&new()).await, connect(&new()).await);
    // A token of an issuer is over before a key is.
    let brief = connect(&remote.somebody(&["operator"])).await;
    for _ in 4..MAX_E2B_TOKENS {
        connect(&new()).await;
    }
    remote.house.world.clock.advance(900_000);
    connect(&new()).await;
    assert_eq!(list(&sandbox).await, 200);
    connect(&new()).await;
    assert_eq!(list(&second).await, 401);
    for kept in [&sandbox, &third] {
        assert_eq!(list(kept).await, 200);
    }
    assert_eq!(list(&brief).await, 401);
}

/// A key in the spelling that older clients insist on.
#[tokio::test]
async fn a_key_of_older_clients_is_the_same_key() {
    let remote = Remote::new().await;
    let (_, text) = remote.new_key("acme", &[Role::Operator]);
    let spelled = format!("e2b_{}", text.trim_start_matches("cm_").replace('_', ""));
    made(&remote, &key(&spelled)).await;
    let answer = remote.get("/sandboxes", &key(&format!("{spelled}0"))).await;
    assert_eq!(answer.status, 401);
}

/// A call that a person has to approve is told as one, with its decision, and nothing of it runs.
#[tokio::test]
async fn a_command_that_waits_is_an_error_that_names_its_decision() {
    let (remote, by) = served().await;
    let sandbox = made(&remote, &by).await;
    let headers = inside(&sandbox, 49_983);
    let started = with(&headers, &[("content-type", "application/connect+json")]);
    let start = serde_json::to_vec(&json!({"process": {"cmd": "true"}, "stdin": false})).unwrap();
    let answer = raw(
        &remote,
        "POST",
        "/process.Process/Start",
        &started,
        &framed(0, &start),
    )
    .await;
    let error = end_of(&answer);
    assert_eq!(error["code"], "failed_precondition", "{error}");
    let message = text(&error, "message");
    let decision = message
        .split_whitespace()
        .find(|word| word.starts_with("dec_"))
        .unwrap();
    let shown = remote
        .get(
            &format!("/v1/approvals/{}", decision.trim_end_matches('.')),
            &by,
        )
        .await;
    assert_eq!(shown.status, 200, "{}", shown.json());
    let listed = with(&headers, &[("content-type", "application/json")]);
    let processes = raw(&remote, "POST", "/process.Process/List", &listed, b"{}")
        .await
        .json();
    assert_eq!(processes, json!({"processes": []}));
}
