//! A way out that is open, and the records of what leaves by it.

use std::{future::Future, sync::Arc, time::Duration};

use casemate_model::{DecisionId, DeniedAttempt, one_line};
use casemate_ports::{
    Decider, Egress, EgressError, NewWay, NotRecorded, Owner, ServedWay, WaySockets,
};
use tokio::{sync::mpsc, time::timeout};

use super::Familiarity;
use crate::{Crossings, Facts, Journal, crossing::Asked};

/// How long whoever serves ways out has to open one.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long it has to close one: longer than the log may take to write the last of its records.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(20);

/// The way out of one call, while it is open. Dropped, nothing more leaves by it.
#[derive(Debug)]
pub struct OpenWay {
    served: Box<dyn ServedWay>,
    crossings: Arc<Crossings>,
    /// Requests that wait for a person; nothing where nobody is asked.
    asked: Option<mpsc::Receiver<Asked>>,
}

/// Whom requests that a person has to consent to can wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asks {
    /// Nobody: they are refused.
    Nobody,
    /// Those who may approve.
    People,
}

/// Where the requests of a way out are recorded, and who is asked about them.
#[derive(Debug)]
pub struct Overseen {
    /// Where they are recorded.
    pub journal: Arc<Journal>,
    /// Whom those wait for that a person has to consent to.
    pub asks: Asks,
    /// Who is asked about each of them.
    pub decider: Option<Arc<dyn Decider>>,
    /// Where its agent has been.
    pub familiarity: Familiarity,
}

/// What happens to a way out.
#[derive(Debug)]
pub(crate) enum WayEvent {
    /// It is served no more though nobody closed it.
    Lost(EgressError),
    /// A request waits for a person.
    Asked(Asked),
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
        overseen: Overseen,
    ) -> Result<Self, EgressError> {
        let Overseen {
            journal,
            asks,
            decider,
            familiarity: Familiarity { known, memory },
        } = overseen;
        let way = NewWay {
            consults: decider.is_some(),
            known,
            ..way
        };
        let owner = Owner {
            tenant: facts.tenant().to_owned(),
            agent: facts.ask.agent.clone(),
        };
        let crossings = Crossings::new(facts.clone(), journal);
        let crossings = crossings.consulting(decider).remembering(memory);
        let (crossings, asked) = match asks {
            Asks::Nobody => (crossings, None),
            Asks::People => {
                let (crossings, asked) = crossings.asking();
                (crossings, Some(asked))
            }
        };
        let crossings = Arc::new(crossings);
        let witness = Arc::clone(&crossings) as _;
        let opening = egress.open(&owner, way, sockets, witness);
        let served = in_time(OPEN_TIMEOUT, "open it", opening).await?;
        Ok(Self {
            served,
            crossings,
            asked,
        })
    }

    /// What happens next that somebody has to see to.
    pub(crate) async fn next(&mut self) -> WayEvent {
        let asked = async {
            match &mut self.asked {
                Some(asked) => asked.recv().await,
                None => None,
            }
        };
        tokio::select! {
            error = self.served.lost() => WayEvent::Lost(error),
            Some(asked) = asked => WayEvent::Asked(asked),
        }
    }

    /// Says of a request about which people were asked, and are no more, whether its refusal is on record.
    pub(crate) fn settle(&self, decision: DecisionId, recorded: bool) {
        self.crossings.settle(decision, recorded);
    }

    /// From now on nothing is let through.
    pub fn revoke(&self) {
        self.served.revoke();
    }

    /// Closes it, and says whether everything that left by it is recorded.
    pub async fn close(self) -> ClosedWay {
        // Nobody is asked any more.
        drop(self.asked);
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
