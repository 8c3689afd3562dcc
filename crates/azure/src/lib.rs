//! The protocol of dynamic sessions of Azure Container Apps: a pool runs code in the session that a request names.
//!
//! Both generations are spoken, by the `api-version` of each request: 2024-02-02-preview (`code/execute`, `files/upload`) and the previews
//! from 2024-10-02 to 2025-10-02 (`executions`, `files`); and the token endpoint by which clients with a managed identity get their
//! token. What is behind a pool is [`Plane`]: one execution there is one life of a call in the gateway.
//!
//! Invariants:
//! - What cannot be followed is a [`Fault`] in the form that Azure's clients read, with a stable code, and before anything is done.
//! - A timeout is a bound and not a demand: it makes what the pool gives smaller, and never larger.
//! - A file's place is below `/mnt/data`. An upload is whole or is not there, and is bounded ([`limits`]).
//!
//! Deliberately absent: decisions, who calls, sessions of the gateway, the management plane of Azure, and `metadata`, which would say
//! versions of packages that nobody has looked at.

mod execution;
mod fault;
mod files;
pub mod limits;
mod plane;
mod token;
mod upload;
mod value;
mod version;

pub use self::{
    execution::{code_execute, execution, executions},
    fault::Fault,
    files::{content, delete, file, list},
    plane::{Ended, Execution, Item, Piece, Plane, Run, Runs, Session, State},
    token::{Token, TokenFault, TokenQuery},
    upload::upload,
    version::{Generation, Query, Version},
};

use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use serde_json::{Value, json};

/// What is answered: a body of JSON, or none.
#[derive(Debug)]
pub struct Reply {
    status: StatusCode,
    body: Option<Value>,
    headers: Vec<(HeaderName, String)>,
}

impl Reply {
    const fn json(body: Value) -> Self {
        Self {
            status: StatusCode::OK,
            body: Some(body),
            headers: Vec::new(),
        }
    }

    const fn done() -> Self {
        Self {
            status: StatusCode::NO_CONTENT,
            body: None,
            headers: Vec::new(),
        }
    }

    /// As HTTP has it.
    #[must_use]
    pub fn into_response(self) -> Response<Full<bytes::Bytes>> {
        let body = self.body.map(|body| body.to_string()).unwrap_or_default();
        let has_body = !body.is_empty();
        let mut response = Response::new(Full::new(body.into()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        if has_body {
            let kind = HeaderValue::from_static("application/json");
            headers.insert(header::CONTENT_TYPE, kind);
        }
        for (name, value) in self.headers {
            // What is no value of a header is left out: everything in it is in the body too.
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(name, value);
            }
        }
        response
    }
}

/// `GET session`.
///
/// # Errors
/// When there is none.
pub async fn session<P: Plane>(plane: &P) -> Result<Reply, Fault> {
    Ok(Reply::json(plane.session().await?.json()))
}

/// `DELETE session`.
///
/// # Errors
/// When there is none, or it may not be ended.
pub async fn delete_session<P: Plane>(plane: &P) -> Result<Reply, Fault> {
    plane.end().await?;
    Ok(Reply::done())
}

/// `GET listSessions`.
///
/// # Errors
/// When they cannot be listed.
pub async fn list_sessions<P: Plane>(plane: &P) -> Result<Reply, Fault> {
    let sessions = plane.sessions().await?;
    let value: Vec<_> = sessions.iter().map(Session::json).collect();
    Ok(Reply::json(json!({ "value": value, "nextLink": null })))
}
