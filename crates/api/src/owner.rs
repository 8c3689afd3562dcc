//! Whose something is, as a query says.

use serde::Deserialize;

/// The agent in whose name a request comes.
#[derive(Debug, Deserialize)]
pub(crate) struct OfAgent {
    #[serde(default = "local")]
    pub(crate) agent: String,
}

/// The agent of whoever names none.
pub(crate) fn local() -> String {
    "local".to_owned()
}
