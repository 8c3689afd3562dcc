//! Envelopes: part of one's own authority, for the holder of a key.

use std::{collections::BTreeSet, sync::Arc};

use axum::{
    Json,
    extract::{State, rejection::JsonRejection},
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use casemate_callers::{Bounds, HolderPublic, Role, Wanted};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use crate::{
    extract::Named,
    openapi::{BoundsShape, RoleWord},
    operate::operation,
    problem::Problem,
    routes::{Keeps, Remembers},
    state::Api,
    who::Who,
};

/// An envelope to issue.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewEnvelope {
    subject: String,
    #[serde(default)]
    scopes: BTreeSet<String>,
    #[schemars(with = "Vec<RoleWord>")]
    roles: BTreeSet<Role>,
    #[serde(default)]
    #[schemars(with = "Option<BoundsShape>")]
    bounds: Bounds,
    ttl_s: u64,
    /// The holder's Ed25519 key: the member `x` of its JWK.
    holder: String,
}

/// `POST /v1/envelopes`
pub(crate) async fn issue<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    who: Who,
    request: Result<Json<NewEnvelope>, JsonRejection>,
) -> Result<Response, Problem> {
    let Json(request) = request?;
    let callers = api.callers()?;
    let holder = HolderPublic::from_x(&request.holder);
    let holder = holder.ok_or_else(|| {
        Problem::invalid("`holder` must be the 32 bytes of an Ed25519 public key, in base64url")
    })?;
    let now_ms = api.sessions.clock().now_ms();
    let wanted = Wanted {
        subject: request.subject,
        scopes: request.scopes,
        roles: request.roles,
        bounds: request.bounds,
        expires_at_ms: now_ms.saturating_add(request.ttl_s.saturating_mul(1_000)),
        holder,
    };
    let expires_at_ms = wanted.expires_at_ms / 1_000 * 1_000;
    let subject = json!({
        "subject": wanted.subject,
        "scopes": wanted.scopes,
        "roles": wanted.roles,
        "bounds": wanted.bounds,
        "expires_at_ms": expires_at_ms,
        "holder": request.holder,
    });
    let operation = operation(
        "envelope.issue",
        "authority is given on".to_owned(),
        subject,
    );
    let parent = who.clone();
    let issued = api.operate(&who, operation, move |open, now_ms| {
        let issued = callers.delegate(parent.get(), &wanted, now_ms)?;
        open.note("id", issued.id.clone().into());
        Ok(issued)
    });
    let issued = issued.await?;
    let body = Json(json!({
        "id": issued.id,
        "envelope": issued.text,
        "expires_at_ms": expires_at_ms,
    }));
    Ok((StatusCode::CREATED, body).into_response())
}

/// `DELETE /v1/envelopes/{id}`
pub(crate) async fn revoke<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    who: Who,
    Named(id): Named<String>,
) -> Result<Response, Problem> {
    let callers = api.callers()?;
    if !callers.may_revoke_envelope(who.get(), &id) {
        return Err(Problem::no_caller("envelope"));
    }
    let subject = json!({ "id": id });
    let operation = operation(
        "envelope.revoke",
        "authority is taken back".to_owned(),
        subject,
    );
    let by = who.clone();
    let revoked = api.operate(&who, operation, move |_, now_ms| {
        callers.revoke_envelope(by.get(), &id, now_ms)
    });
    revoked.await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
