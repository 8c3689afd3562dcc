//! What people do to callers and switches: on record before it is done, and closed after it.

use std::sync::Arc;

use casemate_callers::{Callers, Refusal};
use casemate_gateway::{OpenOperation, Operation};
use casemate_model::Reason;
use serde_json::Value;

use crate::{
    problem::Problem,
    routes::{Keeps, Remembers},
    state::Api,
    who::Who,
};

/// An operation that is allowed, and raises an alert: it is about who may do what.
pub(crate) fn operation(what: &'static str, detail: String, subject: Value) -> Operation {
    Operation {
        what,
        reason: Reason::Allowed,
        detail,
        alert: true,
        subject,
    }
}

impl<K: Keeps, P: Remembers> Api<K, P> {
    /// Does something on a thread that may block.
    pub(crate) async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        job: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let api = Arc::clone(self);
        let done = tokio::task::spawn_blocking(move || job(&api)).await;
        done.map_err(|error| Problem::failed(error.to_string()))
    }

    /// Those who may call over a network.
    pub(crate) fn callers(&self) -> Result<Arc<Callers>, Problem> {
        self.callers.clone().ok_or_else(Problem::no_callers)
    }

    /// Does something about callers that is on disk before.
    pub(crate) async fn operate<T: Send + 'static>(
        self: &Arc<Self>,
        who: &Who,
        operation: Operation,
        act: impl FnOnce(&mut OpenOperation<'_>, u64) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Problem> {
        let claims = who.claims();
        let operated = self.blocking(move |api| {
            let journal = api.sessions.journal();
            let open = journal.operate(operation, &claims);
            let mut open = open.map_err(|error| Problem::of_record(&error))?;
            let done = act(&mut open, api.sessions.clock().now_ms());
            let why = done.as_ref().err().map(|refusal| refusal.code().as_str());
            let closed = open.close(why.map_or(Ok(()), Err));
            let done = done.map_err(|refusal| Problem::of_operation(&refusal))?;
            closed.map_err(|error| Problem::of_record(&error))?;
            Ok(done)
        });
        operated.await?
    }
}
