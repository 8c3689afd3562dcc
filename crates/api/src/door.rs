//! The door: nothing behind it is asked before it is known who asks, and whether one of their roles may.

use std::{convert::Infallible, sync::Arc};

use axum::{
    extract::{FromRequestParts, MatchedPath, Request},
    http::{Extensions, Method, request::Parts},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use casemate_callers::{Caller, Callers, LocalUser, Permission, Refusal, Target};
use casemate_model::Reason;
use tokio::task::JoinHandle;

use crate::{
    credential::{Peer, Presented},
    limits::LOCAL_TTL_MS,
    problem::Problem,
    refusals::Refused,
    resource::Resource,
    routes::{Keeps, Remembers},
    state::Api,
    who::Who,
};

/// By what it is known who calls.
#[derive(Clone, Debug)]
pub enum Door {
    /// The kernel named this user: for connections whose other end was looked at. When it ends is said anew for each request.
    Local(LocalUser),
    /// What each request proves.
    Network(Arc<Callers>),
}

/// Lets a request in whose sender is proven.
pub(crate) async fn admit<K: Keeps, P: Remembers>(
    api: Arc<Api<K, P>>,
    door: Door,
    mut request: Request,
    next: Next,
) -> Response {
    let now_ms = api.sessions.clock().now_ms();
    let proven = match door {
        Door::Local(user) => Caller::local_user(&LocalUser {
            expires_at_ms: now_ms.saturating_add(LOCAL_TTL_MS),
            ..user
        }),
        Door::Network(callers) => match Shown::of(&request) {
            Ok(shown) => prove(callers, shown, now_ms).await,
            Err(refusal) => Err(refusal),
        },
    };
    match proven {
        Ok(caller) => {
            request.extensions_mut().insert(Who::new(caller));
            next.run(request).await
        }
        Err(refusal) => {
            let refused = Refused::stranger(&refusal, &Asked::of(&request));
            let resource = Resource::of(&request);
            // Nothing more of the request is read.
            drop(request);
            api.note_refusal(refused).await;
            let mut response = Problem::of_refusal(&refusal).into_response();
            if let Some(resource) = resource {
                resource.point_out(&mut response);
            }
            response
        }
    }
}

/// What a request shows of who sends it, and what it is.
struct Shown {
    presented: Presented,
    method: String,
    path: String,
}

impl Shown {
    fn of(request: &Request) -> Result<Self, Refusal> {
        let peer = request.extensions().get::<Peer>().ok_or(Refusal::Missing)?;
        let path = request.uri().path_and_query();
        Ok(Self {
            presented: Presented::of(request.headers(), peer)?,
            method: request.method().as_str().to_owned(),
            path: path.map_or_else(|| "/".to_owned(), ToString::to_string),
        })
    }
}

/// Whoever a request proves to send it.
async fn prove(callers: Arc<Callers>, shown: Shown, now_ms: u64) -> Result<Caller, Refusal> {
    // Files are looked at, and keys fetched.
    let proving = tokio::task::spawn_blocking(move || {
        let target = Target::Request {
            method: &shown.method,
            path: &shown.path,
        };
        callers.authenticate(shown.presented.credential(), &target, now_ms)
    });
    proven_by(proving).await
}

/// What came of a proof. One that died has proven nothing, and says nothing of what was presented.
async fn proven_by(proving: JoinHandle<Result<Caller, Refusal>>) -> Result<Caller, Refusal> {
    proving.await.unwrap_or(Err(Refusal::Died))
}

/// Lets a request pass whose sender may do one of these.
pub(crate) async fn permit<K: Keeps, P: Remembers>(
    api: Arc<Api<K, P>>,
    permissions: &'static [Permission],
    request: Request,
    next: Next,
) -> Response {
    let Some(who) = request.extensions().get::<Who>() else {
        return Problem::of_refusal(&Refusal::Missing).into_response();
    };
    if who.may_any(permissions) {
        return next.run(request).await;
    }
    let needed: Vec<_> = permissions.iter().map(|one| one.as_str()).collect();
    let detail = format!("none of the caller's roles may {}", needed.join(" or "));
    let refused = Refused::caller(who, permissions, &Asked::of(&request));
    drop(request);
    api.note_refusal(refused).await;
    Problem::of_reason(Reason::MissingScope, detail).into_response()
}

/// What was asked for, as it may be recorded: no path of a client's, which may say anything.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) endpoint: String,
    pub(crate) peer: Option<String>,
}

impl Asked {
    pub(crate) fn of(request: &Request) -> Self {
        Self::new(request.method(), request.extensions())
    }

    fn new(method: &Method, extensions: &Extensions) -> Self {
        let endpoint = extensions.get::<MatchedPath>();
        Self {
            method: method.as_str().chars().take(16).collect(),
            endpoint: endpoint.map_or_else(String::new, |path| path.as_str().to_owned()),
            peer: extensions
                .get::<Peer>()
                .map(|peer| peer.address.ip().to_string()),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Asked {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::new(&parts.method, &parts.extensions))
    }
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;

    use super::*;

    /// I1: whoever could not be looked at is not let in, and not told that nothing was presented.
    #[tokio::test]
    async fn a_prover_that_dies_lets_nobody_in() {
        let proving = tokio::task::spawn_blocking(|| panic!("a test"));
        let refusal = proven_by(proving).await.unwrap_err();
        let response = Problem::of_refusal(&refusal).into_response();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(!response.headers().contains_key("www-authenticate"));
    }
}
