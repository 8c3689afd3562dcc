//! The bridge to sandboxes as Cloudflare's clients speak to it, in front of sessions, files and calls: a sandbox is a session, what
//! is executed in it a call of the tool `shell`, and so are archives of its workspace.

mod programs;

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::{State, rejection::JsonRejection},
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use casemate_gateway::{Done, SessionError};
use casemate_model::{SessionId, Text};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::mpsc;

use self::programs::{Program, Sandbox};
use crate::{
    extract::{Asked, Named},
    files::{download, pass_on},
    limits::{ANSWER_QUEUE, MAX_CLOUDFLARE_WORDS},
    openai::By,
    owner::named,
    problem::Problem,
    routes::{Keeps, Remembers},
    state::Api,
    who::Who,
};

/// How ids of sessions begin, which those of sandboxes do not.
const SESSION: &str = "ses_";
/// Where the workspace is, in paths of requests.
const ROOT: &str = "workspace";

/// Writes the workspace as an archive; its arguments are left out.
const PERSIST: &str =
    r#"set -- "${@/#/--exclude=./}"; exec tar -C /workspace --exclude=./in "$@" -cf - ."#;
/// Takes one.
const HYDRATE: &str = "exec tar -C /workspace --no-same-owner --no-overwrite-dir -xf -";

fn unknown(id: &str) -> Problem {
    let id: String = id.chars().take(64).collect();
    let detail = format!("there is no sandbox `{}`", id.escape_debug());
    Problem::new(StatusCode::NOT_FOUND, "sandbox_unknown", detail)
}

fn session_of(id: &str) -> Result<SessionId, Problem> {
    format!("{SESSION}{id}").parse().map_err(|_| unknown(id))
}

/// The path below the workspace that a request names.
fn inside(path: &str) -> Result<Text, Problem> {
    let inner = path
        .strip_prefix(ROOT)
        .and_then(|rest| rest.strip_prefix('/'));
    inner.map(Text::from).ok_or_else(|| {
        Problem::new(
            StatusCode::FORBIDDEN,
            "bad_path",
            "files are below /workspace",
        )
    })
}

/// `POST /cloudflare/v1/sandbox`
pub(crate) async fn create<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    who: Who,
    Asked(By { agent, route }): Asked<By>,
) -> Result<Response, Problem> {
    let caller = who.caller(agent);
    let opened = api.with(move |sessions| async move {
        let Some(policy) = sessions.policy(route.as_deref()) else {
            let (reason, why) = sessions.no_policy(route.as_deref());
            return Err(Problem::of_reason(reason, why));
        };
        Ok(Box::pin(sessions.open_session(&caller, None, &policy)).await?)
    });
    let Done { decision, value } = opened.await??;
    let session = value.0.to_string();
    let id = session.trim_start_matches(SESSION);
    Ok(named(decision, Json(json!({ "id": id }))))
}

/// `DELETE /cloudflare/v1/sandbox/{id}`
pub(crate) async fn remove<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    who: Who,
    Named(id): Named<String>,
    Asked(By { agent, .. }): Asked<By>,
) -> Result<Response, Problem> {
    let (caller, session) = (who.caller(agent), session_of(&id)?);
    let done = api.with(move |sessions| async move { sessions.destroy(&caller, session).await });
    let done = done.await??;
    Ok(named(done.decision, StatusCode::NO_CONTENT))
}

/// `GET /cloudflare/v1/sandbox/{id}/running`
pub(crate) async fn running<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    who: Who,
    Named(id): Named<String>,
    Asked(By { agent, .. }): Asked<By>,
) -> Result<Response, Problem> {
    let (owner, session) = (who.owner(agent.clone()), session_of(&id)?);
    let view = api.with(move |sessions| async move { sessions.show(&owner, session).await });
    let view = match view.await? {
        Ok(view) if who.reaches(&agent, view.record.thread.as_deref()) => view,
        Ok(_) | Err(SessionError::Unknown(_)) => return Err(unknown(&id)),
        Err(error) => return Err(error.into()),
    };
    let running = view.record.end.is_none();
    Ok(Json(json!({ "running": running })).into_response())
}

/// A command to execute.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Command {
    argv: Vec<String>,
    timeout_ms: Option<u64>,
}

/// `POST /cloudflare/v1/sandbox/{id}/exec`
pub(crate) async fn exec<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    who: Who,
    Named(id): Named<String>,
    Asked(By { agent, .. }): Asked<By>,
    command: Result<Json<Command>, JsonRejection>,
) -> Result<Response, Problem> {
    let Json(Command { argv, timeout_ms }) = command?;
    if argv.is_empty() || argv.len() > MAX_CLOUDFLARE_WORDS {
        return Err(Problem::invalid(format!(
            "`argv` has 1 to {MAX_CLOUDFLARE_WORDS} words"
        )));
    }
    let session = session_of(&id)?;
    let program = Program {
        argv: argv.into_iter().map(Text::from).collect(),
        timeout_ms,
        has_stdin: false,
    };
    let sandbox = Sandbox {
        api,
        agent,
        session,
    };
    sandbox.begun(&who, program)?.events().await
}

/// `GET /cloudflare/v1/sandbox/{id}/file/{path}`
pub(crate) async fn read<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    who: Who,
    Named((id, path)): Named<(String, String)>,
    Asked(By { agent, .. }): Asked<By>,
) -> Result<Response, Problem> {
    let (caller, session, path) = (who.caller(agent), session_of(&id)?, inside(&path)?);
    let read =
        api.with(move |sessions| async move { sessions.read_file(&caller, session, path).await });
    Ok(download(read.await??))
}

/// `PUT /cloudflare/v1/sandbox/{id}/file/{path}`
pub(crate) async fn write<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    who: Who,
    Named((id, path)): Named<(String, String)>,
    Asked(By { agent, .. }): Asked<By>,
    body: Body,
) -> Result<Response, Problem> {
    let (caller, session, path) = (who.caller(agent), session_of(&id)?, inside(&path)?);
    let (sender, content) = mpsc::channel(ANSWER_QUEUE);
    let written = api.with(move |sessions| async move {
        sessions.write_file(&caller, session, path, content).await
    });
    let ((), written) = tokio::join!(pass_on(body, sender, None), written);
    let Done { decision, .. } = written??;
    Ok(named(decision, Json(json!({ "ok": true }))))
}

#[derive(Deserialize)]
pub(crate) struct Excludes {
    #[serde(default)]
    excludes: String,
}

fn shell(script: &str, words: impl Iterator<Item = Text>) -> Vec<Text> {
    let own = ["/bin/bash", "-c", script, "bash"].map(Text::from);
    own.into_iter().chain(words).collect()
}

/// `POST /cloudflare/v1/sandbox/{id}/persist`
pub(crate) async fn persist<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    who: Who,
    Named(id): Named<String>,
    Asked(By { agent, .. }): Asked<By>,
    Asked(Excludes { excludes }): Asked<Excludes>,
) -> Result<Response, Problem> {
    let left_out = excludes.split(',').filter(|path| !path.is_empty());
    let left_out: Vec<_> = left_out.map(Text::from).collect();
    if left_out.len() > MAX_CLOUDFLARE_WORDS {
        return Err(Problem::invalid(format!(
            "`excludes` has at most {MAX_CLOUDFLARE_WORDS} paths"
        )));
    }
    let session = session_of(&id)?;
    let program = Program {
        argv: shell(PERSIST, left_out.into_iter()),
        timeout_ms: None,
        has_stdin: false,
    };
    let sandbox = Sandbox {
        api,
        agent,
        session,
    };
    sandbox.begun(&who, program)?.archive().await
}

/// `POST /cloudflare/v1/sandbox/{id}/hydrate`
pub(crate) async fn hydrate<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    who: Who,
    Named(id): Named<String>,
    Asked(By { agent, .. }): Asked<By>,
    body: Body,
) -> Result<Response, Problem> {
    let session = session_of(&id)?;
    let program = Program {
        argv: shell(HYDRATE, std::iter::empty()),
        timeout_ms: None,
        has_stdin: true,
    };
    let sandbox = Sandbox {
        api,
        agent,
        session,
    };
    sandbox.begun(&who, program)?.taken(body).await
}
