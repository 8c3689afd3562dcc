//! `GET /metrics` of a sandbox: its disk, as its programs see it, and what its profile gives.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::State,
    response::{IntoResponse as _, Response},
};
use serde_json::json;

use super::{
    Here,
    faults::Failure,
    filesystem::{checked, script},
    programs::run,
};
use crate::{
    routes::{Keeps, Remembers},
    state::Api,
    who::Who,
};

const DISK: &str = "exec df -B1 --output=used,size -- /workspace";

/// `GET /metrics`
pub(crate) async fn show<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    who: Who,
    Extension(Here(sandbox)): Extension<Here>,
) -> Result<Response, Failure> {
    let said = checked(
        run(&api, &who, &sandbox, script(DISK, &[])).await?,
        "/workspace",
    )?;
    let said = String::from_utf8_lossy(&said);
    let mut numbers = said
        .split_whitespace()
        .filter_map(|word| word.parse::<u64>().ok());
    let (used, size) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    Ok(Json(json!({
        "ts": api.sessions.clock().now_ms() / 1_000,
        "cpu_count": sandbox.cpus,
        "mem_total_mib": sandbox.memory_mib,
        "mem_total": sandbox.memory_mib << 20,
        "disk_used": used,
        "disk_total": size,
    }))
    .into_response())
}
