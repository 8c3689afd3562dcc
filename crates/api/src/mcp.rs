//! The Model Context Protocol: the tools of the gateway, for hosts that speak it.

mod conversations;
mod tools;

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode},
    response::{IntoResponse as _, Response},
};
use casemate_mcp::{Fault, Kind, Message, answer, fault, is_foreign_origin, limits};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::Deserialize;
use tokio::time::timeout;

pub(crate) use self::conversations::Conversations;
use self::{
    conversations::{NotBegun, NotTaken, Over},
    tools::Tools,
};
use crate::{
    extract::Asked,
    limits::CONVERSATION_END_MS,
    owner::{agent, local},
    routes::{Keeps, Remembers},
    state::Api,
    who::Who,
};

/// How a client calls its conversation, up to the revision 2025-11-25.
const CONVERSATION: HeaderName = HeaderName::from_static("mcp-session-id");

/// The first revision in which a client has no conversation.
const STATELESS: &str = "2026-07-28";

/// Where a client's tools work, as its address says.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Here {
    #[serde(default = "local", deserialize_with = "agent")]
    agent: String,
    route: Option<String>,
    thread: Option<String>,
}

/// `POST /mcp`
pub(crate) async fn receive<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    who: Who,
    Asked(here): Asked<Here>,
    request: Request,
) -> Response {
    match respond(&api, who, here, request).await {
        Ok(response) => response,
        Err(faulty) => fault(&faulty).map(Body::new),
    }
}

async fn respond<K: Keeps, P: Remembers>(
    api: &Arc<Api<K, P>>,
    who: Who,
    here: Here,
    request: Request,
) -> Result<Response, Fault> {
    if is_foreign_origin(request.headers()) {
        return Err(foreign());
    }
    let (mut head, body) = request.into_parts();
    let message = read(body).await?;
    // What a later revision has no conversations for, it has no use for the header either.
    let stateless = message
        .version
        .as_deref()
        .is_some_and(|version| version >= STATELESS);
    let named = match stateless {
        true => None,
        false => conversation(&head.headers)?,
    };
    let now_ms = api.sessions.clock().now_ms();
    let (mut thread, mut taken) = (here.thread.clone(), None);
    if let Some(id) = &named {
        let id_of = |id: &serde_json::Value| id.to_string();
        let call = message.id.as_ref().filter(|_| message.kind == Kind::Call);
        let found = api
            .conversations
            .take(&who, id, call.map(id_of), now_ms)
            .map_err(|why| not_taken(&why, &message))?;
        thread = thread.or(Some(found.0));
        taken = found.1;
        if let Kind::Cancel(request) = &message.kind {
            api.conversations.cancel(&who, id, request);
        }
    }
    // With a thread of its own too: its calls are taken back by their ids.
    let begins = message.kind == Kind::Initialize && named.is_none();
    head.extensions.clear();
    let tools = Tools {
        api: Arc::clone(api),
        who: who.clone(),
        agent: here.agent,
        route: here.route,
        thread,
        request: taken,
    };
    let mut response = answer(tools, head, message).await.map(Body::new);
    if begins && response.status() == StatusCode::OK {
        let id = api
            .conversations
            .begin(&who, api.sessions.entropy(), now_ms)
            .map_err(|why| not_begun(&why))?;
        // It is letters and digits.
        if let Ok(id) = HeaderValue::from_str(&id) {
            response.headers_mut().insert(CONVERSATION, id);
        }
    }
    Ok(response)
}

/// `DELETE /mcp`: a client's conversation is over, and what was only for it.
pub(crate) async fn end<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    who: Who,
    Asked(here): Asked<Here>,
    headers: HeaderMap,
) -> Response {
    let ended = async {
        if is_foreign_origin(&headers) {
            return Err(foreign());
        }
        let missing = || bad("the header `Mcp-Session-Id` has to name a conversation");
        let id = conversation(&headers)?.ok_or_else(missing)?;
        let over = api.conversations.end(&who, &id).ok_or_else(unknown)?;
        // Also when the client hangs up: nobody could end it once more.
        drop(tokio::spawn(wind_up(api, who, here, over)).await);
        Ok(StatusCode::NO_CONTENT.into_response())
    };
    match ended.await {
        Ok(response) => response,
        Err(faulty) => fault(&faulty).map(Body::new),
    }
}

/// Ends what was only for a conversation that is over.
async fn wind_up<K: Keeps, P: Remembers>(api: Arc<Api<K, P>>, who: Who, here: Here, over: Over) {
    // What waits in line would open the thread's session anew: it is gone before the session is.
    let ends = Duration::from_millis(CONVERSATION_END_MS);
    drop(timeout(ends, last_calls(&api, &who, &here.agent, &over)).await);
    let tools = Tools {
        api,
        who,
        agent: here.agent,
        route: here.route,
        thread: Some(over.thread),
        request: None,
    };
    tools.close().await;
}

/// Waits until nothing of a conversation that is over runs or is about to; what waits for a person is kept.
async fn last_calls<K: Keeps, P: Remembers>(api: &Api<K, P>, who: &Who, agent: &str, over: &Over) {
    over.all_answered().await;
    let owner = who.owner(agent.to_owned());
    for call in api.calls.going_in(&owner, &over.thread) {
        call.held().await;
    }
}

async fn read(body: Body) -> Result<Message, Fault> {
    let body = Limited::new(body, limits::MAX_MESSAGE_BYTES)
        .collect()
        .await;
    let body = body.map_err(|error| match error.downcast_ref::<LengthLimitError>() {
        Some(_) => Fault::too_large(),
        None => bad("the message was cut off"),
    })?;
    Message::read(body.to_bytes())
}

/// The conversation that a request names.
fn conversation(headers: &HeaderMap) -> Result<Option<String>, Fault> {
    let mut named = headers.get_all(&CONVERSATION).iter();
    let Some(id) = named.next() else {
        return Ok(None);
    };
    if named.next().is_some() {
        return Err(bad("the header `Mcp-Session-Id` is there twice"));
    }
    // What cannot be read is none that was given.
    id.to_str()
        .map(|id| Some(id.to_owned()))
        .map_err(|_| unknown())
}

fn bad(message: &str) -> Fault {
    Fault::new(StatusCode::BAD_REQUEST, -32_600, message)
}

fn foreign() -> Fault {
    let message = "a page of another host asks, and is not answered";
    Fault::new(StatusCode::FORBIDDEN, -32_600, message)
}

fn unknown() -> Fault {
    let message = "there is no such conversation: begin another one with `initialize`";
    Fault::new(StatusCode::NOT_FOUND, -32_001, message)
}

fn not_taken(why: &NotTaken, message: &Message) -> Fault {
    let fault = match why {
        NotTaken::Unknown => unknown(),
        NotTaken::InUse => bad("a request of this `id` has no answer yet: choose another"),
        NotTaken::Busy => {
            let message = "the conversation has too many calls that have not ended";
            Fault::new(StatusCode::TOO_MANY_REQUESTS, -32_000, message)
        }
    };
    Fault {
        id: message.id.clone().unwrap_or_default(),
        ..fault
    }
}

fn not_begun(why: &NotBegun) -> Fault {
    let message = match why {
        NotBegun::Full => "there are too many conversations".to_owned(),
        NotBegun::Nameless(error) => format!("there is no name for the conversation: {error}"),
    };
    Fault::new(StatusCode::SERVICE_UNAVAILABLE, -32_000, message)
}
