//! Files of a session.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::Response,
};
use casemate_gateway::{Done, SessionError};
use casemate_model::{Digest, Hasher, SessionId, Text};
use casemate_ports::{Chunk, FileFault};
use http_body_util::BodyExt as _;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use tokio::{sync::mpsc, time::timeout};

use crate::{
    body::Pieces,
    extract::{Asked, Named},
    limits::{ANSWER_QUEUE, CONDITIONAL_IDLE_MS, MAX_IGNORED_BYTES, UPLOAD_PIECE_BYTES},
    openapi::AgentName,
    owner::{OfAgent, agent, local, named},
    paging::{Order, Paging},
    problem::Problem,
    routes::{Keeps, Remembers},
    sessions::session,
    state::Api,
    tags::{Condition, tag_of},
    who::Who,
    writers::Alone,
};

#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct ListQuery {
    #[serde(default = "local", deserialize_with = "agent")]
    #[schemars(with = "AgentName")]
    agent: String,
    /// The directory; `/workspace` itself if there is none.
    #[serde(default)]
    path: String,
}

/// `GET /v1/sessions/{id}/files`
pub(crate) async fn list<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    who: Who,
    Named(id): Named<String>,
    Asked(ListQuery { agent, path }): Asked<ListQuery>,
    Asked(paging): Asked<Paging>,
) -> Result<Response, Problem> {
    let (caller, session) = (who.caller(agent), session(&id)?);
    let listed = api.with(move |sessions| async move {
        sessions.list_files(&caller, session, path.into()).await
    });
    let Done { decision, value } = listed.await??;
    let placed = value.into_iter().map(|entry| {
        let place = json!(entry.name).to_string();
        (place, json!(entry))
    });
    let piece = paging.answer("entries", Order::Ascending, placed.collect())?;
    Ok(named(decision, Json(piece)))
}

/// `GET /v1/sessions/{id}/files/{path}`
pub(crate) async fn read<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    who: Who,
    Named((id, path)): Named<(String, String)>,
    Asked(OfAgent { agent }): Asked<OfAgent>,
) -> Result<Response, Problem> {
    let (caller, session) = (who.caller(agent), session(&id)?);
    let read =
        api.with(
            move |sessions| async move { sessions.read_file(&caller, session, path.into()).await },
        );
    Ok(download(read.await??))
}

/// A file, as its bytes come.
pub(crate) fn download(read: Done<(u64, mpsc::Receiver<Vec<u8>>)>) -> Response {
    let Done { decision, value } = read;
    let (bytes, content) = value;
    let mut response = named(decision, Body::new(Pieces::sized(content, bytes)));
    let headers = response.headers_mut();
    // It is whatever a program in a sandbox made of it.
    let kind = HeaderValue::from_static("application/octet-stream");
    headers.insert(header::CONTENT_TYPE, kind);
    headers.insert(header::CONTENT_LENGTH, bytes.into());
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}

/// `PUT /v1/sessions/{id}/files/{path}`
pub(crate) async fn write<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    who: Who,
    Named((id, path)): Named<(String, String)>,
    Asked(OfAgent { agent }): Asked<OfAgent>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let (caller, session) = (who.caller(agent), session(&id)?);
    let condition = Condition::of(&headers)?;
    let alone = match holds(&api, &who, &caller, (session, &path), &condition).await {
        Ok(alone) => alone,
        Err(problem) => {
            ignore(body).await;
            return Err(problem);
        }
    };
    let patience = alone
        .is_some()
        .then_some(Duration::from_millis(CONDITIONAL_IDLE_MS));
    let (sender, content) = mpsc::channel(ANSWER_QUEUE);
    let written = api.with(move |sessions| async move {
        let _alone = alone;
        let path = Text::from(path);
        sessions.write_file(&caller, session, path, content).await
    });
    // If the sender goes away without an end, with this or in it, nothing of the file is kept.
    let ((), written) = tokio::join!(pass_on(body, sender, patience), written);
    let Done { decision, value } = written??;
    let body = Json(json!({ "path": value.name, "bytes": value.bytes, "sha256": value.sha256 }));
    let mut response = named(decision, (StatusCode::CREATED, body));
    if let Some(tag) = tag_of(value.sha256) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    Ok(response)
}

/// Whether a condition holds for a file, and the turn of whoever writes under it. It is read for that, which is on record as any
/// reading of it.
async fn holds<K: Keeps, P: Remembers>(
    api: &Arc<Api<K, P>>,
    who: &Who,
    caller: &casemate_gateway::Caller,
    (session, path): (SessionId, &str),
    condition: &Condition,
) -> Result<Option<Alone>, Problem> {
    if !condition.is_given() {
        return Ok(None);
    }
    // Nobody stands in the line of a session that is not theirs: the reading refuses them, on record.
    let (owner, agent) = (who.owner(caller.agent.clone()), &caller.agent);
    let view = api.with(move |sessions| async move { sessions.show(&owner, session).await });
    let is_theirs = view
        .await?
        .is_ok_and(|view| who.reaches(agent, view.record.thread.as_deref()));
    let alone = match is_theirs {
        true => Some(api.writers.alone(session).await?),
        false => None,
    };
    let (caller, path) = (caller.clone(), Text::from(path));
    let read =
        api.with(move |sessions| async move { sessions.read_file(&caller, session, path).await });
    let there = match read.await? {
        Ok(Done { value, .. }) => Some(digest(value).await?),
        Err(SessionError::File {
            fault: FileFault::NotFound,
            ..
        }) => None,
        Err(error) => return Err(error.into()),
    };
    condition.check(there)?;
    match alone {
        Some(alone) => Ok(Some(alone)),
        None => Err(SessionError::Unknown(session).into()),
    }
}

/// The digest of a file that is read.
async fn digest((bytes, mut content): (u64, mpsc::Receiver<Vec<u8>>)) -> Result<Digest, Problem> {
    let (mut hasher, mut read) = (Hasher::default(), 0);
    while let Some(piece) = content.recv().await {
        hasher.update(&piece);
        read += piece.len() as u64;
    }
    match read == bytes {
        true => Ok(hasher.finish()),
        false => {
            let detail = "the file could not be read to its end: try again";
            Err(Problem::new(StatusCode::CONFLICT, "file_changed", detail))
        }
    }
}

/// With `patience`, no piece may take longer to come.
pub(crate) async fn pass_on(mut body: Body, to: mpsc::Sender<Chunk>, patience: Option<Duration>) {
    loop {
        let frame = match patience {
            None => body.frame().await,
            Some(patience) => match timeout(patience, body.frame()).await {
                Ok(frame) => frame,
                Err(_) => return,
            },
        };
        let Some(frame) = frame else {
            break;
        };
        let Ok(frame) = frame else {
            return;
        };
        let Ok(data) = frame.into_data() else {
            continue;
        };
        for piece in data.chunks(UPLOAD_PIECE_BYTES) {
            if to.send(Chunk::Bytes(piece.to_vec())).await.is_err() {
                // Refused meanwhile: the answer says why.
                return ignore(body).await;
            }
        }
    }
    drop(to.send(Chunk::End).await);
}

/// Reads the rest of what is refused: many clients hear no answer before they have sent everything.
async fn ignore(mut body: Body) {
    let mut bytes = 0;
    while let Some(Ok(frame)) = body.frame().await {
        bytes += frame.data_ref().map_or(0, |data| data.len());
        if bytes > MAX_IGNORED_BYTES {
            return;
        }
    }
}

/// `DELETE /v1/sessions/{id}/files/{path}`
pub(crate) async fn remove<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    who: Who,
    Named((id, path)): Named<(String, String)>,
    Asked(OfAgent { agent }): Asked<OfAgent>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (caller, session) = (who.caller(agent), session(&id)?);
    let condition = Condition::of(&headers)?;
    let alone = holds(&api, &who, &caller, (session, &path), &condition).await?;
    let removed = api.with(move |sessions| async move {
        let _alone = alone;
        sessions.remove_file(&caller, session, path.into()).await
    });
    let done = removed.await??;
    Ok(named(done.decision, StatusCode::NO_CONTENT))
}
