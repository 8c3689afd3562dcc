//! Every role at every endpoint, over a network.

use casemate_api::{ENDPOINTS, Endpoint};
use casemate_callers::Role;
use serde_json::{Value, json};

use crate::remote::{Headers, Remote};

/// What there is to be touched.
struct Targets {
    session: String,
    context: String,
    waiting: String,
    key: String,
    envelope: String,
}

const NEVER: Targets = Targets {
    session: String::new(),
    context: String::new(),
    waiting: String::new(),
    key: String::new(),
    envelope: String::new(),
};

impl Targets {
    /// Real ones, made by those who may.
    async fn new(remote: &Remote) -> Self {
        let operator = remote.somebody(&["operator"]);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let call = json!({ "thread": "t", "tool": "python", "code": "1" });
        let ran = remote.post("/v1/calls", &operator, &call).await;
        assert_eq!(ran.status, 200, "{}", ran.json());
        let session = text(&ran.json()["session"]);
        let opened = format!("/v1/sessions/{session}/contexts");
        let opened = remote.post(&opened, &operator, &Value::Null).await;
        assert_eq!(opened.status, 201, "{}", opened.json());
        let waits = json!({ "tool": "shell", "argv": ["true"], "wait": false });
        let waiting = remote.held(async |_, _| operator.clone(), &waits).await;
        Self {
            context: text(&opened.json()["context"]),
            waiting,
            key: remote.new_key("acme", &[Role::Reader]).0,
            envelope: remote
                .delegate(&operator, |_| ())
                .await
                .map_err(|_| ())
                .unwrap()
                .id,
            session,
        }
    }

    /// A request for an endpoint, of what is there or of what never was.
    fn request(&self, endpoint: &Endpoint) -> (String, Value) {
        let or = |real: &str, never: &str| match real {
            "" => never.to_owned(),
            real => real.to_owned(),
        };
        let never = "0198c7e4000070008000000000000000";
        let id = match endpoint.path {
            path if path.starts_with("/v1/calls") => or(&self.waiting, &format!("dec_{never}")),
            path if path.starts_with("/v1/decisions") => or(&self.waiting, &format!("dec_{never}")),
            path if path.starts_with("/v1/approvals") => or(&self.waiting, &format!("dec_{never}")),
            path if path.starts_with("/v1/contexts") => or(&self.context, &format!("ctx_{never}")),
            path if path.starts_with("/v1/envelopes") => or(&self.envelope, "env_x"),
            _ => or(&self.session, &format!("ses_{never}")),
        };
        let path = endpoint
            .path
            .replace("{id}", &id)
            .replace("{name}", &or(&self.key, "0000000000000000"))
            .replace("{*path}", "f")
            .replace("{*name}", "f")
            .replace("{port}", "80")
            .replace("{index}", "0");
        let path = match path.starts_with("/pool/") {
            true => format!(
                "{}?api-version=2025-10-02-preview&identifier=abcd",
                path.replace("{pool}", "nowhere")
            ),
            false => path,
        };
        let body = match (endpoint.method, endpoint.path) {
            ("POST", "/v1/calls") => json!({ "tool": "python", "code": "1" }),
            ("POST", "/v1/sessions") => json!({ "thread": "u" }),
            ("POST", "/v1/approvals/{id}/answer") => json!({ "note": "bob\n{}" }),
            ("POST", "/v1/api-keys") => json!({ "subject": "x", "roles": ["reader"], "ttl_s": 60 }),
            ("POST", "/v1/envelopes") => json!({
                "subject": "x", "scopes": [], "roles": ["reader"], "ttl_s": 60,
                "holder": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            }),
            ("POST", "/v1/switches") => {
                json!({ "kind": "agent", "name": "nobody", "to": "off", "reason": "a test" })
            }
            _ => Value::Null,
        };
        (path, body)
    }
}

/// Whether an endpoint is asked for with a WebSocket.
fn is_socket(endpoint: &Endpoint) -> bool {
    endpoint.path.ends_with("/terminal")
        || endpoint.path.ends_with("/attach")
        || endpoint.path.ends_with("{port}")
}

/// All that somebody could have changed.
#[derive(Debug, PartialEq, Eq)]
struct State {
    happened: usize,
    /// What the keeper was asked to do.
    steps: usize,
    runs: usize,
    opened: usize,
    alive: usize,
    keys: usize,
    epoch: u64,
}

fn state(remote: &Remote) -> State {
    let keeper = &remote.house.keeper;
    State {
        happened: remote.happened(),
        steps: keeper.steps().len(),
        runs: keeper.runs(),
        opened: keeper.opened(),
        alive: keeper.alive().len(),
        keys: remote
            .callers
            .list_keys("acme")
            .unwrap()
            .iter()
            .filter(|key| key.revoked_ms.is_none())
            .count(),
        epoch: remote
            .house
            .switches
            .board()
            .switches()
            .unwrap()
            .epoch()
            .get(),
    }
}

/// R153: who has no role that may do something does not do it, whatever the endpoint and however real what it is about; and
/// whoever has one gets past that question. No endpoint is left out: the table is the router.
#[tokio::test]
async fn every_role_at_every_endpoint() {
    let remote = Remote::new().await;
    let real = Targets::new(&remote).await;
    let roles: Vec<Option<Role>> = [None]
        .into_iter()
        .chain(Role::ALL.iter().copied().map(Some))
        .collect();
    let mut refused = 0;
    for endpoint in ENDPOINTS {
        // Each minute has room for so many records of refusals.
        remote.house.world.clock.advance(61_000);
        let may = |role: &Option<Role>| {
            role.is_some_and(|role| endpoint.needs.iter().any(|needed| role.may(*needed)))
        };
        for role in roles.iter().filter(|role| !may(role)) {
            let (path, body) = real.request(endpoint);
            let headers = headers(&remote, *role);
            let before = state(&remote);
            let (status, code) = if is_socket(endpoint) {
                remote.no_upgrade(&path, &headers).await
            } else {
                let answer = remote.ask(endpoint.method, &path, &headers, &body).await;
                (answer.status, answer.code())
            };
            let what = format!("{role:?}: {} {path}", endpoint.method);
            assert_eq!((status, code.as_str()), (403, "missing_scope"), "{what}");
            assert_eq!(state(&remote), before, "{what}");
            refused += 1;
            let records = remote.refusals();
            assert_eq!(records.len(), refused, "{what}");
            let record = &records.last().unwrap().entry;
            assert_eq!(record.tenant, "acme");
            assert_eq!(record.summary["actor"], "somebody");
            assert_eq!(record.summary["subject"]["endpoint"], endpoint.path);
            assert_eq!(record.summary["subject"]["code"], "not_permitted");
        }
    }
    for endpoint in ENDPOINTS {
        remote.house.world.clock.advance(61_000);
        for role in Role::ALL {
            if !endpoint.needs.iter().any(|needed| role.may(*needed)) {
                continue;
            }
            let (path, body) = NEVER.request(endpoint);
            let answer = remote
                .ask(
                    endpoint.method,
                    &path,
                    &headers(&remote, Some(*role)),
                    &body,
                )
                .await;
            let problem = answer
                .headers
                .get("content-type")
                .is_some_and(|kind| kind == "application/problem+json");
            let code = problem.then(|| answer.code());
            let code = code.as_deref();
            assert!(
                answer.status != 401 && !matches!(code, Some("missing_scope" | "not_permitted")),
                "{role}: {} {path}: {} {code:?}",
                endpoint.method,
                answer.status
            );
        }
    }
    assert_eq!(remote.refusals().len(), refused);
}

fn headers(remote: &Remote, role: Option<Role>) -> Headers {
    let roles: Vec<_> = role.iter().map(|role| role.as_str()).collect();
    remote.somebody(&roles)
}

/// R153: stopping is for everyone who acts; letting run again is not for those who run. Another tenant's switches are none.
#[tokio::test]
async fn a_switch_is_thrown_by_many_and_lifted_by_few() {
    let remote = Remote::new().await;
    let throw = |to: &str| json!({ "kind": "agent", "name": "a", "to": to, "reason": "a test" });
    for (role, to, status) in [
        ("operator", "off", 200),
        ("operator", "on", 403),
        ("approver", "off", 200),
        ("approver", "on", 403),
        ("administrator", "on", 200),
        ("administrator", "off", 200),
    ] {
        let answer = remote
            .post("/v1/switches", &remote.somebody(&[role]), &throw(to))
            .await;
        assert_eq!(answer.status, status, "{role} {to}: {}", answer.json());
    }
    let off = remote.house.switches.board().switches().unwrap();
    let off: Vec<_> = off
        .all()
        .iter()
        .filter(|switch| switch.is_off())
        .cloned()
        .collect();
    assert_eq!(off.len(), 1);
    assert_eq!(off[0].tenant.as_deref(), Some("acme"));
    let other = json!({ "kind": "tenant", "name": "other", "to": "off", "reason": "a test" });
    let answer = remote
        .post("/v1/switches", &remote.somebody(&["operator"]), &other)
        .await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (403, "tenant_boundary")
    );
    let strangers = remote.token(&remote.claims("eve", "other", &["reader"]));
    let listed = remote.get("/v1/switches", &strangers).await.json();
    assert_eq!(listed["switches"], json!([]));
}

/// R153, R158: what is another tenant's is as unknown as what never was, also to those who have every role.
#[tokio::test]
async fn another_tenant_finds_nothing() {
    let remote = Remote::new().await;
    let real = Targets::new(&remote).await;
    let all: Vec<_> = Role::ALL.iter().map(|role| role.as_str()).collect();
    let before = state(&remote);
    for endpoint in ENDPOINTS
        .iter()
        .filter(|endpoint| endpoint.path.contains('{'))
    {
        let strangers = remote.token(&remote.claims("eve", "other", &all));
        let (path, body) = real.request(endpoint);
        if is_socket(endpoint) {
            let refused = remote.no_upgrade(&path, &strangers).await;
            let code = match endpoint.path.starts_with("/v1/calls") {
                true => "call_unknown",
                false => "session_unknown",
            };
            assert_eq!(refused, (404, code.to_owned()), "{path}");
            continue;
        }
        let answer = remote.ask(endpoint.method, &path, &strangers, &body).await;
        let answers = endpoint.path.ends_with("/answer");
        let fine = answer.status == 404 || answers && answer.code() == "approval_invalid";
        assert!(
            fine,
            "{} {path}: {} {}",
            endpoint.method,
            answer.status,
            answer.json()
        );
    }
    let after = state(&remote);
    assert_eq!(
        (after.steps, after.runs, after.alive, after.keys),
        (before.steps, before.runs, before.alive, before.keys)
    );
    let strangers = remote.token(&remote.claims("eve", "other", &all));
    for (path, name) in [
        ("/v1/sessions", "sessions"),
        ("/v1/approvals", "approvals"),
        ("/v1/api-keys", "api_keys"),
        ("/v1/pools", "pools"),
    ] {
        let listed = remote.get(path, &strangers).await.json();
        assert_eq!(listed[name], json!([]), "{path}");
    }
    let mine = remote
        .get(
            &format!("/v1/calls/{}", real.waiting),
            &remote.somebody(&["reader"]),
        )
        .await;
    assert_eq!(mine.status, 200);
}

/// Every list is given in pieces: each item once, in an order that stays, and a cursor that nobody gave is refused.
#[tokio::test]
async fn lists_are_given_in_pieces() {
    let remote = Remote::new().await;
    let all: Vec<_> = Role::ALL.iter().map(|role| role.as_str()).collect();
    let who = remote.somebody(&all);
    let mut session = String::new();
    for name in ["a", "b", "c"] {
        remote.house.world.clock.advance(1);
        let call = json!({ "thread": name, "tool": "python", "code": "1" });
        let ran = remote.post("/v1/calls", &who, &call).await;
        assert_eq!(ran.status, 200, "{}", ran.json());
        session = ran.json()["session"].as_str().unwrap().to_owned();
        let waits = json!({ "tool": "shell", "argv": [name], "wait": false });
        remote.held(async |_, _| who.clone(), &waits).await;
        remote.new_key("acme", &[Role::Reader]);
        let throw = json!({ "kind": "agent", "name": name, "to": "off", "reason": "a test" });
        assert_eq!(remote.post("/v1/switches", &who, &throw).await.status, 200);
    }
    let files = format!("/v1/sessions/{session}/files");
    for (path, name) in [
        ("/v1/sessions", "sessions"),
        ("/v1/approvals", "approvals"),
        ("/v1/api-keys", "api_keys"),
        ("/v1/switches", "switches"),
        (&files, "entries"),
        ("/v1/pools", "pools"),
    ] {
        let whole = remote.get(path, &who).await.json();
        assert!(whole["next"].is_null(), "{whole}");
        let whole = whole[name].as_array().unwrap().clone();
        // The fake keeper has no pools and no directories.
        let may_be_empty = matches!(name, "pools" | "entries");
        assert!(whole.len() >= 3 || may_be_empty, "{name}: {whole:?}");
        let (mut pieces, mut cursor) = (Vec::new(), String::new());
        loop {
            let asked = format!("{path}?limit=2{cursor}");
            let piece = remote.get(&asked, &who).await.json();
            let items = piece[name].as_array().unwrap();
            assert!(items.len() <= 2, "{asked}: {piece}");
            pieces.extend(items.clone());
            match piece["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert_eq!(pieces, whole, "{name}");
        for wrong in ["limit=0", "limit=1001", "limit=x", "cursor=%25"] {
            let refused = remote.get(&format!("{path}?{wrong}"), &who).await;
            assert_eq!(refused.status, 400, "{path}?{wrong}");
        }
    }
}

/// The page that says what each endpoint takes is the router's table.
#[test]
fn the_page_names_every_endpoint() {
    let page = include_str!("../../../../docs/callers.md");
    let (_, table) = page.split_once("<!-- endpoints -->\n").unwrap();
    let (table, _) = table.split_once("<!-- /endpoints -->").unwrap();
    let rows = ENDPOINTS.iter().map(|endpoint| {
        let needs: Vec<_> = endpoint
            .needs
            .iter()
            .map(|one| format!("`{one}`"))
            .collect();
        format!(
            "| `{} {}` | {} |\n",
            endpoint.method,
            endpoint.path,
            needs.join(" or ")
        )
    });
    let expected: String = ["| endpoint | permission |\n|---|---|\n".to_owned()]
        .into_iter()
        .chain(rows)
        .collect();
    assert_eq!(table, expected);
}
