//! Those who are not believed, over a network: nothing happens, and each is on record.

use std::{collections::BTreeSet, time::Duration};

use casemate_callers::{NewApiKey, Role};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    remote::{Headers, Remote, bearer},
    support::{HOUR_S, TestKey, b64, jwks},
};

fn changed(mut claims: Value, name: &str, value: Value) -> Value {
    claims[name] = value;
    claims
}

/// What is presented, and how it is refused.
type Case = (&'static str, Headers, u16, &'static str);

/// Tokens that differ from `good` in one thing, and other things that are none.
fn not_believed(remote: &Remote, good: &Value) -> Vec<Case> {
    let now_s = remote.now_ms() / 1_000;
    let stranger = TestKey::new("EdDSA", "k1");
    let unknown = TestKey::new("EdDSA", "k9");
    let token = |name, value| remote.token(&changed(good.clone(), name, value));
    let none = format!(
        "{}.{}.",
        b64(r#"{"alg":"none","typ":"at+jwt","kid":"k1"}"#),
        b64(good.to_string())
    );
    let twice = good.to_string().replacen("{", r#"{"sub":"root","#, 1);
    let twice = {
        let key = remote.key.lock().unwrap();
        key.sign_text(&key.header().to_string(), &twice)
    };
    vec![
        ("nothing", Vec::new(), 401, "missing_credential"),
        (
            "alg none",
            bearer(&format!("{none}c2ln")),
            401,
            "algorithm_not_allowed",
        ),
        (
            "alg none, unsigned",
            bearer(&none),
            401,
            "malformed_credential",
        ),
        (
            "another's key under our kid",
            bearer(&stranger.token(good)),
            401,
            "bad_signature",
        ),
        (
            "a wrong kid",
            bearer(&unknown.token(good)),
            401,
            "unknown_key",
        ),
        (
            "another audience",
            token("aud", json!("https://elsewhere.example")),
            401,
            "wrong_audience",
        ),
        (
            "an unknown issuer",
            token("iss", json!("https://evil.example")),
            401,
            "unknown_issuer",
        ),
        ("a claim twice", bearer(&twice), 401, "duplicate_claim"),
        (
            "an hour late",
            token("exp", json!(now_s - HOUR_S)),
            401,
            "expired_token",
        ),
        (
            "an hour early",
            token("nbf", json!(now_s + HOUR_S)),
            401,
            "not_yet_valid",
        ),
        (
            "from the future",
            token("iat", json!(now_s + HOUR_S)),
            401,
            "issued_in_future",
        ),
        (
            "a key that never was",
            bearer(&format!("cm_{}", "0".repeat(89))),
            401,
            "malformed_credential",
        ),
        (
            "no scheme",
            vec![("authorization", "Basic YTpi".to_owned())],
            401,
            "malformed_credential",
        ),
        (
            "two",
            [remote.token(good), vec![("x-api-key", "cm_x".to_owned())]].concat(),
            401,
            "several_credentials",
        ),
    ]
}

/// R123, R136, R221: a token that could be believed by mistake is not, says why by a stable code, and leaves a record without itself.
#[tokio::test]
async fn tokens_that_are_not_believed() {
    let remote = Remote::new().await;
    let good = remote.claims("somebody", "acme", &["operator"]);
    let cases = not_believed(&remote, &good);
    let call = json!({ "tool": "python", "code": "1" });
    for (nth, (what, headers, status, code)) in cases.iter().enumerate() {
        for (method, path) in [
            ("POST", "/v1/calls"),
            ("GET", "/v1/load"),
            ("GET", "/no/such/path"),
        ] {
            let answer = remote
                .ask(
                    method,
                    path,
                    headers,
                    if method == "POST" {
                        &call
                    } else {
                        &Value::Null
                    },
                )
                .await;
            assert_eq!(answer.status, *status, "{what}: {method} {path}");
            remote.is_refused(&answer, *status, code);
        }
        assert_eq!(remote.refusals().len(), 3 * (nth + 1), "{what}");
        remote.house.world.clock.advance(1);
    }
    assert_eq!(remote.happened(), 0);
    assert_eq!(remote.house.keeper.runs(), 0);
    // No credential is in any record.
    let records = serde_json::to_string(
        &remote
            .house
            .world
            .records()
            .iter()
            .map(|record| record.entry.clone())
            .collect::<Vec<_>>(),
    )
    .unwrap();
    for (_, headers, ..) in &cases {
        for (_, value) in headers {
            let secret = value.rsplit(' ').next().unwrap();
            assert!(secret.len() < 8 || !records.contains(secret));
        }
    }
    let believed = remote.post("/v1/calls", &remote.token(&good), &call).await;
    assert_eq!(believed.status, 200, "{}", believed.json());
}

/// R136: the keys of an issuer change while the gateway runs: new ones count at once, old ones no more.
#[tokio::test]
async fn keys_are_rotated() {
    let remote = Remote::new().await;
    let good = remote.claims("somebody", "acme", &["reader"]);
    let old = remote.token(&good);
    assert_eq!(remote.get("/v1/load", &old).await.status, 200);
    let next = TestKey::new("EdDSA", "k2");
    let new = bearer(&next.token(&good));
    remote.is_refused(&remote.get("/v1/load", &new).await, 401, "unknown_key");
    let both = jwks(&[&remote.key.lock().unwrap(), &next]).to_string();
    std::fs::write(&remote.jwks, both).unwrap();
    assert_eq!(remote.get("/v1/load", &new).await.status, 200);
    assert_eq!(remote.get("/v1/load", &old).await.status, 200);
    std::fs::write(&remote.jwks, jwks(&[&next]).to_string()).unwrap();
    assert_eq!(remote.get("/v1/load", &new).await.status, 200);
    remote.is_refused(&remote.get("/v1/load", &old).await, 401, "unknown_key");
    std::fs::remove_file(&remote.jwks).unwrap();
    remote.is_refused(&remote.get("/v1/load", &new).await, 503, "keys_unavailable");
}

/// R138: a key counts until it is taken back, which its envelopes hear of too; it is shown once.
#[tokio::test]
async fn a_revoked_key_is_none() {
    let remote = Remote::new().await;
    let administrator = remote.somebody(&["administrator"]);
    let new = json!({ "subject": "robot", "scopes": ["calls:run"], "roles": ["operator"], "ttl_s": 3_600 });
    let made = remote.post("/v1/api-keys", &administrator, &new).await;
    assert_eq!(made.status, 201, "{}", made.json());
    let made = made.json();
    let (name, text) = (
        made["name"].as_str().unwrap(),
        made["api_key"].as_str().unwrap(),
    );
    for headers in [bearer(text), vec![("x-api-key", text.to_owned())]] {
        assert_eq!(remote.get("/v1/load", &headers).await.status, 200);
    }
    let listed = remote.get("/v1/api-keys", &administrator).await;
    assert!(
        !String::from_utf8(listed.body.clone())
            .unwrap()
            .contains(text)
    );
    assert_eq!(listed.json()["api_keys"][0]["name"], name);
    let held = remote
        .delegate(&bearer(text), |_| ())
        .await
        .map_err(|_| ())
        .unwrap();
    let load = |remote: &Remote| held.headers("GET", "/v1/load", remote.now_ms());
    assert_eq!(remote.get("/v1/load", &load(&remote)).await.status, 200);

    let path = format!("/v1/api-keys/{name}");
    let strangers = remote.token(&remote.claims("eve", "other", &["administrator"]));
    assert_eq!(remote.delete(&path, &strangers).await.status, 404);
    assert_eq!(remote.get("/v1/load", &bearer(text)).await.status, 200);
    assert_eq!(remote.delete(&path, &administrator).await.status, 204);
    remote.is_refused(&remote.get("/v1/load", &bearer(text)).await, 401, "revoked");
    remote.is_refused(
        &remote.get("/v1/load", &load(&remote)).await,
        401,
        "revoked",
    );
    let operations: Vec<_> = remote
        .house
        .world
        .records()
        .iter()
        .filter(|record| record.entry.kind == casemate_ledger::Kind::Outcome)
        .map(|record| record.entry.summary["tool"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(
        operations,
        ["api_key.create", "envelope.issue", "api_key.revoke"]
    );
}

/// R153: a role that was removed between two requests is not there at the second; a key that ended is none.
#[tokio::test]
async fn what_ends_ends() {
    let remote = Remote::new().await;
    let call = json!({ "tool": "python", "code": "1" });
    assert_eq!(
        remote
            .post("/v1/calls", &remote.somebody(&["operator"]), &call)
            .await
            .status,
        200
    );
    let runs = remote.house.keeper.runs();
    let now = remote
        .post("/v1/calls", &remote.somebody(&["reader"]), &call)
        .await;
    assert_eq!((now.status, now.code().as_str()), (403, "missing_scope"));
    let (_, text) = remote.new_key("acme", &[Role::Reader]);
    let token = remote.somebody(&["reader"]);
    remote.house.world.clock.advance(3_600_000);
    remote.is_refused(
        &remote.get("/v1/load", &bearer(&text)).await,
        401,
        "expired_token",
    );
    remote.is_refused(&remote.get("/v1/load", &token).await, 401, "expired_token");
    assert_eq!(remote.house.keeper.runs(), runs);
}

/// Strangers do not fill the disk, and none of them is lost: the first of a minute are on record, the rest counted, exactly.
#[tokio::test]
async fn a_flood_of_strangers_is_counted() {
    let remote = Remote::new().await;
    let (strangers, unbelieved) = (150, 50);
    for _ in 0..strangers {
        assert_eq!(remote.get("/v1/load", &Vec::new()).await.status, 401);
    }
    for _ in 0..unbelieved {
        assert_eq!(remote.get("/v1/load", &bearer("a.b.c")).await.status, 401);
    }
    assert_eq!(remote.refusals().len(), 60);
    // Who is known and may not is not hidden by them.
    let reader = remote.somebody(&["reader"]);
    assert_eq!(
        remote.post("/v1/calls", &reader, &json!({})).await.status,
        403
    );
    assert_eq!(remote.refusals().len(), 61);
    remote.house.world.clock.advance(60_000);
    assert_eq!(remote.get("/v1/load", &Vec::new()).await.status, 401);
    let records = remote.refusals();
    let counted = &records[61].entry.summary["subject"];
    assert_eq!(counted["total"], strangers + unbelieved - 60);
    assert_eq!(counted["codes"]["missing_credential"], strangers - 60);
    assert_eq!(counted["codes"]["malformed_credential"], unbelieved);
    assert_eq!(records.len(), 63);
    // And what is left is written at the end.
    for _ in 0..70 {
        remote.get("/v1/load", &Vec::new()).await;
    }
    remote.api.write_refusals();
    let records = remote.refusals();
    let last = &records.last().unwrap().entry.summary["subject"];
    assert_eq!(last["total"], 11);
}

/// A tenant's callers who may not are counted for it, and do not hide those of another.
#[tokio::test]
async fn refusals_are_counted_by_tenant() {
    let remote = Remote::new().await;
    let refused = async |tenant: &str| {
        let reader = remote.token(&remote.claims("somebody", tenant, &["reader"]));
        let answer = remote.post("/v1/calls", &reader, &json!({})).await;
        assert_eq!(answer.status, 403);
    };
    for _ in 0..65 {
        refused("acme").await;
    }
    refused("other").await;
    let records = remote.refusals();
    assert_eq!(records.len(), 61);
    assert_eq!(records[60].entry.tenant, "other");
    remote.api.write_refusals();
    let records = remote.refusals();
    assert_eq!(records.len(), 62);
    let counted = &records[61].entry;
    assert_eq!(counted.tenant, "acme");
    assert_eq!(counted.summary["stop_reason"], "missing_scope");
    let codes = json!({ "not_permitted": 5 });
    assert_eq!(counted.summary["subject"]["codes"], codes);
}

/// Whoever looks on at approvals is shown nothing more when its credential was taken back, or has ended.
#[tokio::test]
async fn who_is_believed_no_more_is_shown_no_approvals() {
    let remote = Remote::new().await;
    let operator = remote.somebody(&["operator"]);
    let waits = json!({ "tool": "shell", "argv": ["true"], "wait": false });
    let api = std::sync::Arc::clone(&remote.api);
    let waiting = tokio::spawn(async move { api.look_after_waiting(Vec::new()).await });
    let hold = async || remote.held(async |_, _| operator.clone(), &waits).await;
    let look_on = async |key: &str| {
        let mut stream = TcpStream::connect(remote.address).await.unwrap();
        let request = format!(
            "GET /v1/approvals/events HTTP/1.1\r\nhost: casemate\r\nconnection: close\r\nx-api-key: {key}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    };
    let (name, key) = remote.new_key("acme", &[Role::Reader]);
    let mut stream = look_on(&key).await;
    let first = hold().await;
    let mut shown = Vec::new();
    while !String::from_utf8_lossy(&shown).contains(&first) {
        assert_ne!(stream.read_buf(&mut shown).await.unwrap(), 0);
    }
    let now_ms = remote.now_ms();
    remote.callers.revoke_key("acme", &name, now_ms).unwrap();
    let second = hold().await;
    let rest = stream.read_to_end(&mut shown);
    let rest = tokio::time::timeout(Duration::from_secs(20), rest).await;
    assert!(rest.is_ok(), "it goes on");
    assert!(!String::from_utf8_lossy(&shown).contains(&second));

    // Its end is not waited for with the next approval.
    let new = NewApiKey {
        subject: "robot".to_owned(),
        tenant: "acme".to_owned(),
        scopes: BTreeSet::new(),
        roles: [Role::Reader].into(),
        ttl_ms: 2_000,
    };
    let (_, key) = remote.callers.new_key(&new, now_ms).unwrap();
    let mut stream = look_on(&key).await;
    let mut shown = Vec::new();
    while !String::from_utf8_lossy(&shown).contains(&second) {
        assert_ne!(stream.read_buf(&mut shown).await.unwrap(), 0);
    }
    remote.house.world.clock.advance(2_000);
    let rest = stream.read_to_end(&mut shown);
    let rest = tokio::time::timeout(Duration::from_secs(20), rest).await;
    assert!(rest.is_ok(), "it goes on");
    waiting.abort();
}

/// Who sends the head of a request slowly, or nothing, keeps out nobody.
#[tokio::test]
async fn slow_heads_block_nobody() {
    let remote = Remote::new().await;
    let mut slow = Vec::new();
    for nth in 0..100 {
        let mut stream = TcpStream::connect(remote.address).await.unwrap();
        if nth % 2 == 0 {
            stream
                .write_all(b"GET /v1/load HTTP/1.1\r\nhost: x\r\nx-")
                .await
                .unwrap();
        }
        slow.push(stream);
    }
    assert_eq!(
        remote
            .get("/v1/load", &remote.somebody(&["reader"]))
            .await
            .status,
        200
    );
    drop(slow);
}

/// What is no request, or has a head that is too large, is answered or dropped, and the next one is served.
#[tokio::test]
async fn what_is_no_request_harms_nobody() {
    let remote = Remote::new().await;
    let large = format!(
        "GET / HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n",
        "y".repeat(1 << 20)
    );
    for bytes in [
        &b"\x16\x03\x01\x02\x00"[..],
        b"GET\r\n\r\n",
        large.as_bytes(),
        &[0; 4_096],
    ] {
        let mut stream = TcpStream::connect(remote.address).await.unwrap();
        drop(stream.write_all(bytes).await);
        let mut answer = Vec::new();
        let read =
            tokio::time::timeout(Duration::from_millis(500), stream.read_to_end(&mut answer)).await;
        drop(read);
        assert!(!answer.starts_with(b"HTTP/1.1 200"));
    }
    assert_eq!(
        remote
            .get("/v1/load", &remote.somebody(&["reader"]))
            .await
            .status,
        200
    );
}
