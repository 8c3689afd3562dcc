//! Authority that was given on, over a network: never more than it was, and never the giver's consent to itself.

use casemate_gateway::{Approver, Member, Statement, Vote};
use serde_json::{Value, json};

use crate::remote::{Headers, Held, Remote};

async fn envelope(remote: &Remote, change: impl FnOnce(&mut Value)) -> Held {
    let alice = remote.token(&remote.claims("alice", "acme", &["operator"]));
    remote
        .delegate(&alice, change)
        .await
        .map_err(|answer| answer.json())
        .unwrap()
}

/// What somebody wants otherwise of an envelope.
type Change = fn(&mut Value);

/// R138: nothing that the giver has not is given on, and nothing that cannot be; each attempt is on record.
#[tokio::test]
async fn an_envelope_is_never_wider() {
    let remote = Remote::new().await;
    let operator = remote.somebody(&["operator", "approver"]);
    let changes: [(&str, Change); 5] = [
        ("scope", |wanted| {
            wanted["scopes"] = json!(["calls:run", "mail:send"])
        }),
        ("role", |wanted| wanted["roles"] = json!(["administrator"])),
        ("deciding", |wanted| wanted["roles"] = json!(["approver"])),
        ("time", |wanted| wanted["ttl_s"] = json!(10_000_000)),
        ("for ever", |wanted| wanted["ttl_s"] = json!(u64::MAX)),
    ];
    for (what, change) in changes {
        let refused = remote
            .delegate(&operator, change)
            .await
            .map(|held| held.id)
            .unwrap_err();
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (403, "wider_than_parent"),
            "{what}"
        );
        let records = remote.house.world.records();
        let last = &records.last().unwrap().entry.summary;
        assert_eq!(
            (&last["tool"], &last["stop_reason"]),
            (&json!("envelope.issue"), &json!("wider_than_parent"))
        );
    }
    // A part of a part has not more than the part.
    let held = envelope(&remote, |wanted| {
        wanted["bounds"] = json!({ "threads": ["t"] })
    })
    .await;
    let headers = held.headers("POST", "/v1/envelopes", remote.now_ms());
    let wider = remote
        .delegate(&headers, |wanted| {
            wanted["bounds"] = json!({ "threads": ["t", "u"] })
        })
        .await;
    assert_eq!(
        wider.map(|held| held.id).unwrap_err().code(),
        "wider_than_parent"
    );
}

/// R138: a proof is for one request, once; an envelope without its holder's proof is nothing.
#[tokio::test]
async fn a_proof_is_used_once_and_for_what_it_was_made() {
    let remote = Remote::new().await;
    let held = envelope(&remote, |_| ()).await;
    let now_ms = remote.now_ms();
    let proven = held.headers("GET", "/v1/load", now_ms);
    assert_eq!(remote.get("/v1/load", &proven).await.status, 200);
    remote.is_refused(
        &remote.get("/v1/load", &proven).await,
        401,
        "replayed_proof",
    );
    for (method, path) in [
        ("POST", "/v1/load"),
        ("GET", "/v1/load?x=1"),
        ("GET", "/v1/pools"),
    ] {
        let other = held.headers(method, path, now_ms);
        remote.is_refused(&remote.get("/v1/load", &other).await, 401, "proof_mismatch");
    }
    let bare: Headers = held
        .headers("GET", "/v1/load", now_ms)
        .into_iter()
        .take(1)
        .collect();
    remote.is_refused(
        &remote.get("/v1/load", &bare).await,
        401,
        "malformed_credential",
    );
    for apart_ms in [-3_600_000_i64, 3_600_000] {
        let skewed = held.headers("GET", "/v1/load", now_ms.saturating_add_signed(apart_ms));
        remote.is_refused(&remote.get("/v1/load", &skewed).await, 401, "stale_proof");
    }
    let thief = Held {
        id: String::new(),
        text: held.text.clone(),
        key: casemate_callers::HolderKey::generate().unwrap(),
    };
    let stolen = thief.headers("GET", "/v1/load", now_ms);
    remote.is_refused(&remote.get("/v1/load", &stolen).await, 401, "bad_signature");
}

/// R138: whoever gave an envelope takes it back, and an administrator of the tenant; nobody else finds it.
#[tokio::test]
async fn an_envelope_is_taken_back_by_those_whose_it_is() {
    let remote = Remote::new().await;
    let held = envelope(&remote, |_| ()).await;
    let path = format!("/v1/envelopes/{}", held.id);
    for (subject, tenant, role, status) in [
        ("bob", "acme", "operator", 404),
        ("alice", "other", "operator", 404),
        ("root", "other", "administrator", 404),
    ] {
        let headers = remote.token(&remote.claims(subject, tenant, &[role]));
        assert_eq!(
            remote.delete(&path, &headers).await.status,
            status,
            "{subject} of {tenant}"
        );
        let load = held.headers("GET", "/v1/load", remote.now_ms());
        assert_eq!(remote.get("/v1/load", &load).await.status, 200);
    }
    let alice = remote.token(&remote.claims("alice", "acme", &["operator"]));
    assert_eq!(remote.delete(&path, &alice).await.status, 204);
    let load = held.headers("GET", "/v1/load", remote.now_ms());
    remote.is_refused(&remote.get("/v1/load", &load).await, 401, "revoked");

    let held = envelope(&remote, |_| ()).await;
    let administrator = remote.token(&remote.claims("root", "acme", &["administrator"]));
    let path = format!("/v1/envelopes/{}", held.id);
    assert_eq!(remote.delete(&path, &administrator).await.status, 204);
    let load = held.headers("GET", "/v1/load", remote.now_ms());
    remote.is_refused(&remote.get("/v1/load", &load).await, 401, "revoked");
}

/// Neither a tunnel nor a terminal is had by an envelope that has one of two sessions, and not their tool.
async fn no_sockets(remote: &Remote, held: &Held, inside: &str, outside: &str) {
    for path in [
        format!("/v1/sessions/{outside}/ports/80"),
        format!("/v1/sessions/{outside}/terminal?command=true"),
        format!("/v1/sessions/{inside}/ports/80?agent=other"),
        format!("/v1/sessions/{inside}/terminal?command=true&agent=other"),
    ] {
        let headers = held.headers("GET", &path, remote.now_ms());
        let (status, code) = remote.no_upgrade(&path, &headers).await;
        let refused = [(404, "session_unknown"), (403, "missing_scope")];
        assert!(
            refused.contains(&(status, &code)),
            "{path}: {status} {code}"
        );
    }
    // A terminal is the shell, and that is no tool of the envelope's.
    let path = format!("/v1/sessions/{inside}/terminal?command=true");
    let headers = held.headers("GET", &path, remote.now_ms());
    assert_eq!(
        remote.no_upgrade(&path, &headers).await,
        (403, "missing_scope".to_owned())
    );
}

/// R138, R158: what is out of the bounds of an envelope is not found, whatever names it; what is asked for out of them does not run.
#[tokio::test]
async fn bounds_hold_everywhere() {
    let remote = Remote::new().await;
    let alice = remote.token(&remote.claims("alice", "acme", &["operator"]));
    let cell = |thread: &str, agent: &str| json!({ "thread": thread, "agent": agent, "tool": "python", "code": "1" });
    let inside = remote
        .post("/v1/calls", &alice, &cell("t", "local"))
        .await
        .json();
    let outside = remote
        .post("/v1/calls", &alice, &cell("u", "local"))
        .await
        .json();
    let id = |answer: &Value| answer["session"].as_str().unwrap().to_owned();
    let (inside, outside) = (id(&inside), id(&outside));
    let shell = json!({ "thread": "u", "tool": "shell", "argv": ["true"], "wait": false });
    let waiting = remote.held(async |_, _| alice.clone(), &shell).await;

    let held = envelope(&remote, |wanted| {
        wanted["bounds"] = json!({ "tools": ["python"], "agents": ["local"], "threads": ["t"] });
    })
    .await;
    let ask = async |method: &str, path: &str, body: &Value| {
        let headers = held.headers(method, path, remote.now_ms());
        remote.ask(method, path, &headers, body).await
    };
    let none = Value::Null;
    assert_eq!(
        ask("GET", &format!("/v1/sessions/{inside}"), &none)
            .await
            .status,
        200
    );
    let listed = ask("GET", "/v1/sessions", &none).await.json();
    assert_eq!(listed["sessions"].as_array().unwrap().len(), 1);
    assert_eq!(
        ask("POST", "/v1/calls", &cell("t", "local")).await.status,
        200
    );
    let keeper = &remote.house.keeper;
    let before = keeper.steps();

    for (method, path) in [
        ("GET", format!("/v1/sessions/{outside}")),
        ("DELETE", format!("/v1/sessions/{outside}")),
        ("POST", format!("/v1/sessions/{outside}/contexts")),
        ("GET", format!("/v1/sessions/{outside}/files")),
        ("GET", format!("/v1/sessions/{outside}/files/f")),
        ("PUT", format!("/v1/sessions/{outside}/files/f")),
        ("DELETE", format!("/v1/sessions/{outside}/files/f")),
        ("GET", format!("/v1/calls/{waiting}")),
        ("GET", format!("/v1/calls/{waiting}/events")),
        ("POST", format!("/v1/calls/{waiting}/cancel")),
        ("GET", format!("/v1/approvals/{waiting}")),
        ("POST", format!("/v1/approvals/{waiting}/cancel")),
    ] {
        let answer = ask(method, &path, &none).await;
        assert_eq!(answer.status, 404, "{method} {path}: {}", answer.json());
    }
    no_sockets(&remote, &held, &inside, &outside).await;
    assert_eq!(
        ask("GET", "/v1/approvals", &none).await.json()["approvals"],
        json!([])
    );
    let by_session = json!({ "session": outside, "tool": "python", "code": "1" });
    for (body, status, code) in [
        (cell("u", "local"), 403, "missing_scope"),
        (cell("t", "other"), 403, "missing_scope"),
        (
            json!({ "tool": "python", "code": "1" }),
            403,
            "missing_scope",
        ),
        (
            json!({ "thread": "t", "tool": "shell", "argv": ["true"] }),
            403,
            "missing_scope",
        ),
        (by_session, 404, "session_unknown"),
    ] {
        let answer = ask("POST", "/v1/calls", &body).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (status, code),
            "{body}"
        );
    }
    for thread in [
        json!({ "thread": "u" }),
        json!({}),
        json!({ "thread": "t", "agent": "other" }),
    ] {
        let answer = ask("POST", "/v1/sessions", &thread).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (403, "missing_scope"),
            "{thread}"
        );
    }
    assert_eq!(keeper.steps(), before);
}

/// R138: whoever is bounded stops what is within its bounds and nothing else, and hears of no other switch.
#[tokio::test]
async fn a_switch_is_within_bounds() {
    let remote = Remote::new().await;
    let alice = remote.token(&remote.claims("alice", "acme", &["operator"]));
    let switch = |kind: &str, name: &str| json!({ "kind": kind, "name": name, "to": "off", "reason": "a test" });
    for (kind, name) in [("agent", "other"), ("tool", "shell"), ("user", "bob")] {
        let thrown = remote
            .post("/v1/switches", &alice, &switch(kind, name))
            .await;
        assert_eq!(thrown.status, 200);
    }
    for (bounds, kind, name, others, listed) in [
        (
            json!({ "agents": ["mine"] }),
            "agent",
            "mine",
            [("agent", "other"), ("tool", "python"), ("tenant", "acme")],
            vec!["shell", "mine"],
        ),
        (
            json!({ "tools": ["python"] }),
            "tool",
            "python",
            [("agent", "mine"), ("tool", "shell"), ("route", "any")],
            vec!["other", "mine", "python"],
        ),
    ] {
        let held = envelope(&remote, |wanted| wanted["bounds"] = bounds).await;
        let throw = async |kind: &str, name: &str| {
            let headers = held.headers("POST", "/v1/switches", remote.now_ms());
            let body = switch(kind, name);
            remote.post("/v1/switches", &headers, &body).await
        };
        let epoch = || {
            let switches = remote.house.switches.board().switches();
            switches.unwrap().epoch()
        };
        let before = epoch();
        for (kind, name) in others {
            let refused = throw(kind, name).await;
            assert_eq!(
                (refused.status, refused.code().as_str()),
                (403, "missing_scope"),
                "{kind} {name}"
            );
        }
        assert_eq!(epoch(), before);
        assert_eq!(throw(kind, name).await.status, 200);
        let headers = held.headers("GET", "/v1/switches", remote.now_ms());
        let found = remote.get("/v1/switches", &headers).await.json();
        let found = found["switches"].as_array().unwrap();
        let mut names: Vec<_> = found
            .iter()
            .map(|one| one["name"].as_str().unwrap())
            .collect();
        names.sort_unstable();
        let mut listed = listed;
        listed.sort_unstable();
        assert_eq!(names, listed);
    }
    // What is bounded in two ways has no switch of its own: it would stop what others do.
    let held = envelope(&remote, |wanted| {
        wanted["bounds"] = json!({ "tools": ["python"], "agents": ["mine"], "threads": ["t"] });
    })
    .await;
    for (kind, name) in [("agent", "mine"), ("tool", "python"), ("tenant", "acme")] {
        let headers = held.headers("POST", "/v1/switches", remote.now_ms());
        let refused = remote
            .post("/v1/switches", &headers, &switch(kind, name))
            .await;
        assert_eq!(refused.status, 403, "{kind} {name}");
    }
    let switches = remote.house.switches.board().switches().unwrap();
    assert_eq!(switches.all().len(), 5);
}

/// R138: neither the delegate nor anybody on whose behalf it acts approves its call; the record names them all.
#[tokio::test]
async fn nobody_approves_by_a_delegate_what_they_asked_for() {
    let remote = Remote::new().await;
    for user in ["alice", "agent:researcher", "bob"] {
        remote.house.approvers.0.lock().unwrap().push(Approver {
            user: user.to_owned(),
            roles: std::collections::BTreeSet::new(),
            key: format!("key of {user}"),
        });
    }
    let held = envelope(&remote, |_| ()).await;
    let shell = json!({ "tool": "shell", "argv": ["true"], "wait": false });
    let by = async |method: &str, path: &str| held.headers(method, path, remote.now_ms());
    let decision = remote.held(by, &shell).await;
    let approver = remote.somebody(&["approver"]);
    let case = remote
        .get(&format!("/v1/approvals/{decision}"), &approver)
        .await
        .json();
    let statement = Statement {
        members: vec![Member {
            decision: decision.parse().unwrap(),
            action: serde_json::from_value(case["action"].clone()).unwrap(),
        }],
        vote: Vote::Approve,
        reason: String::new(),
        at_ms: remote.now_ms(),
        grant_ms: None,
        break_glass: false,
    };
    let answer = async |user: &str| {
        let note = format!("{user}\n{}", statement.text().unwrap());
        let path = format!("/v1/approvals/{decision}/answer");
        remote
            .post(&path, &approver, &json!({ "note": note }))
            .await
    };
    for user in ["alice", "agent:researcher"] {
        let refused = answer(user).await;
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (403, "approval_invalid"),
            "{user}"
        );
    }
    assert_eq!(remote.house.keeper.runs(), 0);
    let answered = answer("bob").await;
    assert_eq!(answered.status, 200, "{}", answered.json());

    let records = remote.house.world.records();
    let held = records
        .iter()
        .find(|record| record.entry.kind == casemate_ledger::Kind::Held)
        .unwrap();
    let summary = &held.entry.summary;
    assert_eq!(summary["actor"], "agent:researcher");
    assert_eq!(summary["behalf"][0]["subject"], "alice");
    assert_eq!(summary["behalf"][0]["authority"], "jwt");
    let content = remote.house.world.content(held);
    assert_eq!(content["inputs"]["delegated"], json!(["calls:run"]));
}
