//! A way out that is open, and the records of what leaves by it.

use std::{future::Future, sync::Arc, time::Duration};

use casemate_model::{DeniedAttempt, one_line};
use casemate_ports::{Egress, EgressError, NewWay, NotRecorded, Owner, ServedWay, WaySockets};
use tokio::time::timeout;

use crate::{Crossings, Facts, Journal};

/// How long whoever serves ways out has to open one.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long it has to close one: longer than the log may take to write the last of its records.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(20);

/// The way out of one call, while it is open. Dropped, nothing more leaves by it.
#[derive(Debug)]
pub struct OpenWay {
    served: Box<dyn ServedWay>,
    crossings: Arc<Crossings>,
}

/// What came of a way out.
#[derive(Debug)]
pub struct ClosedWay {
    /// What was refused, and how often.
    pub denied: Vec<DeniedAttempt>,
    /// What went wrong with it, if anything did; one line for people.
    pub trouble: Option<String>,
    /// Whether all that left by it is recorded, with its end.
    pub recorded: Result<(), NotRecorded>,
}

impl OpenWay {
    /// Opens the way out of the call of `facts`, whose decision is on disk.
    ///
    /// # Errors
    /// When it cannot be served, or not in time.
    pub async fn open(
        egress: &dyn Egress,
        way: NewWay,
        sockets: Option<WaySockets>,
        facts: &Facts,
        journal: Arc<Journal>,
    ) -> Result<Self, EgressError> {
        let owner = Owner {
            tenant: facts.tenant().to_owned(),
            agent: facts.ask.agent.clone(),
        };
        let crossings = Arc::new(Crossings::new(facts.clone(), journal));
        let witness = Arc::clone(&crossings) as _;
        let opening = egress.open(&owner, way, sockets, witness);
        let served = in_time(OPEN_TIMEOUT, "open it", opening).await?;
        Ok(Self { served, crossings })
    }

    /// Comes when it is served no more though nobody closed it, with the reason.
    pub async fn lost(&mut self) -> EgressError {
        self.served.lost().await
    }

    /// From now on nothing is let through.
    pub fn revoke(&self) {
        self.served.revoke();
    }

    /// Closes it, and says whether everything that left by it is recorded.
    pub async fn close(self) -> ClosedWay {
        let closed = in_time(CLOSE_TIMEOUT, "close it", self.served.close()).await;
        ClosedWay {
            // First, as it takes no more.
            recorded: self.crossings.close().await,
            denied: self.crossings.denied(),
            trouble: closed.err().map(|error| one_line(&error)),
        }
    }
}

async fn in_time<T>(
    most: Duration,
    what: &str,
    doing: impl Future<Output = Result<T, EgressError>>,
) -> Result<T, EgressError> {
    let late = |_| Err(EgressError::Late(what.to_owned()));
    timeout(most, doing).await.unwrap_or_else(late)
}
