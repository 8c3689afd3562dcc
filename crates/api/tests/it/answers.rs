//! Answers to calls that wait, in each form in which one can be sent.

use bytes::Bytes;
use casemate_answers::SigningKey;
use casemate_bundle::{Approver, PolicyStore};
use casemate_gateway::{Member, Statement, Vote};
use casemate_policy::{Profile, Syntax};
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use serde_json::{Value, json};

use crate::{
    client::{Served, in_thread},
    house::House,
};

/// A gateway on which `shell` waits for approval, and those who may give it.
async fn served() -> (Served, PolicyStore) {
    let builtin = Profile::builtin_serve().unwrap();
    let source = std::str::from_utf8(builtin.source()).unwrap();
    let source = source.replace("approval_required = []", "approval_required = [\"shell\"]");
    let mut house = House::new("thread");
    house.profile = Profile::parse(source.as_bytes(), Syntax::Toml).unwrap();
    let store = PolicyStore::open(&house.world.dir.path().join("policy")).unwrap();
    house.approvers.1 = Some(store.clone());
    (Served::new(house).await, store)
}

/// A call that waits, and a statement that lets it run.
async fn waiting(served: &Served) -> (String, String) {
    let mut call = in_thread("t", &["true"]);
    call["wait"] = json!(false);
    let answer = served.post("/v1/calls", &call).await;
    let id = answer.json()["decision"].as_str().unwrap().to_owned();
    let case = loop {
        let case = served.get(&format!("/v1/approvals/{id}")).await;
        if case.status == 200 {
            break case.json();
        }
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    };
    let statement = Statement {
        members: vec![Member {
            decision: id.parse().unwrap(),
            action: case["action"].as_str().unwrap().parse().unwrap(),
        }],
        vote: Vote::Approve,
        reason: String::new(),
        at_ms: now_ms(served),
        grant_ms: None,
        break_glass: false,
    };
    (id, statement.text().unwrap())
}

fn now_ms(served: &Served) -> u64 {
    *served.house.world.clock.0.lock().unwrap()
}

async fn send(served: &Served, id: &str, headers: &[(&str, &str)], body: &str) -> (u16, Value) {
    let mut request = Request::builder()
        .method("POST")
        .uri(format!("/v1/approvals/{id}/answer"))
        .header("host", "casemate");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = Full::new(Bytes::copy_from_slice(body.as_bytes()));
    let response = served.send(request.body(body).unwrap()).await;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap())
}

/// R163: a service answers by a message of Standard Webhooks; one that is not whole, or is there twice, is no answer.
#[tokio::test]
async fn a_service_answers_by_a_message() {
    let (served, store) = served().await;
    let key = SigningKey::generate().unwrap();
    let public = key.public().unwrap().to_string().parse().unwrap();
    store
        .enlist(Approver::new("deployer", [], public).unwrap())
        .unwrap();
    let (id, statement) = waiting(&served).await;
    let at_s = now_ms(&served) / 1_000;
    let (at, signature) = (at_s.to_string(), key.sign("m1", at_s, statement.as_bytes()));
    let good = [
        ("webhook-id", "m1"),
        ("webhook-timestamp", at.as_str()),
        ("webhook-signature", signature.as_str()),
    ];
    let mut bad: Vec<Vec<(&str, &str)>> = Vec::new();
    for missing in 0..3 {
        let mut headers = good.to_vec();
        headers.remove(missing);
        bad.push(headers);
        let mut headers = good.to_vec();
        headers.push(good[missing]);
        bad.push(headers);
    }
    for headers in bad {
        let (status, problem) = send(&served, &id, &headers, &statement).await;
        assert_eq!(
            (status, &problem["code"]),
            (403, &json!("approval_invalid")),
            "{headers:?}"
        );
    }
    let edited = statement.replace("approve", "deny");
    let (status, _) = send(&served, &id, &good, &edited).await;
    assert_eq!(status, 403);
    let (status, answered) = send(&served, &id, &good, &statement).await;
    assert_eq!((status, &answered["state"]), (200, &json!("approved")));
    let (status, _) = send(&served, &id, &good, &statement).await;
    assert_eq!(status, 403, "it came again");
}

/// A body in two forms, in none, or larger than an answer is, is refused before anybody looks at it.
#[tokio::test]
async fn an_answer_has_one_form() {
    let (served, _) = served().await;
    let (id, statement) = waiting(&served).await;
    let assertion = json!({"id": "", "type": "", "response": {"clientDataJSON": "", "authenticatorData": "", "signature": ""}});
    let json = [("content-type", "application/json")];
    for body in [
        json!({}),
        json!({ "note": "n", "statement": statement, "assertion": assertion }),
        json!({ "statement": statement }),
        json!({ "assertion": assertion }),
        json!({ "note": "n", "more": 1 }),
    ] {
        let (status, problem) = send(&served, &id, &json, &body.to_string()).await;
        assert!(matches!(status, 400 | 422), "{status}: {problem}");
        assert_eq!(problem["code"], "invalid_call", "{body}");
    }
    let large = json!({ "note": "n".repeat(100_000) }).to_string();
    assert_eq!(send(&served, &id, &json, &large).await.0, 413);
    let headers = [("webhook-id", "m1")];
    assert_eq!(send(&served, &id, &headers, &large).await.0, 413);
    let unknown = json!({ "statement": statement, "assertion": assertion }).to_string();
    let (status, problem) = send(&served, &id, &json, &unknown).await;
    assert_eq!(
        (status, &problem["code"]),
        (403, &json!("approval_invalid"))
    );
    let case = served.get(&format!("/v1/approvals/{id}")).await.json();
    assert_eq!(
        (&case["state"], &case["votes"]),
        (&json!("pending"), &json!([]))
    );
}
