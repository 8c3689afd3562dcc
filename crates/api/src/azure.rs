//! Pools of dynamic sessions as Azure has them: a pool is a route, a session a thread, an execution a call.

mod executions;
mod pool;
mod token;
mod words;

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{FromRequestParts, Request},
    http::{StatusCode, request::Parts},
    response::{IntoResponse as _, Response},
};
use casemate_azure::{Fault, Query, Reply};
use casemate_model::Reason;
use serde::Deserialize;

use self::pool::Pool;
pub(crate) use self::{token::token, words::in_their_words};
use crate::{
    extract::{Asked, Named},
    owner::{agent, local},
    problem::Problem,
    resource::Resource,
    routes::{Keeps, Remembers},
    state::Api,
    who::Who,
};

/// In whose name a request comes. Clients that cannot say it come in that of the usual agent.
#[derive(Debug, Deserialize)]
pub(crate) struct By {
    #[serde(default = "local", deserialize_with = "agent")]
    agent: String,
}

/// What every path names.
#[derive(Deserialize)]
struct OfPool {
    pool: String,
}

/// A request for a pool, of which is known what it names.
pub(crate) struct InPool<K: Keeps, P: Remembers> {
    pool: Pool<K, P>,
    query: Query,
}

impl<K: Keeps, P: Remembers> InPool<K, P> {
    async fn read(parts: &mut Parts, api: &Arc<Api<K, P>>) -> Result<Self, Response> {
        let named = async {
            let who = Who::from_request_parts(parts, api).await?;
            let Named(path) = Named::<OfPool>::from_request_parts(parts, api).await?;
            let Asked(query) = Asked::from_request_parts(parts, api).await?;
            let Asked(by) = Asked::<By>::from_request_parts(parts, api).await?;
            Ok((who, path.pool, query, by.agent))
        };
        let named = named.await.map_err(Problem::into_response);
        let (who, name, query, agent) = named?;
        let Some(policy) = api.sessions.policy(Some(&name)) else {
            return Err(answered(Err(no_pool(api, &name))));
        };
        let pool = Pool {
            api: Arc::clone(api),
            who,
            agent,
            policy,
            thread: String::new(),
        };
        Ok(Self { pool, query })
    }
}

impl<K: Keeps, P: Remembers> FromRequestParts<Arc<Api<K, P>>> for InPool<K, P> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api<K, P>>) -> Result<Self, Response> {
        Self::read(parts, api).await
    }
}

/// One that names a session of it, too.
pub(crate) struct InSession<K: Keeps, P: Remembers>(InPool<K, P>);

impl<K: Keeps, P: Remembers> FromRequestParts<Arc<Api<K, P>>> for InSession<K, P> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api<K, P>>) -> Result<Self, Response> {
        let mut here = InPool::read(parts, api).await?;
        let identifier = here.query.identifier();
        here.pool.thread = identifier.map_err(|fault| answered(Err(fault)))?.to_owned();
        Ok(Self(here))
    }
}

/// Why there is no such pool.
fn no_pool<K: Keeps, P: Remembers>(api: &Api<K, P>, name: &str) -> Fault {
    match api.sessions.no_policy(Some(name)) {
        (Reason::InvalidCall, _) => {
            let (name, pools) = (name.escape_debug(), api.sessions.routes().join(", "));
            let message = format!("there is no pool `{name}`: there are {pools}");
            Fault::new(StatusCode::NOT_FOUND, "pool_unknown", message)
        }
        (reason, why) => Problem::of_reason(reason, why).into(),
    }
}

/// The answer, or why there is none.
fn answered(reply: Result<Reply, Fault>) -> Response {
    let reply = reply.unwrap_or_else(|fault| fault.reply());
    reply.into_response().map(Body::new)
}

/// `POST /pool/{pool}/code/execute`
pub(crate) async fn code_execute<K: Keeps, P: Remembers>(
    InSession(here): InSession<K, P>,
    request: Request,
) -> Response {
    answered(casemate_azure::code_execute(&here.pool, request.into_body()).await)
}

/// `POST /pool/{pool}/executions`
pub(crate) async fn executions<K: Keeps, P: Remembers>(
    InSession(here): InSession<K, P>,
    request: Request,
) -> Response {
    let base = Resource::of(&request).map_or_else(String::new, Resource::into_base);
    let place = format!("{base}{}", request.uri().path());
    let (pool, body) = (&here.pool, request.into_body());
    answered(casemate_azure::executions(pool, &here.query, &place, &pool.agent, body).await)
}

/// `GET /pool/{pool}/executions/{id}`
pub(crate) async fn execution<K: Keeps, P: Remembers>(
    InSession(here): InSession<K, P>,
    Named((_, id)): Named<(String, String)>,
) -> Response {
    answered(casemate_azure::execution(&here.pool, &here.query, id).await)
}

/// `GET /pool/{pool}/files`
pub(crate) async fn list<K: Keeps, P: Remembers>(InSession(here): InSession<K, P>) -> Response {
    answered(casemate_azure::list(&here.pool, &here.query).await)
}

/// `POST /pool/{pool}/files`
pub(crate) async fn upload<K: Keeps, P: Remembers>(
    InSession(here): InSession<K, P>,
    request: Request,
) -> Response {
    let (head, body) = request.into_parts();
    answered(casemate_azure::upload(&here.pool, &here.query, &head.headers, body).await)
}

/// `POST /pool/{pool}/files/upload`: a file can have this name too, so that the path is one of names.
pub(crate) async fn upload_by_name<K: Keeps, P: Remembers>(
    here: InSession<K, P>,
    Named((_, last)): Named<(String, String)>,
    request: Request,
) -> Response {
    match last.as_str() {
        "upload" => upload(here, request).await,
        _ => Problem::no_such_path().into_response(),
    }
}

/// `GET /pool/{pool}/files/{name}`
pub(crate) async fn file<K: Keeps, P: Remembers>(
    InSession(here): InSession<K, P>,
    Named((_, file)): Named<(String, String)>,
) -> Response {
    answered(casemate_azure::file(&here.pool, &here.query, &file).await)
}

/// `DELETE /pool/{pool}/files/{name}`
pub(crate) async fn remove<K: Keeps, P: Remembers>(
    InSession(here): InSession<K, P>,
    Named((_, file)): Named<(String, String)>,
) -> Response {
    answered(casemate_azure::delete(&here.pool, &here.query, &file).await)
}

/// `GET /pool/{pool}/files/{name}/content`, and `GET /pool/{pool}/files/content/{*name}`
pub(crate) async fn content<K: Keeps, P: Remembers>(
    InSession(here): InSession<K, P>,
    Named((_, file)): Named<(String, String)>,
) -> Response {
    let read = casemate_azure::content(&here.pool, &here.query, &file).await;
    read.unwrap_or_else(|fault| answered(Err(fault)))
}

/// `GET /pool/{pool}/session`
pub(crate) async fn session<K: Keeps, P: Remembers>(InSession(here): InSession<K, P>) -> Response {
    answered(casemate_azure::session(&here.pool).await)
}

/// `DELETE /pool/{pool}/session`
pub(crate) async fn end<K: Keeps, P: Remembers>(InSession(here): InSession<K, P>) -> Response {
    answered(casemate_azure::delete_session(&here.pool).await)
}

/// `GET /pool/{pool}/listSessions`
pub(crate) async fn sessions<K: Keeps, P: Remembers>(here: InPool<K, P>) -> Response {
    answered(casemate_azure::list_sessions(&here.pool).await)
}
