//! What an actor can do: use, misuse, break off.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::{
    io::AsyncWriteExt as _,
    net::UnixStream,
    time::{sleep, timeout},
};

use super::{
    actor::{Actor, Came},
    terminal,
    world::Known,
};

/// How often a call that runs by itself is looked at, and how many times.
const LOOK: Duration = Duration::from_millis(100);
const LOOKS: usize = 300;

/// Does something.
pub(super) async fn any(actor: &mut Actor) {
    match actor.random.u32(0..24) {
        0..=2 => cell(actor).await,
        3 => data(actor).await,
        4 | 5 => variables(actor).await,
        6 => call_mode(actor).await,
        7 | 8 => program(actor).await,
        9 => by_itself(actor).await,
        10 => cancelled(actor).await,
        11 => disconnected(actor).await,
        12 | 13 => files(actor).await,
        14 => cut_off(actor).await,
        15 => bad_requests(actor).await,
        16 => quotas(actor).await,
        17 => crowd(actor).await,
        18 => strangers(actor).await,
        19 => contexts(actor).await,
        20 => terminal::terminal(actor).await,
        21 => late(actor).await,
        22 => crashes(actor).await,
        _ => destroyed(actor).await,
    }
}

/// A cell sees the file that its thread's last one left, and no other thread's.
async fn cell(actor: &mut Actor) {
    let (thread, word) = (actor.thread("thread"), actor.word());
    let code = format!(
        "import os\nf = '/workspace/mine'\nprint(open(f).read() if os.path.exists(f) else 'new')\n\
         open(f, 'w').write('{thread}')\nprint('{word}')"
    );
    let call = json!({ "route": "thread", "thread": thread, "tool": "python", "code": code });
    let Some(told) = actor.call("cell", call, &[]).await else {
        return;
    };
    let before = if told.is("new_session") {
        "new".to_owned()
    } else {
        thread
    };
    let own = told.did(0, &format!("{before}\n{word}\n"));
    // The call that would have left the file may not have come so far.
    let none = told.did(0, &format!("new\n{word}\n"));
    actor.expect(&told, own || none, "what the thread left");
}

/// The packages of the image work.
async fn data(actor: &mut Actor) {
    let thread = actor.thread("data");
    let code = "import numpy, pandas\nprint(int(pandas.Series(numpy.arange(10)).sum()))\nnumpy.random.randint(0, 2**30)";
    let call = json!({ "route": "data", "thread": thread, "tool": "python", "code": code });
    if let Some(told) = actor.call("data", call, &[]).await {
        actor.expect(&told, told.did(0, "45\n"), "45");
    }
}

/// Variables stay in a thread's context; its counter never runs backwards nor skips.
async fn variables(actor: &mut Actor) {
    let thread = actor.thread("context");
    let code = "x = globals().get('x', 0) + 1\nx";
    for _ in 0..2 {
        let call = json!({ "route": "context", "thread": thread, "tool": "python", "code": code });
        let Some(told) = actor.call("variables", call, &["context_unknown"]).await else {
            return;
        };
        let result = told.answer.pointer("/results/0/data/text~1plain");
        let result = result.or_else(|| told.answer.pointer("/results/0/text~1plain"));
        let count = result
            .and_then(Value::as_str)
            .and_then(|text| text.parse::<u64>().ok());
        let fresh = told.is("new_session") || told.is("new_context");
        let holds = if fresh {
            count == Some(1)
        } else {
            count.is_some()
        };
        actor.expect(&told, holds, "the next number");
    }
}

/// Each call a fresh sandbox.
async fn call_mode(actor: &mut Actor) {
    let word = actor.word();
    let code = format!(
        "import os; print(os.path.exists('/workspace/x')); open('/workspace/x', 'w'); print('{word}')"
    );
    let call = json!({ "route": "call", "tool": "python", "code": code });
    if let Some(told) = actor.call("call mode", call, &[]).await {
        actor.expect(&told, told.did(0, &format!("False\n{word}\n")), "fresh");
    }
}

/// A program with arguments, standard input and an exit code, on a route whose sessions are short-lived or not.
async fn program(actor: &mut Actor) {
    let word = actor.word();
    let route = if actor.random.bool() {
        "thread"
    } else {
        "short"
    };
    let (thread, exit) = (actor.thread(route), actor.random.u64(0..100));
    let script = format!("cat; echo $1; exit {exit}");
    let call = json!({
        "route": route, "thread": thread, "tool": "bash", "code": script, "args": [word], "stdin": "in\n",
    });
    // A session that was idle for too long is told to be gone.
    if let Some(told) = actor.call("program", call, &["session_gone"]).await {
        actor.expect(
            &told,
            told.did(exit, &format!("in\n{word}\n")),
            "what it should print",
        );
    }
}

/// Begins a call and does not wait for it; returns its path.
async fn begin(actor: &mut Actor, deed: &'static str, script: &str) -> Option<String> {
    let thread = actor.thread("thread");
    let call = json!({
        "agent": actor.agent(), "route": "thread", "thread": thread, "tool": "shell",
        "argv": ["sh", "-c", script], "wait": false,
    });
    match actor
        .ask(deed, ("POST", "/v1/calls"), call.to_string(), &[])
        .await
    {
        Came::Good(told) => {
            let decision = told.get("decision").and_then(Value::as_str)?;
            Some(format!("/v1/calls/{decision}"))
        }
        _ => None,
    }
}

/// Waits for the end of a call that runs by itself.
async fn end(actor: &mut Actor, deed: &'static str, call: &str) -> Option<Value> {
    for _ in 0..LOOKS {
        // After a restart of the gateway nobody knows it.
        match actor.ask(deed, ("GET", call), "", &["call_unknown"]).await {
            Came::Good(told) if told.get("state") == Some(&json!("ended")) => return Some(told),
            Came::Good(_) => sleep(LOOK).await,
            Came::Problem | Came::Nothing => return None,
        }
    }
    actor.fault(format!("{deed}: {call} does not end"));
    None
}

async fn by_itself(actor: &mut Actor) {
    let (word, began) = (actor.word(), Instant::now());
    let script = format!("sleep 0.2; echo {word}");
    let Some(call) = begin(actor, "by itself", &script).await else {
        return;
    };
    if let Some(told) = end(actor, "by itself", &call).await {
        let printed = told.pointer("/answer/stdout").and_then(Value::as_str);
        let whole = printed.is_some_and(|printed| printed.trim() == word);
        let how = ["/answer/cause", "/problem/code"]
            .iter()
            .find_map(|pointer| told.pointer(pointer)?.as_str());
        actor.world.count(
            "by itself",
            if whole {
                "whole"
            } else {
                how.unwrap_or("nothing")
            },
        );
        // A thread whose session was taken is told so at its next call, however late that is.
        let gone = how == Some("session_gone") && actor.world.took_sessions();
        if !whole && !gone && actor.world.deaths(began).is_empty() {
            actor.fault(format!("by itself: not whole: {told}"));
        }
    }
}

async fn cancelled(actor: &mut Actor) {
    let Some(call) = begin(actor, "cancelled", "sleep 60").await else {
        return;
    };
    sleep(Duration::from_millis(actor.random.u64(0..300))).await;
    let path = format!("{call}/cancel");
    let asked = actor
        .ask("cancelled", ("POST", &path), "", &["call_unknown"])
        .await;
    if matches!(asked, Came::Good(_)) && end(actor, "cancelled", &call).await.is_some() {
        actor.world.count("cancelled", "ended");
    }
}

/// A client that goes away in the middle of its call.
async fn disconnected(actor: &mut Actor) {
    let thread = actor.thread("thread");
    let call = json!({
        "agent": actor.agent(), "route": "thread", "thread": thread, "tool": "shell",
        "argv": ["sh", "-c", "echo begun; sleep 60"],
    });
    let mut client = crate::served::Client::new(actor.world.socket());
    let patience = Duration::from_millis(actor.random.u64(1..400));
    let answer = timeout(patience, client.post("/v1/calls", &call)).await;
    actor.world.count(
        "disconnected",
        if answer.is_err() { "away" } else { "answered" },
    );
}

/// A session of this actor's, opened or found.
async fn session(actor: &mut Actor, deed: &'static str, route: &str) -> Option<String> {
    let thread = actor.thread(route);
    let body = json!({ "agent": actor.agent(), "route": route, "thread": thread }).to_string();
    match actor
        .ask(deed, ("POST", "/v1/sessions"), body, &["session_gone"])
        .await
    {
        Came::Good(opened) => {
            let session = opened.get("session").and_then(Value::as_str)?.to_owned();
            let known = Known {
                agent: actor.agent(),
                session: session.clone(),
                route: route.to_owned(),
            };
            let chance = actor.random.usize(..);
            actor.world.know(known, chance);
            Some(session)
        }
        _ => None,
    }
}

fn file_path(actor: &Actor, session: &str, name: &str) -> String {
    format!(
        "/v1/sessions/{session}/files/{name}?agent={}",
        actor.agent()
    )
}

/// What is written is read, listed and removed.
async fn files(actor: &mut Actor) {
    let Some(session) = session(actor, "files", "thread").await else {
        return;
    };
    let word = actor.word();
    let path = file_path(actor, &session, &format!("d/{word}"));
    let content = word.repeat(actor.random.usize(1..20_000));
    let put = actor
        .ask("files", ("PUT", &path), content.clone(), &[])
        .await;
    let Came::Good(put) = put else { return };
    if put.get("bytes").and_then(Value::as_u64) != Some(content.len() as u64) {
        actor.fault(format!("files: {path} has another size: {put}"));
    }
    let code = format!(
        "print(open('/workspace/d/{word}').read() == '{word}' * {})",
        content.len() / word.len()
    );
    let call = json!({ "session": session, "route": "thread", "tool": "python", "code": code });
    if let Some(told) = actor.call("files", call, &[]).await {
        actor.expect(&told, told.did(0, "True\n"), "what was written");
    }
    actor.ask("files", ("GET", &path), "", &[]).await;
    let listing = format!(
        "/v1/sessions/{session}/files?path=d&agent={}",
        actor.agent()
    );
    actor.ask("files", ("GET", &listing), "", &[]).await;
    if let Came::Good(_) = actor.ask("files", ("DELETE", &path), "", &[]).await {
        let again = actor
            .ask("files", ("GET", &path), "", &["file_not_found"])
            .await;
        if matches!(again, Came::Good(_)) {
            actor.fault(format!("files: {path} is there after it was removed"));
        }
    }
}

/// An upload that is cut off leaves nothing.
async fn cut_off(actor: &mut Actor) {
    let Some(session) = session(actor, "cut off", "thread").await else {
        return;
    };
    let path = file_path(actor, &session, &actor.word());
    if send_half(actor.world.socket(), &path).await.is_err() {
        return;
    }
    sleep(Duration::from_millis(actor.random.u64(0..50))).await;
    let found = actor
        .ask("cut off", ("GET", &path), "", &["file_not_found"])
        .await;
    if matches!(found, Came::Good(_)) {
        actor.fault(format!("cut off: {path} is there"));
    }
}

async fn send_half(socket: &Path, path: &str) -> std::io::Result<()> {
    let mut stream = UnixStream::connect(socket).await?;
    let head = format!("PUT {path} HTTP/1.1\r\nhost: casemate\r\ncontent-length: 200000\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(&[b'x'; 100_000]).await?;
    stream.flush().await
}

/// What no client should send.
async fn bad_requests(actor: &mut Actor) {
    let Some(session) = session(actor, "bad request", "thread").await else {
        return;
    };
    let paths = [
        "..%2F..%2Fetc%2Fpasswd",
        "a%00b",
        "%2Fetc%2Fpasswd",
        "a/../../b",
    ];
    let name = actor.random.choice(paths).unwrap_or_default();
    let path = file_path(actor, &session, name);
    for method in ["GET", "PUT", "DELETE"] {
        let expected = ["bad_path", "invalid_call", "no_such_path"];
        if let Came::Good(_) = actor
            .ask("bad request", (method, &path), "", &expected)
            .await
        {
            actor.fault(format!("bad request: {method} {path} is done"));
        }
    }
    let word = actor.word();
    for body in [
        "{".to_owned(),
        json!({ "tool": "python" }).to_string(),
        json!({ "tool": "cobol", "code": "" }).to_string(),
        json!({ "tool": "python", "code": "1", "route": "nowhere" }).to_string(),
        json!({ "tool": "python", "code": "1", "route": "thread", "timeout_ms": 1u64 << 60 })
            .to_string(),
        json!({ "tool": "shell", "argv": [word], "route": "thread", "agent": "../x" }).to_string(),
    ] {
        let expected = [
            "invalid_call",
            "invalid_profile",
            "limit_exceeded",
            "missing_scope",
        ];
        let came = actor
            .ask(
                "bad request",
                ("POST", "/v1/calls"),
                body.clone(),
                &expected,
            )
            .await;
        if matches!(came, Came::Good(_)) {
            actor.fault(format!("bad request: {body} is done"));
        }
    }
    actor
        .ask("bad request", ("GET", "/v1/nothing"), "", &["no_such_path"])
        .await;
    actor
        .ask(
            "bad request",
            ("GET", "/v1/calls/dec_x"),
            "",
            &["invalid_call"],
        )
        .await;
}

/// Programs and uploads that want too much.
async fn quotas(actor: &mut Actor) {
    let thread = actor.thread("small");
    let script = match actor.random.u32(0..4) {
        0 => "head -c 3000000 /dev/zero",
        1 => "dd if=/dev/zero of=/workspace/big bs=1M count=8 2>&1 | tail -1; rm -f /workspace/big",
        2 => "for i in $(seq 60); do sleep 0.2 & done; wait",
        _ => "python3 -c 'x = bytearray(1 << 29); print(len(x))'",
    };
    let call = json!({
        "route": "small", "thread": thread, "tool": "bash", "code": script, "timeout_ms": 20_000,
    });
    let expected = ["quota_exceeded"];
    let told = actor.call("quotas", call, &expected).await;
    if let Some(told) = told {
        let written = told.text("stdout").len();
        actor.expect(&told, written <= 1 << 20, "within its output");
        if script.starts_with("python3") {
            actor.expect(&told, !told.did(0, "536870912\n"), "within its memory");
        }
    }
    if let Some(session) = session(actor, "quotas", "small").await {
        let path = file_path(actor, &session, "large");
        let expected = ["file_too_large", "no_space", "quota_exceeded"];
        let put = actor
            .ask("quotas", ("PUT", &path), vec![b'x'; 2 << 20], &expected)
            .await;
        if matches!(put, Came::Good(_)) {
            actor.fault(format!("quotas: {path} is larger than it may be"));
        }
    }
}

/// More calls at once than a session runs and queues: some are told so.
async fn crowd(actor: &mut Actor) {
    let thread = actor.thread("small");
    let mut actors: Vec<_> = (0..6)
        .map(|_| Actor::new(actor.number, actor.random.fork(), actor.world.clone()))
        .collect();
    let calls = actors.iter_mut().map(|actor| {
        let call = json!({
            "route": "small", "thread": thread, "tool": "shell", "argv": ["sleep", "0.1"],
        });
        actor.call("crowd", call, &["quota_exceeded", "session_gone"])
    });
    futures_util::future::join_all(calls).await;
}

/// Sessions of others, dead ones, and ones that never were.
async fn strangers(actor: &mut Actor) {
    let chance = actor.random.usize(..);
    let Some(known) = actor.world.any_session(chance) else {
        return;
    };
    let session = &known.session;
    // Nobody's.
    let unknown = ["session_unknown"];
    for path in [
        format!("/v1/sessions/{session}?agent=nobody"),
        format!("/v1/sessions/{session}/files?agent=nobody"),
        "/v1/sessions/ses_00000000000000000000000000000000".to_owned(),
    ] {
        if matches!(
            actor.ask("strangers", ("GET", &path), "", &unknown).await,
            Came::Good(_)
        ) {
            actor.fault(format!("strangers: {path} is shown"));
        }
    }
    let call = json!({ "agent": "nobody", "route": "thread", "session": session, "tool": "shell", "argv": ["id"] });
    if actor.call("strangers", call, &unknown).await.is_some() {
        actor.fault(format!("strangers: a call in {session} of {}", known.agent));
    }
    // Its owner's, alive or dead.
    let call = json!({ "agent": known.agent, "route": known.route, "session": session, "tool": "shell", "argv": ["true"] });
    actor
        .call("known session", call, &["session_gone", "quota_exceeded"])
        .await;
}

/// Contexts: opened, used, misused, closed.
async fn contexts(actor: &mut Actor) {
    let Some(session) = session(actor, "contexts", "thread").await else {
        return;
    };
    let path = format!("/v1/sessions/{session}/contexts?agent={}", actor.agent());
    let opened = actor
        .ask("contexts", ("POST", &path), "", &["quota_exceeded"])
        .await;
    let Came::Good(opened) = opened else { return };
    let context = opened
        .get("context")
        .and_then(Value::as_str)
        .unwrap_or_default();
    for (code, printed) in [("y = 41", ""), ("print(y + 1)", "42\n")] {
        let call = json!({ "route": "thread", "context": context, "tool": "python", "code": code });
        if let Some(told) = actor.call("contexts", call, &[]).await {
            actor.expect(&told, told.did(0, printed), "what the context knows");
        }
    }
    let call = json!({ "route": "thread", "context": context, "tool": "bash", "code": "true" });
    if actor
        .call("contexts", call, &["context_mismatch"])
        .await
        .is_some()
    {
        actor.fault(format!("contexts: {context} runs bash"));
    }
    let path = format!("/v1/contexts/{context}?agent={}", actor.agent());
    if let Came::Good(_) = actor.ask("contexts", ("DELETE", &path), "", &[]).await {
        let call = json!({ "route": "thread", "context": context, "tool": "python", "code": "1" });
        if actor
            .call("contexts", call, &["context_unknown"])
            .await
            .is_some()
        {
            actor.fault(format!("contexts: {context} runs after it was closed"));
        }
    }
}

/// Calls that take too long.
async fn late(actor: &mut Actor) {
    let thread = actor.thread("thread");
    let code = "import time\ntime.sleep(30)";
    let call = json!({
        "route": "thread", "thread": thread, "tool": "python", "code": code, "timeout_ms": 150,
    });
    if let Some(told) = actor.call("late", call, &LOOPS).await {
        actor.expect(&told, told.text("cause") == "timed_out", "timed out");
    }
}

/// Whoever does nothing else in a thread but what fails is stopped.
const LOOPS: [&str; 1] = ["loop_detected"];

/// Calls that die.
async fn crashes(actor: &mut Actor) {
    let thread = actor.thread("thread");
    let code = match actor.random.u32(0..4) {
        0 => "import os; os.kill(os.getpid(), 9)",
        1 => "import os; os._exit(3)",
        2 => "import ctypes; ctypes.string_at(0)",
        _ => "import os\nif os.fork() == 0:\n    import time; time.sleep(60)",
    };
    let call = json!({ "route": "thread", "thread": thread, "tool": "python", "code": code });
    if let Some(told) = actor.call("crashes", call, &LOOPS).await {
        actor.expect(&told, told.text("cause") == "completed", "ended by itself");
        // Its session is as before.
        let call = json!({ "route": "thread", "session": told.text("session"), "tool": "shell", "argv": ["true"] });
        if let Some(told) = actor.call("after a crash", call, &["session_gone"]).await {
            actor.expect(&told, told.did(0, ""), "well");
        }
    }
}

/// A session that is destroyed is gone.
async fn destroyed(actor: &mut Actor) {
    let routes = ["thread", "data", "context", "small", "short"];
    let route = actor.random.choice(routes).unwrap_or_default();
    let Some(session) = session(actor, "destroyed", route).await else {
        return;
    };
    let path = format!("/v1/sessions/{session}?agent={}", actor.agent());
    actor.world.destroys(session.to_string());
    // Another actor of the same agent may have been faster, or it was idle for too long.
    let gone = ["session_gone"];
    if let Came::Good(_) = actor.ask("destroyed", ("DELETE", &path), "", &gone).await {
        let files = format!("/v1/sessions/{session}/files?agent={}", actor.agent());
        if matches!(
            actor.ask("destroyed", ("GET", &files), "", &gone).await,
            Came::Good(_)
        ) {
            actor.fault(format!("destroyed: {session} has files"));
        }
        actor.world.count("destroyed", "gone");
    }
}
