//! Pools of dynamic sessions as Azure has them: a pool is a route, a session a thread, an execution a call.

mod executions;
mod pool;
mod token;
mod words;

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Request, State},
    http::StatusCode,
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

/// A request for a pool, of which is known what it names.
pub(crate) struct ForPool<K: Keeps, P: Remembers> {
    pool: Pool<K, P>,
    query: Query,
}

impl<K: Keeps, P: Remembers> ForPool<K, P> {
    /// A request that names a session.
    fn of_session(api: &Arc<Api<K, P>>, who: Who, name: &str, asked: Both) -> Result<Self, Fault> {
        let identifier = asked.query.identifier()?.to_owned();
        Self::new(api, who, name, asked, identifier)
    }

    fn new(
        api: &Arc<Api<K, P>>,
        who: Who,
        name: &str,
        Both { query, by }: Both,
        thread: String,
    ) -> Result<Self, Fault> {
        let Some(policy) = api.sessions.policy(Some(name)) else {
            return Err(no_pool(api, name));
        };
        let pool = Pool {
            api: Arc::clone(api),
            who,
            agent: by.agent,
            policy,
            thread,
        };
        Ok(Self { pool, query })
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

/// What a query says.
pub(crate) struct Both {
    query: Query,
    by: By,
}

impl<S: Send + Sync> axum::extract::FromRequestParts<S> for Both {
    type Rejection = Problem;

    async fn from_request_parts(
        parts: &mut axum::http::request::Parts,
        state: &S,
    ) -> Result<Self, Problem> {
        let Asked(query) = Asked::from_request_parts(parts, state).await?;
        let Asked(by) = Asked::from_request_parts(parts, state).await?;
        Ok(Self { query, by })
    }
}

/// The answer, or why there is none.
fn answered(reply: Result<Reply, Fault>) -> Response {
    let reply = reply.unwrap_or_else(|fault| fault.reply());
    reply.into_response().map(Body::new)
}

/// `POST /pool/{pool}/code/execute`
pub(crate) async fn code_execute<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    who: Who,
    Named(name): Named<String>,
    asked: Both,
    request: Request,
) -> Response {
    let replied = async {
        let here = ForPool::of_session(&api, who, &name, asked)?;
        casemate_azure::code_execute(&here.pool, request.into_body()).await
    };
    answered(replied.await)
}

/// `POST /pool/{pool}/executions`
pub(crate) async fn executions<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    who: Who,
    Named(name): Named<String>,
    asked: Both,
    request: Request,
) -> Response {
    let replied = async {
        let base = Resource::of(&request).map_or_else(String::new, Resource::into_base);
        let place = format!("{base}{}", request.uri().path());
        let here = ForPool::of_session(&api, who, &name, asked)?;
        casemate_azure::executions(&here.pool, &here.query, &place, request.into_body()).await
    };
    answered(replied.await)
}

/// `GET /pool/{pool}/executions/{id}`
pub(crate) async fn execution<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    who: Who,
    Named((name, id)): Named<(String, String)>,
    asked: Both,
) -> Response {
    let replied = async {
        let here = ForPool::of_session(&api, who, &name, asked)?;
        casemate_azure::execution(&here.pool, &here.query, id).await
    };
    answered(replied.await)
}

/// `GET /pool/{pool}/files`
pub(crate) async fn list<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    who: Who,
    Named(name): Named<String>,
    asked: Both,
) -> Response {
    let replied = async {
        let here = ForPool::of_session(&api, who, &name, asked)?;
        casemate_azure::list(&here.pool, &here.query).await
    };
    answered(replied.await)
}

/// `POST /pool/{pool}/files`
pub(crate) async fn upload<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    who: Who,
    Named(name): Named<String>,
    asked: Both,
    request: Request,
) -> Response {
    let replied = async {
        let here = ForPool::of_session(&api, who, &name, asked)?;
        let (head, body) = request.into_parts();
        casemate_azure::upload(&here.pool, &here.query, &head.headers, body).await
    };
    answered(replied.await)
}

/// `POST /pool/{pool}/files/upload`: a file can have this name too, so that the path is one of names.
pub(crate) async fn upload_by_name<K: Keeps, P: Remembers>(
    state: State<Arc<Api<K, P>>>,
    who: Who,
    Named((name, last)): Named<(String, String)>,
    asked: Both,
    request: Request,
) -> Response {
    match last.as_str() {
        "upload" => upload(state, who, Named(name), asked, request).await,
        _ => Problem::no_such_path().into_response(),
    }
}

/// `GET /pool/{pool}/files/{name}`
pub(crate) async fn file<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    who: Who,
    Named((name, file)): Named<(String, String)>,
    asked: Both,
) -> Response {
    let replied = async {
        let here = ForPool::of_session(&api, who, &name, asked)?;
        casemate_azure::file(&here.pool, &here.query, &file).await
    };
    answered(replied.await)
}

/// `DELETE /pool/{pool}/files/{name}`
pub(crate) async fn remove<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    who: Who,
    Named((name, file)): Named<(String, String)>,
    asked: Both,
) -> Response {
    let replied = async {
        let here = ForPool::of_session(&api, who, &name, asked)?;
        casemate_azure::delete(&here.pool, &here.query, &file).await
    };
    answered(replied.await)
}

/// `GET /pool/{pool}/files/{name}/content`, and `GET /pool/{pool}/files/content/{*name}`
pub(crate) async fn content<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    who: Who,
    Named((name, file)): Named<(String, String)>,
    asked: Both,
) -> Response {
    let read = async {
        let here = ForPool::of_session(&api, who, &name, asked)?;
        casemate_azure::content(&here.pool, &here.query, &file).await
    };
    read.await.unwrap_or_else(|fault| answered(Err(fault)))
}

/// `GET /pool/{pool}/session`
pub(crate) async fn session<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    who: Who,
    Named(name): Named<String>,
    asked: Both,
) -> Response {
    let replied = async {
        let here = ForPool::of_session(&api, who, &name, asked)?;
        casemate_azure::session(&here.pool).await
    };
    answered(replied.await)
}

/// `DELETE /pool/{pool}/session`
pub(crate) async fn end<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    who: Who,
    Named(name): Named<String>,
    asked: Both,
) -> Response {
    let replied = async {
        let here = ForPool::of_session(&api, who, &name, asked)?;
        casemate_azure::delete_session(&here.pool).await
    };
    answered(replied.await)
}

/// `GET /pool/{pool}/listSessions`
pub(crate) async fn sessions<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    who: Who,
    Named(name): Named<String>,
    asked: Both,
) -> Response {
    let replied = async {
        let here = ForPool::new(&api, who, &name, asked, String::new())?;
        casemate_azure::list_sessions(&here.pool).await
    };
    answered(replied.await)
}
