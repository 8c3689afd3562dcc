//! Two tenants at every endpoint: what is of the one is for the other as what never was, in answers, lists, headers and records.

use std::collections::{BTreeMap, BTreeSet};

use casemate_api::openapi;
use casemate_callers::Role;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    client::Answered,
    remote::{Headers, Remote},
};

/// In every name that the first tenant gives: nobody else may ever see it.
const MARK: &str = "canary";

/// What the first tenant says beside its names, and nobody else ever says: wherever it is shown, it was not given.
const SAID: &str = "heirloom";

/// What is asked for in place of an id of the first tenant: an id of the same kind that never was.
const NEVER: &str = "0198c7e4000070008000000000000000";

/// How an operation is tried by the other tenant.
enum Case {
    /// With an id of the first tenant in its path, and this body: nothing is found.
    Unknown(&'static str, Value),
    /// The same, over a WebSocket: the code of the problem.
    Socket(&'static str, &'static str),
    /// A record by its place in the log, which is one for all tenants.
    Record,
    /// With ids and names of the first tenant in its body: it does nothing to it.
    Named(Vec<(Value, Expected)>),
    /// In the pool that both use, by the other's thread and names: it is done in one's own tenant, or nothing is found.
    Pool(Value, u16),
    /// It lists, or says how it stands, and says nothing of the first tenant.
    Lists,
    /// It goes on and on, and begins with nothing of the first tenant.
    Watches,
}

#[derive(Clone, Copy)]
enum Expected {
    /// Refused with this status and code.
    Refused(u16, &'static str),
    /// Done, within the tenant of whoever asks.
    Done(u16),
}

/// What the first tenant has, by what stands for it in a path.
struct Property {
    ids: BTreeMap<&'static str, String>,
    conversation: String,
}

impl Property {
    async fn new(remote: &Remote) -> Self {
        let operator = owner(remote, &["operator", "administrator", "reader"]);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let call = json!({
            "thread": format!("{MARK}-thread"), "agent": MARK, "tool": "python", "code": MARK,
            "idempotency_key": format!("{MARK}-key"),
        });
        let ran = remote.post("/v1/calls", &operator, &call).await;
        assert_eq!(ran.status, 200, "{}", ran.json());
        let session = text(&ran.json()["session"]);
        let path = format!("/v1/sessions/{session}/contexts?agent={MARK}");
        let opened = remote.post(&path, &operator, &Value::Null).await;
        assert_eq!(opened.status, 201, "{}", opened.json());
        let file = format!("/v1/sessions/{session}/files/{MARK}?agent={MARK}");
        let written = remote.ask("PUT", &file, &operator, &json!(MARK)).await;
        assert_eq!(written.status, 201, "{}", written.json());
        let file = format!("/v1/sessions/{session}/files/{SAID}?agent={MARK}");
        let written = remote.ask("PUT", &file, &operator, &json!(SAID)).await;
        assert_eq!(written.status, 201, "{}", written.json());
        let waits = json!({ "tool": "shell", "agent": MARK, "argv": [SAID], "wait": false });
        let waiting = remote.held(async |_, _| operator.clone(), &waits).await;
        let new = json!({ "subject": SAID, "roles": ["reader"], "ttl_s": 600 });
        let key = remote.post("/v1/api-keys", &operator, &new).await;
        assert_eq!(key.status, 201, "{}", key.json());
        let throw =
            json!({ "kind": "agent", "name": format!("{MARK}-off"), "to": "off", "reason": SAID });
        let thrown = remote.post("/v1/switches", &operator, &throw).await;
        assert_eq!(thrown.status, 200, "{}", thrown.json());
        let envelope = remote.delegate(&operator, |wanted| wanted["subject"] = json!(SAID));
        let envelope = envelope.await.map_err(|_| ()).unwrap();
        let begun = remote
            .ask("POST", "/mcp", &mcp_headers(&operator, None), &initialize())
            .await;
        assert_eq!(begun.status, 200);
        let conversation = begun.headers["mcp-session-id"].to_str().unwrap().to_owned();
        let ids = BTreeMap::from([
            ("call", text(&ran.json()["decision"])),
            ("waiting", waiting),
            ("session", session),
            ("context", text(&opened.json()["context"])),
            ("key", text(&key.json()["name"])),
            ("envelope", envelope.id),
        ]);
        Self { ids, conversation }
    }

    fn id(&self, of: &str) -> &str {
        &self.ids[of]
    }
}

fn owner(remote: &Remote, roles: &[&str]) -> Headers {
    remote.token(&remote.claims(&format!("{MARK}-owner"), "acme", roles))
}

/// Somebody of the other tenant with every role that there is.
fn stranger(remote: &Remote) -> Headers {
    let all: Vec<_> = Role::ALL.iter().map(|role| role.as_str()).collect();
    remote.token(&remote.claims("eve", "other", &all))
}

fn mcp_headers(headers: &Headers, conversation: Option<&str>) -> Headers {
    let mut headers = headers.clone();
    headers.push(("accept", "application/json, text/event-stream".to_owned()));
    headers.extend(conversation.map(|id| ("mcp-session-id", id.to_owned())));
    headers
}

fn initialize() -> Value {
    json!({
        "jsonrpc": "2.0", "id": 1, "method": "initialize",
        "params": {
            "protocolVersion": "2025-06-18", "capabilities": {},
            "clientInfo": { "name": "test", "version": "1" },
        },
    })
}

/// One for each operation of the description: a new operation without a case fails the test.
fn case(operation: &str, of: &Property) -> Option<Case> {
    use Case::{Lists, Named, Pool, Record, Socket, Unknown, Watches};
    use Expected::{Done, Refused};
    let none = Value::Null;
    Some(match operation {
        "create_call" => {
            let call = |more: Value| {
                let mut call = json!({ "tool": "python", "code": "1" });
                let more = more.as_object().unwrap().clone();
                call.as_object_mut().unwrap().extend(more);
                call
            };
            Named(vec![
                (
                    call(json!({ "agent": MARK, "session": of.id("session") })),
                    Refused(404, "session_unknown"),
                ),
                (
                    call(json!({ "agent": MARK, "context": of.id("context") })),
                    Refused(404, "context_unknown"),
                ),
                // The same names are others in another tenant.
                (
                    call(json!({ "agent": MARK, "thread": format!("{MARK}-thread") })),
                    Done(200),
                ),
                (
                    call(json!({ "agent": MARK, "idempotency_key": format!("{MARK}-key") })),
                    Done(200),
                ),
            ])
        }
        "show_call" | "watch_call" => Unknown("call", none),
        "cancel_call" => Unknown("waiting", none),
        "show_approval" | "cancel_approval" => Unknown("waiting", none),
        "answer_approval" => Unknown("waiting", json!({ "note": "bob\n{}" })),
        // It is the one of eve's own call of that thread.
        "open_session" => Named(vec![(
            json!({ "agent": MARK, "thread": format!("{MARK}-thread") }),
            Done(200),
        )]),
        "show_session" | "destroy_session" | "pause_session" | "resume_session"
        | "copy_session" | "open_context" | "list_files" | "read_file" | "remove_file" => {
            Unknown("session", none)
        }
        "write_file" => Unknown("session", json!("x")),
        "close_context" => Unknown("context", none),
        "connect_port" | "open_terminal" => Socket("session", "session_unknown"),
        "attach_call" => Socket("call", "call_unknown"),
        "explain_decision" => Unknown("call", none),
        "prove_record" => Record,
        "revoke_api_key" => Unknown("key", none),
        "revoke_envelope" => Unknown("envelope", none),
        "create_api_key" => Named(vec![(
            json!({ "subject": "x", "tenant": "acme", "roles": ["reader"], "ttl_s": 60 }),
            Refused(422, "invalid_call"),
        )]),
        "issue_envelope" => Named(vec![(
            json!({
                "subject": "x", "tenant": "acme", "scopes": [], "roles": ["reader"], "ttl_s": 60,
                "holder": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            }),
            Refused(422, "invalid_call"),
        )]),
        "throw_switch" => Named(vec![
            (
                json!({ "kind": "tenant", "name": "acme", "to": "off", "reason": "x" }),
                Refused(403, "tenant_boundary"),
            ),
            // The agent of that name in one's own tenant.
            (
                json!({ "kind": "agent", "name": format!("{MARK}-off"), "to": "on", "reason": "x" }),
                Done(200),
            ),
        ]),
        "mcp" | "end_mcp" => Named(vec![(
            json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/list" }),
            Refused(404, "conversation"),
        )]),
        "list_approvals" | "list_sessions" | "list_pools" | "show_load" | "show_status"
        | "list_api_keys" | "list_switches" | "list_records" | "list_incidents" | "list_agents"
        | "list_profiles" | "list_images" => Lists,
        "watch_approvals" => Watches,
        // Only an API key gets one.
        "azure_token" => Pool(none, 400),
        "azure_execute" => Pool(json!({ "code": "1" }), 200),
        "azure_code_execute" => {
            let python =
                json!({ "codeInputType": "inline", "executionType": "synchronous", "code": "1" });
            Pool(json!({ "properties": python }), 200)
        }
        "azure_execution"
        | "azure_file"
        | "azure_file_content"
        | "azure_file_content_first"
        | "azure_remove_file" => Pool(none, 404),
        // No form.
        "azure_upload" | "azure_upload_first" => Pool(json!({}), 400),
        "azure_list_sessions" | "azure_list_files" => Pool(none, 200),
        // Its session is ended by then.
        "azure_session" => Pool(none, 404),
        "azure_end_session" => Pool(none, 204),
        _ => return None,
    })
}

/// Every operation of the description that is served.
fn operations() -> Vec<(String, String, String)> {
    let document: Value = serde_json::from_str(openapi()).unwrap();
    let mut found = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let name = operation["operationId"].as_str().unwrap().to_owned();
            found.push((name, method.to_uppercase(), path.clone()));
        }
    }
    found
}

/// A path with these ids in it.
fn filled(path: &str, id: &str) -> String {
    let path = path.replace("{id}", id).replace("{name}", id);
    let path = path.replace("{path}", MARK).replace("{port}", "80");
    format!("{path}?agent={MARK}")
}

/// A path in the pool of this route, with the names of the first tenant in it.
fn pooled(operation: &str, path: &str, route: &str, of: &Property) -> String {
    let version = match operation {
        "azure_token" => return format!("{path}?resource=https://dynamicsessions.io"),
        "azure_code_execute" | "azure_file_content_first" | "azure_upload_first" => {
            "2024-02-02-preview"
        }
        _ => "2025-02-02-preview",
    };
    // The first version of an upload is a name that no file can have.
    let name = match operation {
        "azure_upload_first" => "upload",
        _ => MARK,
    };
    let path = path.replace("{pool}", route).replace("{name}", name);
    let path = path.replace("{id}", of.id("call"));
    format!("{path}?api-version={version}&identifier={MARK}-thread&agent={MARK}")
}

/// An id of the kind of this one that never was.
fn never(id: &str) -> String {
    match id.split_once('_') {
        Some((kind, _)) => format!("{kind}_{NEVER}"),
        None => "0".repeat(id.len()),
    }
}

/// What somebody was answered, without what differs from one answer to the next: the names that they asked for, the record of
/// their own, and the time.
fn likeness(answer: &Answered, id: &str) -> String {
    let mut headers: Vec<_> = answer
        .headers
        .iter()
        .filter(|(name, _)| {
            !matches!(
                name.as_str(),
                "date" | "casemate-decision" | "content-length"
            )
        })
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    headers.sort();
    let mut body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    if let Some(members) = body.as_object_mut() {
        members.remove("decision");
    }
    let text = format!("{} {headers:?} {body}", answer.status);
    text.replace(id, "ID")
}

fn everything(answer: &Answered) -> String {
    format!(
        "{:?} {}",
        answer.headers,
        String::from_utf8_lossy(&answer.body)
    )
}

/// Nothing of the first tenant is in a text, beside the names that whoever reads it gave.
#[track_caller]
fn says_nothing(what: &str, of: &Property, text: &str, given: &str) {
    for id in of.ids.values().map(String::as_str).chain([MARK]) {
        assert!(
            given.contains(id) || !text.contains(id),
            "{what} says {id}: {text}"
        );
    }
    for never in [SAID, "acme"] {
        assert!(!text.contains(never), "{what}: {text}");
    }
}

/// The same of the first tenant before and after, as it sees it.
async fn seen(remote: &Remote, of: &Property) -> Vec<String> {
    let all = owner(remote, &["operator", "administrator", "reader"]);
    let mut seen = Vec::new();
    for path in [
        filled("/v1/sessions/{id}", of.id("session")),
        format!("/v1/sessions?agent={MARK}"),
        format!("/v1/calls/{}", of.id("waiting")),
        format!("/v1/approvals/{}", of.id("waiting")),
        "/v1/api-keys".to_owned(),
        "/v1/switches".to_owned(),
    ] {
        let answer = remote.get(&path, &all).await;
        assert_eq!(answer.status, 200, "{path}");
        let text = String::from_utf8(answer.body).unwrap();
        // Time goes by.
        let lines = text.split(',').filter(|part| !part.contains("_ms\""));
        seen.push(lines.collect());
    }
    seen
}

/// Whatever is on record since is eve's, in eve's tenant, and names nothing that she did not name.
#[track_caller]
fn only_eves(remote: &Remote, begin: usize) {
    for record in remote.house.world.records().split_off(begin) {
        let entry = &record.entry;
        assert_eq!(entry.tenant, "other", "{entry:?}");
        let text = serde_json::to_string(&entry.summary).unwrap();
        assert!(
            !text.contains("canary-owner") && !text.contains(SAID),
            "{text}"
        );
    }
}

/// A record is proven to its tenant; another's is as one that never was.
async fn proves_nothing_of_others(remote: &Remote, eve: &Headers) {
    let none = remote.get("/v1/ledger/999999", eve).await;
    for record in remote.house.world.records() {
        let path = format!("/v1/ledger/{}", record.index);
        let answer = remote.get(&path, eve).await;
        if record.entry.tenant == "other" {
            assert_eq!(answer.status, 200, "{path}");
            continue;
        }
        let status = (answer.status, answer.code());
        assert_eq!(status, (404, "record_unknown".to_owned()), "{path}");
        assert_eq!(answer.body, none.body);
    }
}

/// The names that eve gave, of what is in a list. That she asked for one, and did not get it, is on her record.
#[track_caller]
fn given_in(name: &str, of: &Property, listed: &Value) -> String {
    let mut given = format!("{MARK}-thread {MARK}-off {MARK}");
    let of_records = ["records", "incidents"].map(|name| &listed[name]);
    for record in of_records.into_iter().filter_map(Value::as_array).flatten() {
        assert_eq!(record["tenant"], "other", "{name}: {record}");
        given += &of.ids.values().cloned().collect::<String>();
    }
    given
}

/// R153, R158, R186: whoever has every role in one tenant, and every name of another, gets at nothing of it: it is as what never
/// was, nothing of it changes, and no answer, list, header or record says a name of it. No operation is left out: the description
/// is made from the router.
#[tokio::test]
async fn nothing_of_a_tenant_is_another_ones() {
    let remote = Remote::new().await;
    let of = Property::new(&remote).await;
    let before = seen(&remote, &of).await;
    let begin = remote.house.world.records().len();
    let mut tried = BTreeSet::new();
    for (name, method, path) in operations() {
        // Each minute has room for so many records of refusals.
        remote.house.world.clock.advance(61_000);
        let eve = stranger(&remote);
        let case = case(&name, &of).unwrap_or_else(|| panic!("`{name}` has no case"));
        tried.insert(name.clone());
        match case {
            Case::Unknown(kind, body) => {
                let id = of.id(kind);
                let (real, none) = (filled(&path, id), filled(&path, &never(id)));
                let refused = remote.ask(&method, &real, &eve, &body).await;
                let unknown = remote.ask(&method, &none, &eve, &body).await;
                let never = never(id);
                assert_eq!(likeness(&refused, id), likeness(&unknown, &never), "{name}");
                let is_answer = name == "answer_approval";
                assert!(
                    refused.status == 404 || is_answer && refused.status == 403,
                    "{name}"
                );
                says_nothing(&name, &of, &everything(&refused), &real);
            }
            Case::Socket(kind, code) => {
                let path = filled(&path, of.id(kind));
                let refused = remote.no_upgrade(&path, &eve).await;
                assert_eq!(refused, (404, code.to_owned()), "{name}");
            }
            Case::Record => proves_nothing_of_others(&remote, &eve).await,
            Case::Named(bodies) => {
                let conversation = path.contains("mcp").then_some(of.conversation.as_str());
                for (body, expected) in bodies {
                    let headers = match conversation {
                        Some(id) => mcp_headers(&eve, Some(id)),
                        None => eve.clone(),
                    };
                    let answer = remote.ask(&method, &path, &headers, &body).await;
                    let text = everything(&answer);
                    match expected {
                        Expected::Refused(status, code) => {
                            assert_eq!(answer.status, status, "{name}: {text}");
                            assert!(text.contains(code), "{name}: {text}");
                        }
                        Expected::Done(status) => {
                            assert_eq!(answer.status, status, "{name}: {text}");
                            assert!(!text.contains("\"replay_of\":\""), "{name}: {text}");
                        }
                    }
                    says_nothing(&name, &of, &text, &body.to_string());
                }
            }
            Case::Pool(body, status) => {
                let path = pooled(&name, &path, &remote.house.profile.route, &of);
                let answer = remote.ask(&method, &path, &eve, &body).await;
                let text = everything(&answer);
                assert_eq!(answer.status, status, "{name}: {text}");
                says_nothing(&name, &of, &text, &path);
            }
            Case::Lists => {
                // By the name of the other's agent, too.
                for path in [path.clone(), format!("{path}?agent={MARK}")] {
                    let listed = remote.ask(&method, &path, &eve, &Value::Null).await;
                    if listed.status != 200 {
                        assert_eq!(listed.code(), "invalid_call", "{name}");
                        continue;
                    }
                    // What eve made under the same names is hers.
                    let mine = given_in(&name, &of, &listed.json());
                    says_nothing(&name, &of, &everything(&listed), &mine);
                }
            }
            Case::Watches => {
                let mut stream = TcpStream::connect(remote.address).await.unwrap();
                let mut request = format!("GET {path} HTTP/1.1\r\nhost: casemate\r\n");
                for (name, value) in &eve {
                    request += &format!("{name}: {value}\r\n");
                }
                stream
                    .write_all((request + "\r\n").as_bytes())
                    .await
                    .unwrap();
                let mut shown = Vec::new();
                while !String::from_utf8_lossy(&shown).contains("event: approvals") {
                    assert_ne!(stream.read_buf(&mut shown).await.unwrap(), 0, "{name}");
                }
                says_nothing(&name, &of, &String::from_utf8_lossy(&shown), "");
            }
        }
    }
    assert_eq!(tried.len(), operations().len());
    assert_eq!(seen(&remote, &of).await, before);
    only_eves(&remote, begin);
}
