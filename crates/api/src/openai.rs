//! The containers of OpenAI's clients, in front of sessions and files: a container is a session of the caller's with a thread of its
//! own, which says what only the client knows of it. So nothing of a container is kept here, and a gateway that was started again
//! knows all of them.
//!
//! Only `/containers` is spoken. What runs in a container is a call of its session, by any of the other interfaces.

pub(crate) mod containers;
pub(crate) mod files;
mod list;
mod name;
mod uploads;

use axum::http::StatusCode;
use serde::Deserialize;

pub(crate) use self::uploads::Uploads;
use crate::{
    owner::{agent, local},
    problem::Problem,
};

/// In whose name a request comes, and which profile new containers have. Clients say it in `default_query`, if they say it.
#[derive(Debug, Deserialize)]
pub(crate) struct By {
    #[serde(default = "local", deserialize_with = "agent")]
    pub(crate) agent: String,
    pub(crate) route: Option<String>,
}

/// There is nothing of this name that the caller could know of.
fn unknown(what: &str, code: &'static str, id: &str) -> Problem {
    let id: String = id.chars().take(64).collect();
    let detail = format!("there is no {what} `{}`", id.escape_debug());
    Problem::new(StatusCode::NOT_FOUND, code, detail)
}
