//! Decisions and the ledger over HTTP.

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use crate::{
    client::Served,
    house::House,
    remote::{Headers, Remote},
};

fn sha256(parts: &[&[u8]]) -> Vec<u8> {
    digest(&SHA256, &parts.concat()).as_ref().to_vec()
}

fn hash(text: &Value) -> Vec<u8> {
    let hex = text.as_str().unwrap().strip_prefix("sha256:").unwrap();
    let pairs = hex.as_bytes().chunks(2);
    let text = pairs.map(|pair| std::str::from_utf8(pair).unwrap());
    text.map(|pair| u8::from_str_radix(pair, 16).unwrap())
        .collect()
}

/// The root of RFC 9162 section 2.1.3.2, as a client computes it with nothing but an answer.
fn root_of(proven: &Value) -> Vec<u8> {
    let bytes = BASE64_STANDARD
        .decode(proven["bytes"].as_str().unwrap())
        .unwrap();
    let mut index = proven["record"]["index"].as_u64().unwrap();
    let mut last = proven["proof"]["size"].as_u64().unwrap() - 1;
    let mut root = sha256(&[&[0], &bytes]);
    assert_eq!(root, hash(&proven["record"]["leaf"]));
    for sibling in proven["proof"]["path"].as_array().unwrap() {
        let sibling = hash(sibling);
        assert_ne!(last, 0);
        if index % 2 == 1 || index == last {
            root = sha256(&[&[1], &sibling, &root]);
            while index.is_multiple_of(2) && index != 0 {
                index >>= 1;
                last >>= 1;
            }
        } else {
            root = sha256(&[&[1], &root, &sibling]);
        }
        index >>= 1;
        last >>= 1;
    }
    assert_eq!(last, 0);
    root
}

/// R231: a client verifies by itself that a record of what it did is in the log: from the bytes over the path to the root that the
/// log's key signed.
#[tokio::test]
async fn a_record_is_proven_to_a_client() {
    let served = Served::new(House::new("thread")).await;
    for _ in 0..5 {
        served.call("t", &["true"]).await;
    }
    let listed = served.get("/v1/ledger").await.json();
    let records = listed["records"].as_array().unwrap();
    assert_eq!(
        records.len() as u64,
        listed["head"]["size"].as_u64().unwrap()
    );
    for record in records {
        let path = format!("/v1/ledger/{}", record["index"]);
        let proven = served.get(&path).await.json();
        assert_eq!(&proven["record"], record);
        let root = root_of(&proven);
        assert_eq!(root, hash(&proven["proof"]["root"]));
        // The checkpoint says the same: its third line is the root, and the rest is signed by the key that is named.
        let note = proven["proof"]["checkpoint"].as_str().unwrap();
        let lines: Vec<_> = note.lines().collect();
        assert_eq!(lines[1], proven["proof"]["size"].to_string());
        assert_eq!(BASE64_STANDARD.decode(lines[2]).unwrap(), root);
        let name = listed["key"].as_str().unwrap().split_once('+').unwrap().0;
        assert_eq!(lines[0], name);
        // What it sealed is in its bytes, and nothing of it in what is shown.
        let bytes = BASE64_STANDARD.decode(proven["bytes"].as_str().unwrap());
        let entry: Value = serde_json::from_slice(&bytes.unwrap()).unwrap();
        assert_eq!(entry["summary"], record["summary"]);
        assert_eq!(entry.get("payload").is_some(), record["sealed"] == true);
        assert!(record.get("payload").is_none());
    }
    let beyond = served.get(&format!("/v1/ledger/{}", records.len())).await;
    assert_eq!(
        (beyond.status, beyond.code().as_str()),
        (404, "record_unknown")
    );
}

async fn walk(remote: &Remote, by: &Headers, query: &str) -> Vec<u64> {
    let (mut seen, mut more) = (Vec::new(), String::new());
    loop {
        let path = format!("/v1/ledger?limit=2{query}{more}");
        let piece = remote.get(&path, by).await;
        assert_eq!(piece.status, 200, "{}", piece.json());
        let piece = piece.json();
        let records = piece["records"].as_array().unwrap();
        assert!(records.len() <= 2);
        seen.extend(
            records
                .iter()
                .map(|record| record["index"].as_u64().unwrap()),
        );
        let Some(next) = piece["next"].as_str() else {
            return seen;
        };
        more = format!("&cursor={next}");
    }
}

/// R220: every record of the tenant comes once, in order, from where it was asked; and those only of which the filter is true.
#[tokio::test]
async fn records_are_found_piece_by_piece() {
    let remote = Remote::new().await;
    let by = remote.somebody(&["operator", "administrator"]);
    let eve = remote.token(&remote.claims("eve", "other", &["operator"]));
    let call =
        |agent: &str| json!({ "tool": "python", "code": "1", "agent": agent, "thread": "t" });
    for (agent, by) in [("a", &by), ("b", &eve), ("b", &by), ("a", &by)] {
        let ran = remote.post("/v1/calls", by, &call(agent)).await;
        assert_eq!(ran.status, 200, "{}", ran.json());
    }
    let throw = json!({ "kind": "agent", "name": "c", "to": "off", "reason": "x" });
    assert_eq!(remote.post("/v1/switches", &by, &throw).await.status, 200);
    let all = remote.house.world.records();
    let of = |wanted: &dyn Fn(&casemate_ledger::Record) -> bool| {
        let wanted = all
            .iter()
            .filter(|record| record.entry.tenant == "acme" && wanted(record));
        wanted.map(|record| record.index).collect::<Vec<_>>()
    };
    assert!(of(&|_| true).len() > 5);
    assert_eq!(walk(&remote, &by, "").await, of(&|_| true));
    assert_eq!(
        walk(&remote, &by, "&from=3").await,
        of(&|record| record.index >= 3)
    );
    let of_b = of(&|record| record.entry.agent == "b");
    assert!(!of_b.is_empty());
    assert_eq!(walk(&remote, &by, "&agent=b").await, of_b);
    let outcomes = of(&|record| record.entry.kind == casemate_ledger::Kind::Outcome);
    assert_eq!(walk(&remote, &by, "&kind=outcome").await, outcomes);
    let python = of(&|record| record.entry.summary["tool"] == "python");
    assert_eq!(walk(&remote, &by, "&tool=python").await, python);
    assert_eq!(walk(&remote, &by, "&from=999999").await, [0_u64; 0]);
    // What raises an alert is found by itself.
    let incidents = remote.get("/v1/incidents", &by).await.json();
    let incidents = incidents["incidents"].as_array().unwrap();
    assert!(!incidents.is_empty());
    assert!(incidents.iter().all(|one| one["summary"]["alert"] == true));
    assert!(
        incidents
            .iter()
            .any(|one| one["summary"]["tool"] == "switch.throw"
                || one["summary"]["subject"]["name"] == "c")
    );
    for bad in [
        "limit=0",
        "limit=1001",
        "kind=x",
        "cursor=x",
        "cursor=e30",
        "from=-1",
    ] {
        let refused = remote.get(&format!("/v1/ledger?{bad}"), &by).await;
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (400, "invalid_call"),
            "{bad}"
        );
    }
    // Places of no log, and of none of its batches' records.
    for (offset, first, next) in [(7, 1, 2), (0, 0, 2), (0, 0, u64::MAX)] {
        let place = json!({ "offset": offset, "first": first, "next": next }).to_string();
        let cursor = base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(place);
        for path in ["ledger", "decisions/dec_0198c7e4000070008000000000000000"] {
            let path = format!("/v1/{path}?cursor={cursor}");
            let refused = remote.get(&path, &by).await;
            assert_eq!(
                (refused.status, refused.code().as_str()),
                (400, "invalid_call"),
                "{path}"
            );
        }
    }
}

/// R224, R239: why a call was allowed or refused is told, question by question, with what it was decided from.
#[tokio::test]
async fn a_decision_is_explained() {
    let served = Served::new(House::new("thread")).await;
    let call = json!({ "thread": "t", "tool": "python", "code": "secret = 7", "agent": "a" });
    let ran = served.post("/v1/calls", &call).await.json();
    let path = format!("/v1/decisions/{}", ran["decision"].as_str().unwrap());
    let told = served.get(&path).await.json();
    assert_eq!(told["decision"], ran["decision"]);
    assert_eq!(told["decided"]["verdict"], "allow");
    let checks = told["decided"]["checks"].as_array().unwrap();
    assert!(checks.len() > 5 && checks.iter().all(|check| check["passed"] == true));
    let records = told["records"].as_array().unwrap();
    assert_eq!(told["next"], Value::Null);
    let kinds: Vec<_> = records.iter().map(|one| &one["record"]["kind"]).collect();
    assert_eq!(kinds, ["allowed", "outcome"]);
    assert_eq!(records[0]["content"]["inputs"]["agent"], "a");
    let code = records[0]["content"].to_string();
    assert!(code.contains("secret = 7"), "{code}");
    let refused = json!({ "thread": "t", "tool": "python", "code": "1", "route": "nowhere" });
    let refused = served.post("/v1/calls", &refused).await.json();
    let path = format!("/v1/decisions/{}", refused["decision"].as_str().unwrap());
    let told = served.get(&path).await.json();
    assert_eq!(told["decided"]["reason"], refused["code"]);
    assert_eq!(told["hint"], refused["hint"]);
    let unknown = served
        .get("/v1/decisions/dec_0198c7e4000070008000000000000000")
        .await;
    assert_eq!(
        (unknown.status, unknown.code().as_str()),
        (404, "record_unknown")
    );
    assert_eq!(served.get("/v1/decisions/x").await.status, 400);
}

/// Whoever is bound to some agents, tools or threads sees no record of others.
#[tokio::test]
async fn bounds_hold_for_records() {
    let remote = Remote::new().await;
    let operator = remote.somebody(&["operator"]);
    let call =
        |agent: &str| json!({ "tool": "python", "code": "1", "agent": agent, "thread": "t" });
    let mut decisions = Vec::new();
    for agent in ["a", "b"] {
        let ran = remote
            .post("/v1/calls", &operator, &call(agent))
            .await
            .json();
        decisions.push(ran["decision"].as_str().unwrap().to_owned());
    }
    let all = remote.house.world.records();
    for (bounds, sees) in [
        (json!({ "agents": ["a"] }), vec!["a"]),
        (
            json!({ "agents": ["a", "b"], "tools": ["python"] }),
            vec!["a", "b"],
        ),
        (json!({ "tools": ["shell"] }), vec![]),
        (json!({ "threads": ["t"] }), vec![]),
    ] {
        let envelope = remote.delegate(&operator, |wanted| wanted["bounds"] = bounds.clone());
        let envelope = envelope.await.map_err(|_| ()).unwrap();
        let path = "/v1/ledger?tool=python";
        let by = envelope.headers("GET", path, remote.now_ms());
        let listed = remote.get(path, &by).await.json();
        let records = listed["records"].as_array().unwrap();
        let mut agents: Vec<_> = records
            .iter()
            .map(|one| one["agent"].as_str().unwrap())
            .collect();
        agents.sort_unstable();
        agents.dedup();
        assert_eq!(agents, sees, "{bounds}");
        for (agent, decision) in ["a", "b"].iter().zip(&decisions) {
            let status = if sees.contains(agent) { 200 } else { 404 };
            let path = format!("/v1/decisions/{decision}");
            let by = envelope.headers("GET", &path, remote.now_ms());
            assert_eq!(
                remote.get(&path, &by).await.status,
                status,
                "{bounds} {agent}"
            );
            let of_it = all
                .iter()
                .find(|one| one.entry.decision.to_string() == *decision);
            let path = format!("/v1/ledger/{}", of_it.unwrap().index);
            let by = envelope.headers("GET", &path, remote.now_ms());
            assert_eq!(
                remote.get(&path, &by).await.status,
                status,
                "{bounds} {agent}"
            );
        }
    }
}

/// Routes, their images and tools are those that the caller could use; agents are those of the tenant that are at work.
#[tokio::test]
async fn a_caller_sees_what_there_is_for_it() {
    let remote = Remote::new().await;
    let operator = remote.somebody(&["operator"]);
    let route = remote.house.profile.route.clone();
    let listed = remote.get("/v1/profiles", &operator).await.json();
    let profiles = listed["profiles"].as_array().unwrap();
    let own = profiles.iter().find(|one| one["route"] == route).unwrap();
    let tools = own["tools"].as_array().unwrap();
    assert!(tools.iter().any(|tool| tool["tool"] == "python"));
    // A token without the scope is shown none of its tools.
    let mut claims = remote.claims("somebody", "acme", &["operator"]);
    claims["scope"] = json!("");
    let listed = remote
        .get("/v1/profiles", &remote.token(&claims))
        .await
        .json();
    for profile in listed["profiles"].as_array().unwrap() {
        assert_eq!(profile["tools"], json!([]));
    }
    // A tenant that no profile names is told of no route.
    let stranger = remote.token(&remote.claims("eve", "nobody", &["operator"]));
    for (path, name) in [("/v1/profiles", "profiles"), ("/v1/images", "images")] {
        let listed = remote.get(path, &stranger).await.json();
        assert_eq!(listed[name], json!([]), "{path}");
    }
    let agents = remote.get("/v1/agents", &operator).await.json();
    assert_eq!(agents["agents"], json!([]));
    let call = json!({ "tool": "python", "code": "1", "agent": "a", "thread": "t" });
    remote.post("/v1/calls", &operator, &call).await;
    let agents = remote.get("/v1/agents", &operator).await.json();
    let one = json!([{ "agent": "a", "sessions": 1, "calls": 0, "waiting_approvals": 0 }]);
    assert_eq!(agents["agents"], one);
    let eve = remote.token(&remote.claims("eve", "other", &["operator"]));
    assert_eq!(
        remote.get("/v1/agents", &eve).await.json()["agents"],
        json!([])
    );
}

/// Whoever may look at records is not shown what they seal by that; and that somebody is shown it is on record.
#[tokio::test]
async fn what_is_sealed_is_for_fewer() {
    let remote = Remote::new().await;
    let operator = remote.somebody(&["operator"]);
    let call = json!({ "tool": "python", "code": "secret = 7", "thread": "t" });
    let ran = remote.post("/v1/calls", &operator, &call).await.json();
    let decision = ran["decision"].as_str().unwrap();
    let path = format!("/v1/decisions/{decision}");
    let readings = || {
        let mut records = remote.house.world.records();
        records.retain(|record| record.entry.summary["tool"] == "content.read");
        records
    };
    let mut expected = 0;
    for (role, is_shown) in [
        ("reader", false),
        ("operator", true),
        ("approver", true),
        ("author", false),
        ("administrator", false),
    ] {
        let told = remote.get(&path, &remote.somebody(&[role])).await;
        assert_eq!(told.status, 200);
        let text = told.json().to_string();
        assert_eq!(text.contains("secret = 7"), is_shown, "{role}");
        expected += usize::from(is_shown);
        assert_eq!(readings().len(), expected, "{role}");
    }
    assert_eq!(readings()[0].entry.summary["subject"]["of"], decision);
    assert_eq!(readings()[0].entry.kind, casemate_ledger::Kind::Event);
}
