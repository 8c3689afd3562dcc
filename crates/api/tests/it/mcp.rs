//! The Model Context Protocol: messages, revisions, conversations, and who may have them.

use std::sync::atomic::{AtomicU64, Ordering};

use casemate_api::limits::{MAX_CALLER_CONVERSATIONS, MAX_CONVERSATION_REQUESTS};
use casemate_mcp::limits::MAX_MESSAGE_BYTES;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response, body::Incoming};
use serde_json::{Value, json};

use crate::{
    client::{Answered, Served, until},
    house::House,
    remote::{Headers, Remote},
};

/// Calls of [`Client::tool`] have ids of their own.
static NEXT_ID: AtomicU64 = AtomicU64::new(1_000);

/// A client of the revision 2025-11-25, or one that begins no conversation.
pub(crate) struct Client<'a> {
    pub(crate) served: &'a Served,
    pub(crate) path: &'static str,
    pub(crate) conversation: Option<String>,
}

pub(crate) fn initialize(version: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}
    }})
}

pub(crate) fn call(id: u64, tool: &str, arguments: Value) -> Value {
    let mut params = json!({"name": tool});
    params["arguments"] = arguments;
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params})
}

impl<'a> Client<'a> {
    pub(crate) async fn begin(served: &'a Served) -> Self {
        Self::at(served, "/mcp").await
    }

    pub(crate) async fn at(served: &'a Served, path: &'static str) -> Self {
        let mut client = Self {
            served,
            path,
            conversation: None,
        };
        let begun = client.send(&initialize("2025-11-25"), &[]).await;
        assert_eq!(begun.status(), 200);
        client.conversation = begun
            .headers()
            .get("mcp-session-id")
            .map(|id| id.to_str().unwrap().to_owned());
        client
    }

    pub(crate) fn request(
        &self,
        body: Vec<u8>,
        headers: &[(&str, &str)],
    ) -> Request<Full<bytes::Bytes>> {
        let mut request = Request::builder()
            .method("POST")
            .uri(self.path)
            .header("host", "casemate");
        let standard = [
            ("accept", "application/json, text/event-stream"),
            ("content-type", "application/json"),
        ];
        for (name, value) in standard {
            if !headers.iter().any(|(given, _)| *given == name) {
                request = request.header(name, value);
            }
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(id) = &self.conversation {
            request = request.header("mcp-session-id", id);
        }
        request.body(Full::new(body.into())).unwrap()
    }

    pub(crate) async fn send(
        &self,
        message: &Value,
        headers: &[(&str, &str)],
    ) -> Response<Incoming> {
        let request = self.request(message.to_string().into_bytes(), headers);
        self.served.send(request).await
    }

    /// Every message that comes back.
    pub(crate) async fn ask(&self, message: &Value) -> Vec<Value> {
        messages(self.send(message, &[]).await).await.1
    }

    /// What a tool answers.
    pub(crate) async fn tool(&self, name: &str, arguments: Value) -> Value {
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        let answer = self.ask(&call(id, name, arguments)).await;
        let last = answer.last().unwrap();
        assert_eq!(last["id"], id, "{last}");
        last["result"].clone()
    }

    pub(crate) async fn tools(&self) -> Vec<String> {
        let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
        let answer = self.ask(&list).await.pop().unwrap();
        let tools = answer["result"]["tools"].as_array().unwrap();
        let name = |tool: &Value| tool["name"].as_str().unwrap().to_owned();
        tools.iter().map(name).collect()
    }
}

/// The status of an answer, and its messages, whether they come as events or not.
pub(crate) async fn messages(response: Response<Incoming>) -> (u16, Vec<Value>) {
    let (head, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let text = String::from_utf8(body.to_vec()).unwrap();
    let kind = head.headers.get("content-type");
    let messages = match kind.map(|kind| kind.to_str().unwrap()) {
        Some("text/event-stream") => text
            .lines()
            .filter_map(|line| line.strip_prefix("data:"))
            .filter(|data| !data.trim().is_empty())
            .map(|data| serde_json::from_str(data).unwrap())
            .collect(),
        Some("application/json") => vec![serde_json::from_str(&text).unwrap()],
        other => {
            assert!(text.is_empty(), "{other:?}: {text}");
            Vec::new()
        }
    };
    (head.status.as_u16(), messages)
}

/// Whichever revision a client speaks, it is answered in that, or in the newest one that has an `initialize`.
#[tokio::test]
async fn revisions_are_negotiated() {
    let served = Served::new(House::new("thread")).await;
    let client = Client {
        served: &served,
        path: "/mcp",
        conversation: None,
    };
    for (asked, given) in [
        ("2025-11-25", "2025-11-25"),
        ("2025-06-18", "2025-06-18"),
        ("2025-03-26", "2025-03-26"),
        ("2024-11-05", "2024-11-05"),
        ("1999-01-01", "2025-11-25"),
        ("2026-07-28", "2025-11-25"),
    ] {
        let answer = client.ask(&initialize(asked)).await.pop().unwrap();
        assert_eq!(answer["result"]["protocolVersion"], given, "{asked}");
        assert_eq!(answer["result"]["serverInfo"]["name"], "casemate");
        assert!(answer["result"]["capabilities"]["tools"].is_object());
    }
    // The newest has no `initialize`: each message says what it is.
    let meta = |version: &str| {
        json!({
            "io.modelcontextprotocol/protocolVersion": version,
            "io.modelcontextprotocol/clientCapabilities": {},
        })
    };
    let message = |method: &str, version: &str| json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": {"_meta": meta(version)}});
    let headers = |version: &'static str, method: &'static str| {
        [("mcp-protocol-version", version), ("mcp-method", method)]
    };
    let new = "2026-07-28";
    let discover = message("server/discover", new);
    let discovered = client
        .send(&discover, &headers(new, "server/discover"))
        .await;
    assert!(!discovered.headers().contains_key("mcp-session-id"));
    let (status, answer) = messages(discovered).await;
    assert_eq!(status, 200, "{answer:?}");
    let versions = &answer[0]["result"]["supportedVersions"];
    assert!(versions.as_array().unwrap().contains(&json!(new)));
    let list = message("tools/list", new);
    let (_, answer) = messages(client.send(&list, &headers(new, "tools/list")).await).await;
    assert_eq!(answer[0]["result"]["cacheScope"], "private", "{answer:?}");
    assert_eq!(answer[0]["result"]["ttlMs"], 0);
    // A header that says another thing than the message, a method that is not there, a revision that is not known.
    for (message, headers, status, code) in [
        (&list, headers(new, "tools/call"), 400, -32_020),
        (
            &message("tools/none", new),
            headers(new, "tools/none"),
            404,
            -32_601,
        ),
        (
            &message("tools/list", "2099-01-01"),
            headers("2099-01-01", "tools/list"),
            400,
            -32_022,
        ),
    ] {
        let (found, answer) = messages(client.send(message, &headers).await).await;
        assert_eq!(
            (found, &answer[0]["error"]["code"]),
            (status, &json!(code)),
            "{answer:?}"
        );
    }
}

/// Whatever is no message is answered as JSON-RPC has it, and nothing runs.
#[tokio::test]
async fn what_is_no_message_is_refused() {
    let served = Served::new(House::new("thread")).await;
    let client = Client::begin(&served).await;
    let large = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"{}"}}"#,
        "x".repeat(MAX_MESSAGE_BYTES)
    );
    let listing = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    let none: &[(&str, &str)] = &[];
    for (body, headers, status, code) in [
        ("", none, 400, -32_700),
        ("{", none, 400, -32_700),
        ("[]", none, 400, -32_600),
        (r#"{"jsonrpc":"2.0","id":1}"#, none, 400, -32_600),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"nothing"}"#,
            none,
            200,
            -32_601,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"resources/list"}"#,
            none,
            200,
            -32_601,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{}}"#,
            none,
            400,
            -32_602,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"nothing"}}"#,
            none,
            200,
            -32_602,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"cursor":"x"}}"#,
            none,
            200,
            -32_602,
        ),
        (&large, none, 413, -32_600),
        (
            listing,
            &[("mcp-protocol-version", "1999-01-01")],
            400,
            -32_600,
        ),
        (listing, &[("accept", "application/json")], 406, -32_600),
        (listing, &[("content-type", "text/plain")], 415, -32_600),
        (listing, &[("origin", "https://evil.example")], 403, -32_600),
        (listing, &[("origin", "null")], 403, -32_600),
    ] {
        let answer = served
            .send(client.request(body.as_bytes().to_vec(), headers))
            .await;
        let (found, answer) = messages(answer).await;
        let shown: String = body.chars().take(80).collect();
        let last = answer.last().cloned().unwrap_or_default();
        assert_eq!(
            (found, &last["error"]["code"]),
            (status, &json!(code)),
            "{shown}: {last}"
        );
    }
    assert_eq!(served.house.keeper.runs(), 0);
    // What is none is not for the worse of what is one, and a page of this machine may ask.
    let local = client.request(listing.into(), &[("origin", "http://localhost:6274")]);
    assert_eq!(messages(served.send(local).await).await.0, 200);
    for method in ["GET", "PUT"] {
        assert_eq!(
            served.ask(method, "/mcp", b"").await.status,
            405,
            "{method}"
        );
    }
}

/// A conversation is its caller's, until it ends; its name says nothing about its thread.
#[tokio::test]
async fn a_conversation_ends_with_what_was_only_for_it() {
    let served = Served::new(House::new("thread")).await;
    let client = Client::begin(&served).await;
    let other = Client::begin(&served).await;
    let mine = client.tool("shell", json!({"code": "true"})).await;
    let others = other.tool("shell", json!({"code": "true"})).await;
    let session = |result: &Value| {
        result["structuredContent"]["session"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_ne!(session(&mine), session(&others));
    let again = client.tool("shell", json!({"code": "true"})).await;
    assert_eq!(session(&mine), session(&again));
    let shown = served
        .get(&format!("/v1/sessions/{}", session(&mine)))
        .await
        .json();
    let thread = shown["thread"].as_str().unwrap();
    assert!(
        !thread.contains(client.conversation.as_deref().unwrap()),
        "{thread}"
    );
    let end = |client: &Client<'_>| {
        let mut request = client.request(Vec::new(), &[]);
        *request.method_mut() = hyper::Method::DELETE;
        request
    };
    assert_eq!(served.send(end(&client)).await.status(), 204);
    let alive = served.house.keeper.alive();
    assert_eq!(alive.len(), 1);
    assert_eq!(alive[0].to_string(), session(&others));
    let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    let (status, answer) = messages(client.send(&list, &[]).await).await;
    assert_eq!(
        (status, &answer[0]["error"]["code"]),
        (404, &json!(-32_001))
    );
    assert_eq!(served.send(end(&client)).await.status(), 404);
    let nobody = Client {
        conversation: Some("0".repeat(32)),
        ..other
    };
    assert_eq!(nobody.send(&list, &[]).await.status(), 404);
}

async fn post(remote: &Remote, by: &Headers, message: &Value, id: Option<&str>) -> Answered {
    let mut headers = by.clone();
    headers.push(("accept", "application/json, text/event-stream".to_owned()));
    headers.extend(id.map(|id| ("mcp-session-id", id.to_owned())));
    remote.post("/mcp", &headers, message).await
}

/// Another caller's conversation is as unknown as one that never was, in the same tenant too.
#[tokio::test]
async fn another_callers_conversation_is_unknown() {
    let remote = Remote::new().await;
    let token = |subject, tenant| remote.token(&remote.claims(subject, tenant, &["operator"]));
    let alice = token("alice", "acme");
    let begun = post(&remote, &alice, &initialize("2025-11-25"), None).await;
    assert_eq!(begun.status, 200);
    let id = begun.headers["mcp-session-id"].to_str().unwrap();
    let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    assert_eq!(post(&remote, &alice, &list, Some(id)).await.status, 200);
    let before = remote.house.keeper.runs();
    for other in [token("bob", "acme"), token("alice", "other")] {
        for message in [&list, &call(1, "python", json!({"code": "true"}))] {
            let answer = post(&remote, &other, message, Some(id)).await;
            assert_eq!(answer.status, 404);
            assert_eq!(answer.json()["error"]["code"], -32_001);
        }
        let mut headers = other.clone();
        headers.push(("mcp-session-id", id.to_owned()));
        assert_eq!(remote.delete("/mcp", &headers).await.status, 404);
    }
    assert_eq!(remote.house.keeper.runs(), before);
    assert_eq!(post(&remote, &alice, &list, Some(id)).await.status, 200);
}

/// R5: nobody speaks the protocol who is not proven, or whose roles run no calls; a stranger is told where to get a credential.
#[tokio::test]
async fn strangers_and_readers_are_refused() {
    let remote = Remote::new().await;
    let before = remote.happened();
    let stranger = post(&remote, &Vec::new(), &initialize("2025-11-25"), None).await;
    remote.is_refused(&stranger, 401, "missing_credential");
    let challenge = stranger.headers["www-authenticate"].to_str().unwrap();
    let told = "resource_metadata=\"http://casemate/.well-known/oauth-protected-resource/mcp\"";
    assert!(
        challenge.starts_with("Bearer ") && challenge.contains(told),
        "{challenge}"
    );
    let reader = remote.somebody(&["reader"]);
    let refused = post(&remote, &reader, &initialize("2025-11-25"), None).await;
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (403, "missing_scope")
    );
    let last = &remote.refusals().last().unwrap().entry.summary["subject"].clone();
    assert_eq!(
        (&last["endpoint"], &last["code"]),
        (&json!("/mcp"), &json!("not_permitted"))
    );
    assert_eq!(remote.happened(), before);
    for path in [
        "/.well-known/oauth-protected-resource",
        "/.well-known/oauth-protected-resource/mcp",
    ] {
        let metadata = remote.get(path, &Vec::new()).await;
        assert_eq!(metadata.status, 200);
        let metadata = metadata.json();
        assert_eq!(metadata["resource"], "http://casemate/mcp");
        let servers = metadata["authorization_servers"].as_array().unwrap();
        assert_eq!(servers, &[json!(crate::support::ISSUER)]);
    }
    // On the socket there is nothing to get.
    let served = Served::new(House::new("thread")).await;
    assert_eq!(
        served
            .get("/.well-known/oauth-protected-resource")
            .await
            .status,
        404
    );
}

/// A conversation has so many calls at one time, and one more is refused without being lost sight of.
#[tokio::test]
async fn a_conversation_has_so_many_calls_at_once() {
    let served = Served::new(House::new("thread")).await;
    let client = Client::begin(&served).await;
    let arguments = json!({"code": "wait", "fresh": true});
    let waiting = (0..MAX_CONVERSATION_REQUESTS as u64).map(|id| {
        client.request(
            call(id, "python", arguments.clone()).to_string().into(),
            &[],
        )
    });
    let mut held = Vec::new();
    for request in waiting {
        held.push(served.send(request).await);
    }
    until(|| served.house.keeper.running() > 0).await;
    let (status, answer) = messages(client.send(&call(99, "python", arguments), &[]).await).await;
    assert_eq!((status, &answer[0]["id"]), (429, &json!(99)));
    drop(held);
    until(|| served.house.keeper.running() == 0).await;
    let done = client
        .tool("python", json!({"code": "true", "fresh": true}))
        .await;
    assert_eq!(done["structuredContent"]["status"], "succeeded");
}

/// The id of a call that has no answer is refused to another, which does not run; the first can still be taken back.
#[tokio::test]
async fn an_id_is_that_of_one_call() {
    let served = Served::new(House::new("thread")).await;
    let client = Client::begin(&served).await;
    let wait = call(1, "python", json!({"code": "wait", "fresh": true}));
    let first = client.send(&wait, &[]).await;
    until(|| served.house.keeper.running() == 1).await;
    let again = call(1, "python", json!({"code": "true", "fresh": true}));
    let (status, answer) = messages(client.send(&again, &[]).await).await;
    assert_eq!(
        (status, &answer[0]["id"], &answer[0]["error"]["code"]),
        (400, &json!(1), &json!(-32_600))
    );
    assert_eq!(served.house.keeper.runs(), 1);
    let cancel =
        json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}});
    assert_eq!(client.send(&cancel, &[]).await.status(), 202);
    until(|| served.house.keeper.running() == 0).await;
    let (_, answer) = messages(first).await;
    let last = &answer.last().unwrap()["result"];
    assert_eq!(last["structuredContent"]["status"], "cancelled", "{last}");
    // It is free again.
    assert_eq!(messages(client.send(&again, &[]).await).await.0, 200);
    assert_eq!(served.house.keeper.runs(), 2);
}

/// A caller has so many conversations: for one more, the one that was idle for longest is forgotten, and nobody else's.
#[tokio::test]
async fn a_caller_has_so_many_conversations() {
    let remote = Remote::new().await;
    let token = |subject| remote.token(&remote.claims(subject, "acme", &["operator"]));
    let (alice, bob) = (token("alice"), token("bob"));
    let begin = async |by| {
        let begun = post(&remote, by, &initialize("2025-11-25"), None).await;
        begun.headers["mcp-session-id"].to_str().unwrap().to_owned()
    };
    let bobs = begin(&bob).await;
    let tick = || *remote.house.world.clock.0.lock().unwrap() += 1;
    let mut all = Vec::new();
    for _ in 0..=MAX_CALLER_CONVERSATIONS {
        tick();
        all.push(begin(&alice).await);
    }
    let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    for (id, by, status) in [
        (&all[0], &alice, 404),
        (&all[1], &alice, 200),
        (&all[MAX_CALLER_CONVERSATIONS], &alice, 200),
        (&bobs, &bob, 200),
    ] {
        assert_eq!(post(&remote, by, &list, Some(id)).await.status, status);
    }
}

/// Whoever gives authority on gets no more conversations by it, under however many names.
#[tokio::test]
async fn delegates_have_the_conversations_of_their_principal() {
    let remote = Remote::new().await;
    let token = |subject| remote.token(&remote.claims(subject, "acme", &["operator"]));
    let (alice, bob) = (token("alice"), token("bob"));
    let begin = async |by: &Headers| {
        let begun = post(&remote, by, &initialize("2025-11-25"), None).await;
        assert_eq!(begun.status, 200, "{}", begun.json());
        begun.headers["mcp-session-id"].to_str().unwrap().to_owned()
    };
    let (bobs, own) = (begin(&bob).await, begin(&alice).await);
    *remote.house.world.clock.0.lock().unwrap() += 1;
    for subject in ["agent:one", "agent:two"] {
        let change = |wanted: &mut Value| wanted["subject"] = json!(subject);
        let held = remote.delegate(&alice, change).await;
        let held = held.map_err(|answer| answer.json()).unwrap();
        for _ in 0..MAX_CALLER_CONVERSATIONS / 2 {
            begin(&held.headers("POST", "/mcp", remote.now_ms())).await;
        }
    }
    let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    assert_eq!(post(&remote, &alice, &list, Some(&own)).await.status, 404);
    assert_eq!(post(&remote, &bob, &list, Some(&bobs)).await.status, 200);
}
