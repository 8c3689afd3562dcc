//! API keys, each of the tenant of whoever asks.

use std::{collections::BTreeSet, sync::Arc};

use axum::{
    Json,
    extract::{State, rejection::JsonRejection},
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use casemate_callers::{ApiKey, NewApiKey, Role};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    extract::{Asked, Named},
    openapi::RoleWord,
    operate::operation,
    paging::{Order, Paging},
    problem::Problem,
    routes::{Keeps, Remembers},
    state::Api,
    who::Who,
};

/// An API key to make.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewKey {
    subject: String,
    #[serde(default)]
    scopes: BTreeSet<String>,
    #[schemars(with = "Vec<RoleWord>")]
    roles: BTreeSet<Role>,
    ttl_s: u64,
}

/// `GET /v1/api-keys`
pub(crate) async fn list<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    who: Who,
    Asked(paging): Asked<Paging>,
) -> Result<Response, Problem> {
    let callers = api.callers()?;
    let listed = api
        .blocking(move |_| callers.list_keys(who.tenant()))
        .await?;
    let keys = listed.map_err(|refusal| Problem::of_operation(&refusal))?;
    let keys = keys
        .iter()
        .map(|key: &ApiKey| (key.id.clone(), key.shown()));
    let piece = paging.answer("api_keys", Order::Ascending, keys.collect())?;
    Ok(Json(piece).into_response())
}

/// `POST /v1/api-keys`: the text of the key is in the answer, and nowhere else.
pub(crate) async fn create<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    who: Who,
    request: Result<Json<NewKey>, JsonRejection>,
) -> Result<Response, Problem> {
    let Json(request) = request?;
    let callers = api.callers()?;
    let new = NewApiKey {
        subject: request.subject,
        tenant: who.tenant().to_owned(),
        scopes: request.scopes,
        roles: request.roles,
        ttl_ms: request.ttl_s.saturating_mul(1_000),
    };
    let subject = json!({
        "subject": new.subject,
        "scopes": new.scopes,
        "roles": new.roles,
        "ttl_s": request.ttl_s,
    });
    let operation = operation("api_key.create", "an API key is made".to_owned(), subject);
    let made = api.operate(&who, operation, move |open, now_ms| {
        let made = callers.new_key(&new, now_ms)?;
        open.note("name", made.0.id.clone().into());
        Ok(made)
    });
    let (key, text) = made.await?;
    let mut body = key.shown();
    if let Value::Object(body) = &mut body {
        body.insert("api_key".to_owned(), Value::String(text.to_string()));
    }
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

/// `DELETE /v1/api-keys/{name}`
pub(crate) async fn revoke<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    who: Who,
    Named(name): Named<String>,
) -> Result<Response, Problem> {
    let callers = api.callers()?;
    let tenant = who.tenant().to_owned();
    let keys = Arc::clone(&callers);
    // What is asked for by a name that nothing has is not recorded: it may be any text.
    let (of, id) = (tenant.clone(), name.clone());
    let known = api.blocking(move |_| keys.list_keys(&of)).await?;
    let known = known.map_err(|refusal| Problem::of_operation(&refusal))?;
    if !known.iter().any(|key| key.id == id) {
        return Err(Problem::no_caller("API key"));
    }
    let subject = json!({ "name": name });
    let operation = operation(
        "api_key.revoke",
        "an API key is taken back".to_owned(),
        subject,
    );
    let revoked = api.operate(&who, operation, move |_, now_ms| {
        callers.revoke_key(&tenant, &name, now_ms)
    });
    revoked.await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
