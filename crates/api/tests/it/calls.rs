//! Calls: waited for, followed, left alone, taken back, refused.

use std::time::Duration;

use casemate_ledger::Kind;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use serde_json::{Value, json};

use crate::{
    client::{Served, in_thread, until},
    house::House,
};

#[tokio::test]
async fn a_call_that_is_waited_for_gets_everything_that_is_known() {
    let served = Served::new(House::new("thread")).await;
    let first = served.call("t", &["write", "5"]).await;
    assert_eq!(first.status, 200);
    let answer = first.json();
    assert_eq!(answer["stdout"], "xxxxx");
    assert_eq!(answer["status"], "succeeded");
    assert_eq!(answer["new_session"], true);
    let again = served.call("t", &["true"]).await.json();
    assert_eq!(again["session"], answer["session"]);
    assert_eq!(again["new_session"], false);
    let by_name = json!({ "session": answer["session"], "tool": "bash", "code": "true" });
    let by_name = served.post("/v1/calls", &by_name).await.json();
    assert_eq!(by_name["asked"]["argv"][0], "bash");
    let cell = json!({ "thread": "t", "tool": "python", "code": "6 * 7", "args": ["a"] });
    let cell = served.post("/v1/calls", &cell).await.json();
    assert_eq!(cell["asked"]["argv"], json!(["-c", "a"]));
    assert!(cell["asked"]["code"].is_string());
}

/// R131: `python` takes code, and is not a name for any program.
#[tokio::test]
async fn python_takes_code_only() {
    let served = Served::new(House::new("thread")).await;
    let body = json!({ "tool": "python", "argv": ["sh", "-c", "id"] });
    let answer = served_call(&served, body).await;
    assert_eq!(
        (answer.code().as_str(), answer.status),
        ("invalid_call", 400)
    );
    assert_eq!(served.house.keeper.runs(), 0);
}

/// Each refusal is a problem with its code and the id of what was meant; nothing runs.
#[tokio::test]
async fn refusals_are_problems() {
    let served = Served::new(House::new("thread")).await;
    let mine = served.session("t").await;
    let runs = served.house.keeper.runs();
    let never = "ses_0198c7e4000070008000000000000000";
    let call = |body: Value| served_call(&served, body);
    let of = |session: &str, agent: &str| json!({ "session": session, "agent": agent, "tool": "shell", "argv": ["true"] });
    for (body, status, code, key, value) in [
        (of(never, "local"), 404, "session_unknown", "session", never),
        (of(&mine, "other"), 404, "session_unknown", "session", &mine),
        (
            json!({ "context": "ctx_0198c7e4000070008000000000000000", "tool": "python", "code": "1" }),
            404,
            "context_unknown",
            "context",
            "ctx_0198c7e4000070008000000000000000",
        ),
        (
            json!({ "tool": "shell", "argv": ["true"], "env": { "AWS_SECRET_ACCESS_KEY": "x" } }),
            403,
            "secret_in_environment",
            "code",
            "secret_in_environment",
        ),
        (
            json!({ "tool": "shell", "argv": ["true"], "timeout_ms": 99_999_999_999_u64 }),
            400,
            "limit_exceeded",
            "code",
            "limit_exceeded",
        ),
        (
            json!({ "tool": "shell", "argv": ["true"], "agent": "../x" }),
            400,
            "invalid_call",
            "code",
            "invalid_call",
        ),
        (
            json!({ "tool": "shell", "argv": ["true"], "route": "nowhere" }),
            400,
            "invalid_call",
            "detail",
            "there is no route `nowhere`: there are serve",
        ),
    ] {
        let answer = call(body.clone()).await;
        assert_eq!(answer.code(), code, "{body}");
        let problem = answer.json();
        assert_eq!(answer.status, status, "{problem}");
        assert_eq!(problem[key], value, "{problem}");
        assert!(
            problem["hint"].is_string() && problem["decision"].is_string(),
            "{problem}"
        );
    }
    // What cannot be understood is refused before it is a call.
    let records = served.house.world.kinds().len();
    for body in [
        json!({ "tool": "shell" }),
        json!({ "tool": "shell", "argv": ["true"], "code": "true" }),
        json!({ "tool": "cobol", "code": "true" }),
        json!({ "tool": "shell", "argv": ["true"], "nonsense": 1 }),
        json!({ "tool": "shell", "code": "true", "mode": "cell" }),
        json!({ "session": "ses_x", "tool": "shell", "argv": ["true"] }),
        json!({ "tool": "shell", "argv": ["true"], "files": [
            { "name": "a", "content": "1" }, { "name": "a", "content": "2" }] }),
        json!([]),
    ] {
        let answer = call(body.clone()).await;
        assert_eq!(answer.code(), "invalid_call", "{body}");
        assert!(matches!(answer.status, 400 | 422), "{body}");
    }
    let answer = served.ask("POST", "/v1/calls", b"{").await;
    assert_eq!(
        (answer.code().as_str(), answer.status),
        ("invalid_call", 400)
    );
    assert_eq!(served.get("/v2/calls").await.code(), "no_such_path");
    assert_eq!(served.house.keeper.runs(), runs);
    assert_eq!(served.house.world.kinds().len(), records);
}

async fn served_call(served: &Served, body: Value) -> crate::client::Answered {
    served.post("/v1/calls", &body).await
}

/// R65, R159: a full queue is 429 with the numbers, and says when to come back.
#[tokio::test]
async fn a_full_queue_says_when_to_come_back() {
    let house = House::with("thread", "\n[quotas.session]\ncalls = 1\nqueued = 0\n");
    let served = Served::new(house).await;
    let running = served.call("t", &["wait"]);
    let refused = async {
        until(|| served.house.keeper.running() == 1).await;
        let refused = served.call("t", &["true"]).await;
        served.house.keeper.release(1);
        refused
    };
    let (running, refused) = tokio::join!(running, refused);
    assert_eq!(running.status, 200);
    assert_eq!(
        (refused.code().as_str(), refused.status),
        ("quota_exceeded", 429)
    );
    assert_eq!(refused.headers["retry-after"], "1");
    let quota = &refused.json()["quota"];
    assert_eq!(
        (&quota["quota"], &quota["limit"]),
        (&json!("queued"), &json!(0))
    );
    assert_eq!(served.house.keeper.runs(), 1);
}

#[tokio::test]
async fn a_call_left_alone_is_asked_after_and_cancelled() {
    let served = Served::new(House::new("thread")).await;
    let mut body = in_thread("t", &["wait"]);
    body["wait"] = json!(false);
    let begun = served.post("/v1/calls", &body).await;
    assert_eq!(begun.status, 202);
    let place = begun.headers["location"].to_str().unwrap().to_owned();
    let id = begun.json()["decision"].as_str().unwrap().to_owned();
    assert_eq!(place, format!("/v1/calls/{id}"));
    until(|| served.house.keeper.running() == 1).await;
    assert_eq!(served.get(&place).await.json()["state"], "running");
    let cancelled = served.post(&format!("{place}/cancel"), &json!({})).await;
    assert_eq!(
        (cancelled.status, &cancelled.json()["cancelled"]),
        (202, &json!(true))
    );
    until(|| served.house.keeper.running() == 0).await;
    let events = served.get(&format!("{place}/events")).await;
    let events = String::from_utf8(events.body).unwrap();
    assert!(
        events.contains("event: ended") && events.contains("\"cause\":\"cancelled\""),
        "{events}"
    );
    let ended = served.get(&place).await.json();
    assert_eq!(
        (&ended["state"], &ended["answer"]["cause"]),
        (&json!("ended"), &json!("cancelled"))
    );
    let again = served.post(&format!("{place}/cancel"), &json!({})).await;
    assert_eq!(again.json()["cancelled"], false);
    let unknown = served
        .get("/v1/calls/dec_0198c7e4000070008000000000000000")
        .await;
    assert_eq!(
        (unknown.code().as_str(), unknown.status),
        ("call_unknown", 404)
    );
    assert_eq!(served.get("/v1/calls/x").await.code(), "invalid_call");
}

#[tokio::test]
async fn output_comes_as_events() {
    let served = Served::new(House::new("thread")).await;
    let body = in_thread("t", &["write", "3"]).to_string();
    let request = Request::post("/v1/calls")
        .header("host", "casemate")
        .header("content-type", "application/json")
        .header("accept", "text/event-stream")
        .body(Full::new(body.into()))
        .unwrap();
    let response = served.send(request).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let text = String::from_utf8(body.to_vec()).unwrap();
    let names: Vec<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("event: "))
        .collect();
    assert_eq!(names, ["call", "output", "ended"]);
    assert!(
        text.contains(r#"{"stream":"stdout","text":"xxx"}"#),
        "{text}"
    );
    // A refusal is not hidden in a stream.
    let request = Request::post("/v1/calls")
        .header("host", "casemate")
        .header("content-type", "application/json")
        .header("accept", "text/event-stream")
        .body(Full::new(r#"{"tool":"shell","argv":[]}"#.into()))
        .unwrap();
    assert_eq!(served.send(request).await.status(), 400);
}

/// A client that disconnects cancels the call that it waits for, whether it runs or waits for its turn.
#[tokio::test]
async fn a_client_that_disconnects_cancels_its_call() {
    for accept in ["application/json", "text/event-stream"] {
        let house = House::with("thread", "\n[quotas.session]\ncalls = 1\n");
        let served = Served::new(house).await;
        let body = in_thread("t", &["wait"]).to_string();
        let request = format!(
            "POST /v1/calls HTTP/1.1\r\nhost: c\r\naccept: {accept}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        let (running, _) = served.raw(request.as_bytes()).await;
        until(|| served.house.keeper.running() == 1).await;
        let (waiting, _) = served.raw(request.as_bytes()).await;
        let waits = async || served.get("/v1/load").await.json()["waiting"] == 1;
        assert!(waits().await);
        drop(waiting);
        for _ in 0..500 {
            if !waits().await {
                break;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        assert!(!waits().await, "it waits on");
        assert_eq!(served.house.keeper.running(), 1);
        drop(running);
        until(|| served.house.keeper.running() == 0).await;
        until(|| served.house.world.kinds().len() == 2).await;
        assert_eq!(served.house.world.kinds(), [Kind::Allowed, Kind::Outcome]);
        let outcome = &served.house.world.records()[1].entry.summary;
        assert_eq!(outcome["stop_reason"], "cancelled");
        assert_eq!(served.house.keeper.runs(), 1);
    }
}

#[tokio::test]
async fn the_same_key_and_call_run_once() {
    let served = Served::new(House::new("thread")).await;
    let mut body = in_thread("t", &["write", "4"]);
    body["idempotency_key"] = json!("k");
    let first = served.post("/v1/calls", &body).await.json();
    let second = served.post("/v1/calls", &body).await.json();
    assert_eq!(second["replay_of"], first["decision"]);
    assert_eq!(second["stdout"], "xxxx");
    body["thread"] = json!("u");
    let conflict = served.post("/v1/calls", &body).await;
    assert_eq!(
        (conflict.code().as_str(), conflict.status),
        ("idempotency_conflict", 409)
    );
    assert_eq!(served.house.keeper.runs(), 1);
}

/// Found by schemathesis: what is no name of an agent was a record that could not be written. It is a request that cannot be
/// followed, and does nothing.
#[tokio::test]
async fn what_is_no_name_of_an_agent_is_refused() {
    let served = Served::new(House::new("thread")).await;
    let session = served.session("t").await;
    let opened = served.house.keeper.opened();
    for agent in ["", "..", "A", "-a", "a b", "a/b", &"a".repeat(64)] {
        let open = served
            .post("/v1/sessions", &json!({ "agent": agent }))
            .await;
        assert_eq!(
            (open.status, open.code().as_str()),
            (422, "invalid_call"),
            "{agent}"
        );
        let agent = agent.replace(' ', "%20");
        for path in [
            format!("/v1/sessions?agent={agent}"),
            format!("/v1/sessions/{session}?agent={agent}"),
            format!("/v1/sessions/{session}/files?agent={agent}"),
        ] {
            let answer = served.get(&path).await;
            assert_eq!(
                (answer.status, answer.code().as_str()),
                (400, "invalid_call"),
                "{path}"
            );
        }
    }
    assert_eq!(served.house.keeper.opened(), opened);
}
