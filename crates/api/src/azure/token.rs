//! Tokens for clients that have a managed identity: the identity is an API key, and a token is for pools and ends soon.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::header,
    response::{IntoResponse as _, Response},
};
use casemate_azure::{Token, TokenQuery};
use serde_json::json;

use super::words::POOLS;
use crate::{
    extract::Asked,
    operate::operation,
    problem::Problem,
    routes::{Keeps, Remembers},
    state::Api,
    who::Who,
};

/// `GET /msi/token`
pub(crate) async fn token<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    who: Who,
    Asked(query): Asked<TokenQuery>,
) -> Result<Response, Problem> {
    let resource = query.resource();
    let resource = resource.map_err(|fault| Problem::invalid(fault.message))?;
    let callers = api.callers()?;
    let subject = json!({ "path": POOLS, "resource": resource });
    let mut given = operation(
        "token.issue",
        "a token stands for an API key".to_owned(),
        subject,
    );
    // Nobody gets more than they had.
    given.alert = false;
    let holder = who.clone();
    let issued = api.operate(&who, given, move |_, now_ms| {
        callers.key_token(holder.get(), POOLS, now_ms)
    });
    let issued = issued.await?;
    let token = Token {
        text: &issued.text,
        expires_at_ms: issued.expires_at_ms,
        resource,
    };
    let kept = [(header::CACHE_CONTROL, "no-store")];
    Ok((kept, Json(token.json())).into_response())
}
