//! A call whose program has ended.

use std::fmt;

use casemate_model::{Artefact, Cause, Exit, Outcome, OutcomeStatus, Usage, one_line};
use casemate_ports::{self as ports, ArtefactSink, Event, KeeperError, NotRecorded, Sandbox};
use casemate_store::Idempotency;
use tokio::sync::mpsc;

use crate::{
    Output, RecordError, ReleaseError, Released, entry::Observed, open::OpenCall, stored::Stored,
    tee::Tee, way::ClosedWay,
};

/// How a run ended.
pub(crate) enum End {
    /// The keeper saw it.
    Ran(ports::Ended),
    /// The sandbox broke: it may have run in part.
    Lost(KeeperError),
    /// Nothing ran: the action token had expired, or its session was not to be had; then this says why.
    NotStarted(Option<String>),
}

/// Output that nobody has taken yet.
pub(crate) struct Leftover {
    pub(crate) events: mpsc::Sender<Event>,
    pub(crate) rest: Vec<Event>,
}

impl Leftover {
    pub(crate) const fn new(events: mpsc::Sender<Event>) -> Self {
        Self {
            events,
            rest: Vec::new(),
        }
    }

    async fn hand_out(self) {
        for event in self.rest {
            if self.events.send(event).await.is_err() {
                return;
            }
        }
    }
}

/// A call whose program has ended, with everything it started. What it made is still in its sandbox.
///
/// If it is dropped, its outcome is recorded as unknown.
pub struct Ended<'j, S, I> {
    open: OpenCall<'j>,
    end: End,
    tee: Tee,
    leftover: Leftover,
    sandbox: S,
    store: Option<I>,
    /// Why it was made to end, if it was.
    why: Option<String>,
    /// What went wrong beside it.
    beside: Option<String>,
    /// What a server did wrong, if its program is one.
    wrong: Option<String>,
    /// Whether all that left it is recorded.
    crossings: Result<(), NotRecorded>,
}

impl<'j, S, I> Ended<'j, S, I> {
    /// Notes why it was made to end, if it was.
    pub(crate) fn because(self, why: Option<&str>) -> Self {
        Self {
            why: why.map(str::to_owned),
            ..self
        }
    }

    /// Notes what a server did wrong.
    pub(crate) fn wrong(self, wrong: Option<String>) -> Self {
        Self { wrong, ..self }
    }

    /// Adds what came of the call's way out.
    #[must_use]
    pub fn after_way(mut self, way: ClosedWay) -> Self {
        if let End::Ran(ended) = &mut self.end {
            ended.denied.extend(way.denied);
        }
        self.beside = way.trouble;
        self.crossings = way.recorded;
        self
    }

    pub(crate) const fn new(
        open: OpenCall<'j>,
        end: End,
        tee: Tee,
        leftover: Leftover,
        sandbox: S,
        store: Option<I>,
    ) -> Self {
        Self {
            open,
            end,
            tee,
            leftover,
            sandbox,
            store,
            why: None,
            beside: None,
            wrong: None,
            crossings: Ok(()),
        }
    }
}

impl<S: Sandbox, I: Idempotency> Ended<'_, S, I> {
    /// Gives the artefacts to `sink`, destroys the sandbox, closes the record with the outcome, stores the
    /// result under the call's idempotency key, and hands out the rest of the output. Blocks for one flush
    /// of the disk.
    ///
    /// # Errors
    /// When the outcome or what left the call cannot be recorded, or the result not stored.
    pub async fn release(self, sink: &mut dyn ArtefactSink) -> Result<Released, ReleaseError> {
        let Self {
            mut open,
            end,
            tee,
            leftover,
            sandbox,
            store,
            why,
            beside,
            wrong,
            crossings,
        } = self;
        let decision = open.facts.decision;
        if let Err(source) = crossings {
            leftover.hand_out().await;
            // Nobody says that it went well: given up here, it is recorded as unknown.
            return Err(ReleaseError::Way { decision, source });
        }
        let (artefacts, mut trouble) = match &end {
            // What it made goes with it.
            End::Ran(ended) if ended.cause == Cause::Violation => {
                drop(sandbox);
                (Vec::new(), None)
            }
            End::Ran(_) => match sandbox.collect(sink).await {
                Ok(artefacts) => (artefacts, None),
                Err(error) => (Vec::new(), Some(one_line(&error))),
            },
            End::Lost(_) | End::NotStarted(_) => {
                drop(sandbox);
                (Vec::new(), None)
            }
        };
        match &end {
            End::Lost(error) => trouble = Some(one_line(error)),
            End::NotStarted(Some(why)) => trouble = Some(why.clone()),
            End::NotStarted(None) | End::Ran(_) => {}
        }
        if let Some(wrong) = wrong {
            trouble.get_or_insert(wrong);
        }
        if let Some(beside) = beside {
            trouble.get_or_insert(beside);
        }
        if let Some(why) = why {
            trouble = Some(format!("it was stopped: {why}"));
        }
        let outcome = outcome(&end, artefacts);
        let (streams, output) = tee.finish();
        let observed = Observed {
            streams: Some(streams),
            trouble,
        };
        let receipt = open
            .close(&outcome, &observed)
            .map_err(|source| ReleaseError::Outcome { decision, source })?;
        if let Some(store) = store {
            let stored = settle(&store, &open, &end, &outcome, output).await;
            stored.map_err(|source| ReleaseError::Result { decision, source })?;
        }
        leftover.hand_out().await;
        Ok(Released::ran(
            open.facts,
            outcome,
            receipt,
            observed.trouble,
        ))
    }
}

/// Ends the claim on the call's idempotency key.
async fn settle<I: Idempotency>(
    store: &I,
    open: &OpenCall<'_>,
    end: &End,
    outcome: &Outcome,
    output: Option<Output>,
) -> Result<(), RecordError> {
    let decision = open.facts.decision;
    let ended = if matches!(end, End::NotStarted(_)) {
        store.release(decision).await
    } else if outcome.status == OutcomeStatus::Unknown {
        store.mark_unknown(decision).await
    } else {
        let result = match output {
            Some(output) => Stored::seal(&open.facts, outcome.clone(), output, open.journal)?,
            None => None,
        };
        store.finish(decision, result.as_ref()).await
    };
    ended.map_err(RecordError::Store)
}

/// What the record says of an end: a success is a program that ended by itself with exit code 0.
fn outcome(end: &End, artefacts: Vec<Artefact>) -> Outcome {
    let ended = match end {
        End::Ran(ended) => ended.clone(),
        End::Lost(_) => nothing(Cause::SandboxLost),
        End::NotStarted(_) => nothing(Cause::Cancelled),
    };
    let status = match (ended.cause, ended.exit) {
        (Cause::Completed, Some(Exit::Code(0))) => OutcomeStatus::Succeeded,
        (Cause::SandboxLost, _) => OutcomeStatus::Unknown,
        _ => OutcomeStatus::Failed,
    };
    Outcome {
        status,
        cause: ended.cause,
        exit: ended.exit,
        usage: ended.usage,
        stdout_bytes: ended.stdout_bytes,
        stderr_bytes: ended.stderr_bytes,
        results_bytes: ended.results_bytes,
        output_truncated: ended.output_truncated,
        denied: ended.denied,
        violations: ended.violations,
        artefacts,
    }
}

fn nothing(cause: Cause) -> ports::Ended {
    ports::Ended {
        cause,
        exit: None,
        usage: Usage::default(),
        stdout_bytes: 0,
        stderr_bytes: 0,
        results_bytes: 0,
        output_truncated: false,
        denied: Vec::new(),
        violations: Vec::new(),
    }
}

impl<S, I> fmt::Debug for Ended<'_, S, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Ended").field(&self.open.facts).finish()
    }
}
