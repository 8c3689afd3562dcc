//! Calls: to make one, to look after it, to end it.

use std::sync::Arc;

use axum::{
    Json,
    extract::{State, rejection::JsonRejection},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use casemate_gateway::{Answer, Output, Phase, Pieces, RunningCall, Told};
use casemate_model::{DecisionId, Stream};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use crate::{
    extract::{Asked, Named},
    problem::Problem,
    request::CallRequest,
    routes::{Keeps, Remembers},
    sse::{attached, collect, observed},
    state::{Api, Begun},
    who::Who,
};

/// Where the steps of a call are told, if they are measured.
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// `POST /v1/calls`
pub(crate) async fn create<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    who: Who,
    headers: HeaderMap,
    request: Result<Json<CallRequest>, JsonRejection>,
) -> Result<Response, Problem> {
    let Json(request) = request?;
    let (wait, attach) = (request.wait, request.attach);
    if wait && attach {
        let why =
            "nobody can attach to a call before its name is told: `attach` is for `wait: false`";
        return Err(Problem::invalid(why));
    }
    let mut begun = start(&api, &who, request)?;
    if attach {
        begun.call.keep_stdin(begun.stdin.clone());
    }
    if !wait {
        return Ok(detached(begun));
    }
    if wants_events(&headers) {
        return Ok(attached(begun).await);
    }
    drop(begun.stdin);
    // If the caller goes away this is dropped, and the call with it.
    let output = collect(&mut begun.events, &begun.call.progress).await;
    let told = begun.call.ended().await;
    let mut response = answer(&told, output)?;
    begun.call.progress.done("answer");
    let timings = begun.call.progress.timings();
    if let Some(timings) = timings.and_then(|timings| HeaderValue::from_str(&timings).ok()) {
        response.headers_mut().insert(SERVER_TIMING, timings);
    }
    Ok(response)
}

/// Begins a call that somebody asks for.
pub(crate) fn start<K: Keeps, P: Remembers>(
    api: &Arc<Api<K, P>>,
    who: &Who,
    request: CallRequest,
) -> Result<Begun, Problem> {
    let owner = who.owner(request.agent().to_owned());
    let within = request.within();
    let policy = api
        .sessions
        .policy_for(&owner, request.route(), Some(&within));
    let stdin = request.stdin.clone();
    let request = request.into_request(policy.as_deref())?;
    let begun = api.begin(
        who,
        request.ask,
        request.inputs,
        request.route,
        request.demand,
    )?;
    if let Some(stdin) = stdin {
        let sender = begun.stdin.clone();
        tokio::spawn(async move {
            // A program that ends does not have to read all of it.
            drop(sender.send(stdin.as_bytes().to_vec()).await);
        });
    }
    Ok(begun)
}

/// How it ended to wait for a call.
pub(crate) enum Attended {
    Ended(Arc<Told>, Output),
    /// It waits for a person, and goes on by itself.
    Held,
    /// Whoever asked wants it no more: it is cancelled.
    Unwanted,
}

/// Waits for a call until it is `unwanted`. Whoever drops this goes away, and the call with them, unless it waits for a person.
pub(crate) async fn attend(begun: Begun, unwanted: impl Future<Output = ()>) -> Attended {
    let Begun {
        call,
        stdin,
        control: _control,
        mut events,
    } = begun;
    drop(stdin);
    let output = tokio::select! {
        output = collect(&mut events, &call.progress) => output,
        true = call.held() => {
            call.goes_unattended();
            return Attended::Held;
        }
        () = unwanted => return Attended::Unwanted,
    };
    Attended::Ended(call.ended().await, output)
}

/// Lets a call run by itself, and says how to ask after it.
fn detached(begun: Begun) -> Response {
    let id = detach(begun);
    let place = format!("/v1/calls/{id}");
    let body = Json(json!({ "decision": id, "state": Phase::Waiting.as_str() }));
    (StatusCode::ACCEPTED, [(header::LOCATION, place)], body).into_response()
}

/// Lets a call run by itself.
pub(crate) fn detach(begun: Begun) -> DecisionId {
    let Begun {
        call,
        stdin,
        control: _,
        mut events,
    } = begun;
    drop(stdin);
    let id = call.id;
    call.will_see();
    call.goes_unattended();
    tokio::spawn(async move {
        while let Some(event) = events.recv().await {
            call.see(event);
        }
        call.seen_all();
    });
    id
}

fn wants_events(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT);
    accept.is_some_and(|accept| {
        let accept = accept.as_bytes();
        accept.starts_with(b"text/event-stream")
    })
}

/// The end of a call: its answer, or a problem.
fn answer(told: &Told, output: Output) -> Result<Response, Problem> {
    if let Some(problem) = Problem::of_call(told) {
        return Err(problem);
    }
    match told {
        Told::Released(released) => {
            let output = released.replayed().cloned().unwrap_or(output);
            Ok(Json(Answer::released(released, output)).into_response())
        }
        _ => Err(Problem::failed("the call has no answer")),
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct From {
    #[serde(default)]
    pub(crate) from: u64,
}

/// A call that whoever asks could know of.
pub(crate) fn find<K: Keeps, P: Remembers>(
    api: &Api<K, P>,
    who: &Who,
    id: &str,
) -> Result<Arc<RunningCall>, Problem> {
    let id: DecisionId = id
        .parse()
        .map_err(|error| Problem::invalid(format!("{error}")))?;
    let call = api.calls.get(who.tenant(), id);
    let call = call.filter(|call| call.is_within(who.get().bounds()));
    call.ok_or_else(|| Problem::no_call(id))
}

/// The output of a call that was kept.
pub(crate) fn kept(seen: &Pieces) -> Output {
    let (mut stdout, mut stderr, mut results) = (Vec::new(), Vec::new(), Vec::new());
    for (stream, bytes) in &seen.pieces {
        match stream {
            Stream::Stdout => stdout.extend_from_slice(bytes),
            Stream::Stderr => stderr.extend_from_slice(bytes),
            Stream::Results => results.extend_from_slice(bytes),
        }
    }
    Output {
        stdout: stdout.into(),
        stderr: stderr.into(),
        results: results.into(),
    }
}

/// `GET /v1/calls/{id}`
pub(crate) async fn show<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    who: Who,
    Named(id): Named<String>,
    Asked(From { from }): Asked<From>,
) -> Result<Response, Problem> {
    let call = find(&api, &who, &id)?;
    let seen = call.pieces(from);
    let output = kept(&seen);
    let (mut stdout, mut stderr, mut answer, mut problem) = (None, None, None, None);
    match seen.told.as_deref() {
        None => {
            stdout = Some(output.stdout);
            stderr = Some(output.stderr);
        }
        Some(Told::Released(released)) => {
            let output = released.replayed().cloned().unwrap_or(output);
            answer = Some(Answer::released(released, output));
        }
        Some(told) => problem = Problem::of_call(told),
    }
    let body = json!({
        "decision": call.id,
        "agent": call.owner.agent,
        "state": call.phase().as_str(),
        "next": seen.next,
        "missed": seen.missed,
        "stdout": stdout,
        "stderr": stderr,
        "answer": answer,
        "problem": problem,
    });
    Ok(Json(body).into_response())
}

/// `GET /v1/calls/{id}/events`
pub(crate) async fn events<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    who: Who,
    Named(id): Named<String>,
    Asked(From { from }): Asked<From>,
) -> Result<Response, Problem> {
    Ok(observed(find(&api, &who, &id)?, from))
}

/// `POST /v1/calls/{id}/cancel`
pub(crate) async fn cancel<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    who: Who,
    Named(id): Named<String>,
) -> Result<Response, Problem> {
    let call = find(&api, &who, &id)?;
    if call.phase() == Phase::Held {
        return crate::approvals::take_back(&api, &who, call.id).await;
    }
    let was_running = call.phase() != Phase::Ended && call.cancel();
    let body = json!({ "decision": call.id, "cancelled": was_running });
    Ok((StatusCode::ACCEPTED, Json(body)).into_response())
}
