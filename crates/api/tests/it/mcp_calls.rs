//! The tools of the Model Context Protocol: each call is one life of a call.

use std::collections::BTreeSet;

use casemate_gateway::{Approver, MAX_KEPT_OUTPUT_BYTES, Member, Statement, Vote};
use casemate_ledger::Kind;
use casemate_policy::{Profile, Syntax};
use casemate_ports::Gone;
use serde_json::{Value, json};

use crate::{
    client::{Served, until},
    house::House,
    mcp::{Client, call, messages},
    session_keeper::Step,
};

fn text(result: &Value) -> &str {
    result["content"][0]["text"].as_str().unwrap()
}

fn house_with(mode: &str, change: (&str, &str)) -> House {
    let mut house = House::new(mode);
    let source = String::from_utf8(house.profile.source().to_vec()).unwrap();
    let changed = source.replace(change.0, change.1);
    assert_ne!(source, changed);
    house.profile = Profile::parse(changed.as_bytes(), Syntax::Toml).unwrap();
    house
}

/// R19: a call by a tool is decided and recorded as `POST /v1/calls` is, and answers with what is known of it.
#[tokio::test]
async fn a_tool_is_a_call() {
    let served = Served::new(House::new("thread")).await;
    let client = Client::begin(&served).await;
    assert_eq!(
        client.tools().await,
        [
            "python",
            "shell",
            "list_files",
            "read_file",
            "write_file",
            "call_result"
        ]
    );
    let result = client
        .tool("python", json!({"code": "write 5", "fresh": true}))
        .await;
    assert_eq!(result["isError"], false, "{result}");
    let data = &result["structuredContent"];
    assert_eq!(
        (&data["status"], &data["stdout"], &data["exit_code"]),
        (&json!("succeeded"), &json!("xxxxx"), &json!(0))
    );
    assert_eq!(text(&result), "xxxxx");
    let records = served.house.world.records();
    let of_call: Vec<_> = records
        .iter()
        .filter(|record| record.entry.summary["tool"] == "python")
        .map(|record| record.entry.kind)
        .collect();
    assert_eq!(of_call, [Kind::Allowed, Kind::Outcome]);
    let decision = data["decision"].as_str().unwrap();
    assert!(served.get(&format!("/v1/calls/{decision}")).await.status == 200);
    let failed = client
        .tool("python", json!({"code": "false", "fresh": true}))
        .await;
    assert_eq!(failed["isError"], true);
    assert_eq!(failed["structuredContent"]["exit_code"], 1);
    assert!(text(&failed).contains("exit code 1"), "{failed}");
}

/// Variables last for a conversation in one interpreter, and are nobody else's.
#[tokio::test]
async fn variables_last_for_a_conversation() {
    let served = Served::new(House::new("thread")).await;
    let (client, other) = (Client::begin(&served).await, Client::begin(&served).await);
    let contexts = || {
        let mut all = Vec::new();
        for step in served.house.keeper.steps() {
            if let Step::Place(session, context) = step {
                all.push((session, context));
            }
        }
        all
    };
    let python = json!({"code": "true"});
    // At once: they do not start two.
    let (first, second) = tokio::join!(
        client.tool("python", python.clone()),
        client.tool("python", python.clone())
    );
    assert_eq!(first["structuredContent"]["status"], "succeeded", "{first}");
    assert_eq!(
        second["structuredContent"]["status"], "succeeded",
        "{second}"
    );
    other.tool("python", python.clone()).await;
    client
        .tool("python", json!({"code": "true", "fresh": true}))
        .await;
    let seen = contexts();
    assert_eq!(seen.len(), 4, "{seen:?}");
    assert!(seen[0].1.is_some());
    assert_eq!(seen[0], seen[1]);
    assert_ne!(seen[0].0, seen[2].0);
    assert_ne!(seen[0].1, seen[2].1);
    assert_eq!(seen[3], (seen[0].0, None));
    // One that is gone is told of, once, and then there is another one.
    served
        .house
        .keeper
        .kill_context(seen[0].0, seen[0].1.unwrap());
    let gone = client.tool("python", python.clone()).await;
    assert_eq!(gone["isError"], true);
    let reason = gone["structuredContent"]["reason"].as_str().unwrap();
    assert!(
        ["context_unknown", "session_gone"].contains(&reason),
        "{gone}"
    );
    let next = client.tool("python", python).await;
    assert_eq!(next["structuredContent"]["status"], "succeeded", "{next}");
}

/// R131: a tool that the profile does not permit is not listed, and refused on record if it is called all the same.
#[tokio::test]
async fn a_tool_that_is_not_permitted_is_invisible_and_refused() {
    let all = "allowed = [\"python\", \"shell\"]";
    for (kept, refused) in [("python", "shell"), ("shell", "python")] {
        let only = format!("allowed = [\"{kept}\"]");
        let served = Served::new(house_with("thread", (all, &only))).await;
        let client = Client::begin(&served).await;
        let tools = client.tools().await;
        assert!(tools.iter().any(|tool| tool == kept));
        assert!(!tools.iter().any(|tool| tool == refused), "{tools:?}");
        let result = client.tool(refused, json!({"code": "true"})).await;
        assert_eq!(result["isError"], true, "{result}");
        let data = &result["structuredContent"];
        assert_eq!(data["reason"], "missing_scope");
        let decision = data["decision"].as_str().unwrap();
        assert!(text(&result).contains(decision) && text(&result).contains("What can be done"));
        assert_eq!(served.house.keeper.runs(), 0);
        let records = served.house.world.records();
        let last = &records.last().unwrap().entry;
        assert_eq!(last.summary["tool"], refused);
        assert_eq!(last.summary["policy_decision"], "deny");
    }
    // A caller without the scope is shown nothing, and has no files either.
    let other = ("[\"code:execute\"]", "[\"code:other\"]");
    let served = Served::new(house_with("thread", other)).await;
    let client = Client::begin(&served).await;
    assert!(client.tools().await.is_empty());
    for (tool, arguments) in [
        ("read_file", json!({"path": "x"})),
        ("write_file", json!({"path": "x", "content": "x"})),
        ("list_files", json!({})),
        ("python", json!({"code": "true"})),
    ] {
        let before = served.house.world.records().len();
        let refused = client.tool(tool, arguments).await;
        assert_eq!(
            refused["structuredContent"]["reason"], "missing_scope",
            "{refused}"
        );
        let records = served.house.world.records();
        assert_eq!(records.len(), before + 1, "{tool}");
        assert_eq!(records.last().unwrap().entry.kind, Kind::Denied);
    }
    assert_eq!(served.house.keeper.runs(), 0);
}

/// What a model gets wrong in arguments it is told, and nothing runs.
#[tokio::test]
async fn bad_arguments_are_told_to_the_model() {
    let served = Served::new(House::new("thread")).await;
    let client = Client::begin(&served).await;
    for (tool, arguments) in [
        ("python", json!({})),
        ("python", json!({"code": 7})),
        ("python", json!({"code": "true", "other": 1})),
        ("python", json!({"code": "true", "timeout_ms": -1})),
        (
            "python",
            json!({"code": "true", "session": "ses_0198c7e4000070008000000000000000"}),
        ),
        ("shell", json!({"code": "true", "fresh": true})),
        (
            "write_file",
            json!({"path": "x", "content": "%", "encoding": "base64"}),
        ),
        (
            "write_file",
            json!({"path": "x", "content": "x", "encoding": "utf-16"}),
        ),
        ("call_result", json!({"decision": "nothing"})),
        ("open_session", json!({})),
    ] {
        let result = client.tool(tool, arguments.clone()).await;
        assert_eq!(result["isError"], true, "{tool} {arguments}: {result}");
        assert_eq!(
            result["structuredContent"]["reason"], "invalid_call",
            "{tool} {arguments}"
        );
    }
    let unknown = json!({"decision": "dec_0198c7e4000070008000000000000000"});
    let result = client.tool("call_result", unknown).await;
    assert_eq!(result["structuredContent"]["reason"], "call_unknown");
    assert_eq!(served.house.keeper.runs(), 0);
}

/// Files of the conversation, as they are.
#[tokio::test]
async fn files_are_written_listed_and_read() {
    let served = Served::new(House::new("thread")).await;
    let (client, other) = (Client::begin(&served).await, Client::begin(&served).await);
    let write = |path: &str, content: &str, encoding: &str| json!({"path": path, "content": content, "encoding": encoding});
    let written = client
        .tool("write_file", write("a.txt", "hé\n", "utf-8"))
        .await;
    assert_eq!(written["structuredContent"]["bytes"], 4, "{written}");
    client
        .tool("write_file", write("b.bin", "AP8=", "base64"))
        .await;
    client
        .tool("write_file", write("c.png", "iVBORw0KGgo=", "base64"))
        .await;
    let read = client.tool("read_file", json!({"path": "a.txt"})).await;
    assert_eq!(
        (text(&read), &read["structuredContent"]["encoding"]),
        ("hé\n", &json!("utf-8"))
    );
    let read = client.tool("read_file", json!({"path": "b.bin"})).await;
    let data = &read["structuredContent"];
    assert_eq!(
        (&data["content"], &data["encoding"]),
        (&json!("AP8="), &json!("base64"))
    );
    let read = client.tool("read_file", json!({"path": "c.png"})).await;
    let image = &read["content"][1];
    assert_eq!(
        (&image["type"], &image["mimeType"], &image["data"]),
        (&json!("image"), &json!("image/png"), &json!("iVBORw0KGgo="))
    );
    let missing = client.tool("read_file", json!({"path": "none"})).await;
    assert_eq!(missing["structuredContent"]["reason"], "file_not_found");
    let out = client
        .tool("read_file", json!({"path": "../etc/passwd"}))
        .await;
    assert_eq!(out["structuredContent"]["reason"], "bad_path", "{out}");
    let others = other.tool("read_file", json!({"path": "a.txt"})).await;
    assert_eq!(others["structuredContent"]["reason"], "file_not_found");
    let large = "x".repeat(3 << 20);
    client
        .tool("write_file", write("large", &large, "utf-8"))
        .await;
    let large = client.tool("read_file", json!({"path": "large"})).await;
    assert_eq!(large["structuredContent"]["reason"], "file_too_large");
    let records = served.house.world.records();
    let of = |tool: &str| {
        records
            .iter()
            .filter(|record| record.entry.summary["tool"] == tool)
            .count()
    };
    // Each that was asked of the session; what is no path of it is not.
    assert_eq!(of("file.read"), 6);
    assert_eq!(of("file.write"), 2 * 4);
}

/// A client that goes away kills what it called; so does one that takes it back.
#[tokio::test]
async fn a_call_dies_with_whoever_wants_it() {
    let served = Served::new(House::new("thread")).await;
    let client = Client::begin(&served).await;
    let wait = |id| call(id, "python", json!({"code": "wait", "fresh": true}));
    let ended = || {
        let records = served.house.world.records();
        let outcomes = records
            .iter()
            .filter(|record| record.entry.kind == Kind::Outcome);
        outcomes
            .filter(|record| record.entry.summary["tool"] == "python")
            .count()
    };
    let vanishing = client.send(&wait(1), &[]).await;
    until(|| served.house.keeper.running() == 1).await;
    drop(vanishing);
    until(|| served.house.keeper.running() == 0).await;
    until(|| ended() == 1).await;
    let unwanted = client.send(&wait(2), &[]).await;
    until(|| served.house.keeper.running() == 1).await;
    let cancel = |id: Value| json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}});
    // Another id, the same in another form, and another conversation's are not it.
    let other = Client::begin(&served).await;
    assert_eq!(client.send(&cancel(json!(3)), &[]).await.status(), 202);
    assert_eq!(client.send(&cancel(json!("2")), &[]).await.status(), 202);
    assert_eq!(other.send(&cancel(json!(2)), &[]).await.status(), 202);
    // It ends by itself: whatever had taken it back would be its answer.
    served.house.keeper.release(1);
    let (_, answer) = messages(unwanted).await;
    let last = &answer.last().unwrap()["result"];
    assert_eq!(last["structuredContent"]["status"], "succeeded", "{last}");
    let unwanted = client.send(&wait(2), &[]).await;
    until(|| served.house.keeper.running() == 1).await;
    assert_eq!(client.send(&cancel(json!(2)), &[]).await.status(), 202);
    until(|| served.house.keeper.running() == 0).await;
    let (_, answer) = messages(unwanted).await;
    let last = &answer.last().unwrap()["result"];
    assert_eq!(last["structuredContent"]["status"], "cancelled", "{last}");
    until(|| ended() == 3).await;
}

/// A call that waits in line when its conversation ends is gone before that is answered, and opens no session afterwards.
#[tokio::test]
async fn what_waits_in_line_ends_with_its_conversation() {
    let served = Served::new(House::with("thread", "\n[quotas.agent]\ncalls = 1\n")).await;
    let (client, other) = (Client::begin(&served).await, Client::begin(&served).await);
    let wait = call(1, "python", json!({"code": "wait", "fresh": true}));
    let runs = other.send(&wait, &[]).await;
    until(|| served.house.keeper.running() == 1).await;
    let opened = served.house.keeper.opened();
    let waits = client.send(&wait, &[]).await;
    let load = async || served.get("/v1/load").await.json();
    while load().await["waiting"] != 1 {
        tokio::task::yield_now().await;
    }
    let mut end = client.request(Vec::new(), &[]);
    *end.method_mut() = hyper::Method::DELETE;
    assert_eq!(served.send(end).await.status(), 204);
    assert_eq!(load().await["waiting"], 0);
    let (_, answer) = messages(waits).await;
    let last = &answer.last().unwrap()["result"];
    assert_eq!(last["structuredContent"]["status"], "cancelled", "{last}");
    served.house.keeper.release(1);
    messages(runs).await;
    assert_eq!(served.house.keeper.opened(), opened);
    assert_eq!(served.house.keeper.alive().len(), 1);
}

/// A client that hangs up before its end is answered has ended its conversation all the same.
#[tokio::test]
async fn a_conversation_ends_though_its_client_hangs_up() {
    let served = Served::new(House::new("thread")).await;
    for id in 1..=8 {
        let client = Client::begin(&served).await;
        let wait = call(id, "python", json!({"code": "wait", "fresh": true}));
        let running = client.send(&wait, &[]).await;
        until(|| served.house.keeper.running() == 1).await;
        let mut end = client.request(Vec::new(), &[]);
        *end.method_mut() = hyper::Method::DELETE;
        let gone = async {
            let list = json!({"jsonrpc": "2.0", "id": 0, "method": "tools/list"});
            while client.send(&list, &[]).await.status() != 404 {}
        };
        // Whichever is first, nobody waits for the answer.
        tokio::select! {
            () = gone => {}
            _ = served.send(end) => {}
            () = until(|| served.house.keeper.running() == 0) => {}
        }
        drop(running);
        until(|| served.house.keeper.alive().is_empty()).await;
    }
}

/// A client whose address names a thread takes its calls back as any other; its end is not that of the thread.
#[tokio::test]
async fn a_call_in_a_named_thread_is_taken_back() {
    let served = Served::new(House::new("thread")).await;
    let client = Client::at(&served, "/mcp?thread=mine").await;
    let wait = call(1, "python", json!({"code": "wait", "fresh": true}));
    let unwanted = client.send(&wait, &[]).await;
    until(|| served.house.keeper.running() == 1).await;
    let cancel =
        json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}});
    assert_eq!(client.send(&cancel, &[]).await.status(), 202);
    until(|| served.house.keeper.running() == 0).await;
    let (_, answer) = messages(unwanted).await;
    let last = &answer.last().unwrap()["result"];
    assert_eq!(last["structuredContent"]["status"], "cancelled", "{last}");
    let mut end = client.request(Vec::new(), &[]);
    *end.method_mut() = hyper::Method::DELETE;
    assert_eq!(served.send(end).await.status(), 204);
    assert_eq!(served.house.keeper.alive().len(), 1);
}

/// Whoever asked for progress is told that a long call goes on.
#[tokio::test]
async fn progress_is_told_to_whoever_asks_for_it() {
    let served = Served::new(House::new("thread")).await;
    let client = Client::begin(&served).await;
    let mut message = call(1, "python", json!({"code": "wait", "fresh": true}));
    message["params"]["_meta"] = json!({"progressToken": "p"});
    let (answer, ()) = tokio::join!(client.ask(&message), async {
        until(|| served.house.keeper.running() == 1).await;
        tokio::time::sleep(std::time::Duration::from_millis(5_000)).await;
        served.house.keeper.release(1);
    });
    let (last, told) = answer.split_last().unwrap();
    assert!(!told.is_empty());
    let mut before = 0.0;
    for one in told {
        assert_eq!(one["method"], "notifications/progress");
        assert_eq!(one["params"]["progressToken"], "p");
        let progress = one["params"]["progress"].as_f64().unwrap();
        assert!(progress > before);
        before = progress;
    }
    assert_eq!(last["result"]["isError"], false, "{last}");
}

/// Somebody approves a call.
async fn approve(served: &Served, decision: &str) {
    served.house.approvers.0.lock().unwrap().push(Approver {
        user: "ann".to_owned(),
        roles: BTreeSet::new(),
        key: "ann".to_owned(),
    });
    let case = served
        .get(&format!("/v1/approvals/{decision}"))
        .await
        .json();
    let statement = Statement {
        members: vec![Member {
            decision: decision.parse().unwrap(),
            action: case["action"].as_str().unwrap().parse().unwrap(),
        }],
        vote: Vote::Approve,
        reason: String::new(),
        at_ms: *served.house.world.clock.0.lock().unwrap(),
        grant_ms: None,
        break_glass: false,
    };
    let note = format!("ann\n{}", statement.text().unwrap());
    let answered = served
        .post(
            &format!("/v1/approvals/{decision}/answer"),
            &json!({"note": note}),
        )
        .await;
    assert_eq!(answered.status, 200, "{}", answered.json());
}

/// Approval is not used up by a session that ended while a call waited: the call runs, in another one, and once.
#[tokio::test]
async fn what_waited_runs_when_its_session_has_ended() {
    let change = ("approval_required = []", "approval_required = [\"python\"]");
    let served = Served::new(house_with("thread", change)).await;
    let client = Client::begin(&served).await;
    let held = client.tool("python", json!({"code": "true"})).await;
    let decision = held["structuredContent"]["decision"].as_str().unwrap();
    let session = served.house.keeper.alive()[0];
    served.house.keeper.end(session, Gone::Idle);
    approve(&served, decision).await;
    let asked = json!({"decision": decision, "wait_ms": 60_000});
    let done = client.tool("call_result", asked).await;
    let data = &done["structuredContent"];
    assert_eq!(data["status"], "succeeded", "{done}");
    assert_ne!(data["session"], session.to_string());
    let steps = served.house.keeper.steps();
    let place = |step: &&Step| matches!(step, Step::Place(at, Some(_)) if *at != session);
    // Its cell has an interpreter there as well.
    assert_eq!(steps.iter().filter(place).count(), 1, "{steps:?}");
    assert_eq!(served.house.keeper.runs(), 1);
}

/// Of a long output only the end is kept for whoever asks later, and it does not look whole.
#[tokio::test]
async fn what_is_left_of_an_output_is_not_told_as_all_of_it() {
    let change = ("approval_required = []", "approval_required = [\"python\"]");
    for (bytes, missed) in [(5, false), (MAX_KEPT_OUTPUT_BYTES + 1, true)] {
        let served = Served::new(house_with("thread", change)).await;
        let client = Client::begin(&served).await;
        let write = json!({"code": format!("write {bytes}")});
        let held = client.tool("python", write).await;
        let decision = held["structuredContent"]["decision"].as_str().unwrap();
        approve(&served, decision).await;
        let asked = json!({"decision": decision, "wait_ms": 60_000});
        let done = client.tool("call_result", asked).await;
        let data = &done["structuredContent"];
        assert_eq!(data["status"], "succeeded", "{done}");
        assert_eq!(data["truncated"], missed);
        assert_eq!(data["stdout"].as_str().unwrap().len() < bytes, missed);
    }
}

/// Whoever goes away while its interpreter starts leaves none behind that nobody has: the next call finds it.
#[tokio::test]
async fn an_interpreter_is_its_threads_whoever_waits_for_it() {
    let served = Served::new(House::new("thread")).await;
    let client = Client::begin(&served).await;
    served.house.keeper.start_slowly();
    let started = || {
        let steps = served.house.keeper.steps();
        let starts = |step: &&Step| matches!(step, Step::OpenContext(..));
        steps.iter().filter(starts).count()
    };
    let python = json!({"code": "true"});
    let message = call(1, "python", python.clone());
    let vanishing = client.send(&message, &[]);
    tokio::select! {
        answer = vanishing => drop(answer),
        () = until(|| started() == 1) => {}
    }
    let (next, ()) = tokio::join!(client.tool("python", python), async {
        served.house.keeper.release(8);
    });
    assert_eq!(next["structuredContent"]["status"], "succeeded", "{next}");
    assert_eq!(started(), 1);
}

/// A conversation that is over leaves no session, whatever became of its calls.
#[tokio::test]
async fn an_ended_conversation_leaves_no_session() {
    let change = ("approval_required = []", "approval_required = [\"shell\"]");
    let served = Served::new(house_with("thread", change)).await;
    let kept = Client::begin(&served).await;
    kept.tool("list_files", json!({})).await;
    let client = Client::begin(&served).await;
    let end = async |client: &Client<'_>| {
        let mut request = client.request(Vec::new(), &[]);
        *request.method_mut() = hyper::Method::DELETE;
        assert_eq!(served.send(request).await.status(), 204);
    };
    let held = client.tool("shell", json!({"code": "true"})).await;
    assert_eq!(held["structuredContent"]["status"], "waiting_for_approval");
    assert_eq!(served.house.keeper.alive().len(), 2);
    end(&client).await;
    assert_eq!(served.house.keeper.alive().len(), 1);
    let client = Client::begin(&served).await;
    let wait = json!({"code": "wait", "fresh": true});
    let running = client.send(&call(1, "python", wait), &[]).await;
    until(|| served.house.keeper.running() == 1).await;
    end(&client).await;
    drop(running);
    assert_eq!(served.house.keeper.alive().len(), 1);
    end(&kept).await;
    assert!(served.house.keeper.alive().is_empty());
}

/// A call that waits for a person is answered at once, approved by nobody but an approver, and asked after by its name.
#[tokio::test]
async fn a_call_that_waits_is_answered_at_once() {
    let served = Served::new(house_with(
        "thread",
        ("approval_required = []", "approval_required = [\"shell\"]"),
    ))
    .await;
    let client = Client::begin(&served).await;
    let result = client.tool("shell", json!({"code": "true"})).await;
    assert_eq!(result["isError"], false, "{result}");
    let data = &result["structuredContent"];
    assert_eq!(data["status"], "waiting_for_approval");
    let decision = data["decision"].as_str().unwrap();
    assert!(text(&result).contains("call_result") && text(&result).contains(decision));
    let after = client
        .tool("call_result", json!({"decision": decision, "wait_ms": 1}))
        .await;
    assert_eq!(after["structuredContent"]["status"], "waiting_for_approval");
    assert_eq!(served.house.keeper.runs(), 0);
    let other = Client::at(&served, "/mcp?agent=other").await;
    let others = other
        .tool("call_result", json!({"decision": decision}))
        .await;
    assert_eq!(others["structuredContent"]["reason"], "call_unknown");
    approve(&served, decision).await;
    let done = client
        .tool(
            "call_result",
            json!({"decision": decision, "wait_ms": 60_000}),
        )
        .await;
    assert_eq!(done["structuredContent"]["status"], "succeeded", "{done}");
    assert_eq!(served.house.keeper.runs(), 1);
}

/// Without a conversation of the protocol, a session is named in each call; whoever names none keeps nothing.
#[tokio::test]
async fn a_client_without_a_conversation_names_a_session() {
    let served = Served::new(House::new("thread")).await;
    let client = Client {
        served: &served,
        path: "/mcp",
        conversation: None,
    };
    assert!(
        client
            .tools()
            .await
            .iter()
            .any(|tool| tool == "open_session")
    );
    let one = client.tool("shell", json!({"code": "true"})).await;
    let two = client.tool("shell", json!({"code": "true"})).await;
    assert_ne!(
        one["structuredContent"]["session"],
        two["structuredContent"]["session"]
    );
    let none = client
        .tool("write_file", json!({"path": "x", "content": "x"}))
        .await;
    assert_eq!(
        none["structuredContent"]["reason"], "invalid_call",
        "{none}"
    );
    let opened = client.tool("open_session", json!({})).await;
    let session = opened["structuredContent"]["session"].as_str().unwrap();
    let written = client
        .tool(
            "write_file",
            json!({"path": "x", "content": "x", "session": session}),
        )
        .await;
    assert_eq!(
        written["structuredContent"]["status"], "succeeded",
        "{written}"
    );
    let ran = client
        .tool("python", json!({"code": "true", "session": session}))
        .await;
    assert_eq!(ran["structuredContent"]["session"], session, "{ran}");
    let never = json!({"path": "x", "session": "ses_0198c7e4000070008000000000000000"});
    let unknown = client.tool("read_file", never).await;
    assert_eq!(unknown["structuredContent"]["reason"], "session_unknown");
    // A thread can be named in the address.
    let threaded = Client::at(&served, "/mcp?thread=mine").await;
    let ran = threaded.tool("shell", json!({"code": "true"})).await;
    let session = ran["structuredContent"]["session"].as_str().unwrap();
    let shown = served.get(&format!("/v1/sessions/{session}")).await.json();
    assert_eq!(shown["thread"], "mine");
}

/// In the mode `call` nothing lasts, and nothing is offered that would.
#[tokio::test]
async fn where_nothing_lasts_there_are_no_files() {
    let served = Served::new(House::new("call")).await;
    let client = Client::begin(&served).await;
    assert_eq!(client.tools().await, ["python", "shell", "call_result"]);
    let ran = client.tool("python", json!({"code": "true"})).await;
    assert_eq!(ran["structuredContent"]["status"], "succeeded", "{ran}");
    let written = client
        .tool("write_file", json!({"path": "x", "content": "x"}))
        .await;
    assert_eq!(written["isError"], true);
    until(|| served.house.keeper.alive().is_empty()).await;
}
