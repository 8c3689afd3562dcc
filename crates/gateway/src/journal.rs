//! The durable memory of calls: what is decided and what became of it.

use std::{collections::HashSet, sync::Arc, time::Duration};

use casemate_ledger::{Entry, Head, Kind, Ledger, OpenDecision, Receipt, Urgency};
use casemate_model::{DecisionId, Digest, Outcome};
use casemate_store::{Idempotency as _, Keys};
use tokio::{runtime::Handle, time::timeout};

use crate::{
    Clock, Entropy, Facts, RecordError, RecoverError, Stores,
    entry::{self, Observed},
};

/// How long the end of a request may wait for a record that has to be flushed anyway.
const LINGER: Duration = Duration::from_millis(2);

/// The ledger, and the keys by which the content of its records is sealed.
#[derive(Debug)]
pub struct Journal {
    ledger: Arc<Ledger>,
    pub(crate) keys: Keys,
    pub(crate) clock: Box<dyn Clock>,
    entropy: Box<dyn Entropy>,
}

/// What the content of a record is bound to, beside its key: it cannot be moved to another record.
#[must_use]
pub fn content_aad(decision: DecisionId, kind: Kind) -> Vec<u8> {
    aad(decision, kind_word(kind))
}

pub(crate) fn aad(decision: DecisionId, kind: &str) -> Vec<u8> {
    format!("{decision}/{kind}").into_bytes()
}

const fn kind_word(kind: Kind) -> &'static str {
    match kind {
        Kind::Allowed => "allowed",
        Kind::Denied => "denied",
        Kind::Held => "held",
        Kind::Outcome => "outcome",
        Kind::Erased => "erased",
        Kind::Event => "event",
    }
}

impl Journal {
    /// A journal in `ledger`.
    #[must_use]
    pub fn new(
        ledger: Ledger,
        keys: Keys,
        clock: Box<dyn Clock>,
        entropy: Box<dyn Entropy>,
    ) -> Self {
        Self {
            ledger: Arc::new(ledger),
            keys,
            clock,
            entropy,
        }
    }

    /// Closes the decisions that dead processes left open: their outcome is unknown, and a repeat under
    /// their idempotency key is refused. Call it before the first call; costs one look when all is closed.
    ///
    /// # Errors
    /// When the ledger does not answer: nothing may run then.
    pub async fn recover<P: Stores>(&self, stores: &P) -> Result<Vec<DecisionId>, RecoverError> {
        self.close_those(stores, |open| !open.owner.is_alive())
            .await
    }

    /// Closes every decision that is open, as [`Journal::recover`] does. Call it in a copy of the log: whose decisions they are ends
    /// them in the log that it was copied from, also while it lives.
    ///
    /// # Errors
    /// When the ledger does not answer.
    pub async fn close_all<P: Stores>(&self, stores: &P) -> Result<Vec<DecisionId>, RecoverError> {
        self.close_those(stores, |_| true).await
    }

    async fn close_those<P: Stores>(
        &self,
        stores: &P,
        lost: impl Fn(&OpenDecision) -> bool,
    ) -> Result<Vec<DecisionId>, RecoverError> {
        let mut closed = Vec::new();
        for open in self.ledger.open_decisions().map_err(RecoverError::List)? {
            if !lost(&open) {
                continue;
            }
            let decision = open.decision;
            if let Ok(Some(store)) = stores.find(&open.agent).await {
                // A key that stays claimed without an open decision behind it is found out by its next claim.
                drop(store.mark_unknown(decision).await);
            }
            let lost = self.lose(decision, open.agent, open.tenant);
            if lost
                .map_err(|source| RecoverError::Close { decision, source })?
                .is_some()
            {
                closed.push(decision);
            }
        }
        Ok(closed)
    }

    /// The log.
    pub(crate) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// How far the log has got; nothing while it is empty.
    ///
    /// # Errors
    /// When the log cannot be read or was damaged: nothing may run then.
    pub fn head(&self) -> Result<Option<Head>, RecordError> {
        self.ledger.head().map_err(RecordError::Append)
    }

    /// The decisions about this agent that have no outcome yet, with the processes that answer for them.
    ///
    /// # Errors
    /// When the ledger does not answer.
    pub fn open_of(&self, agent: &str) -> Result<Vec<OpenDecision>, RecordError> {
        let open = self.ledger.open_decisions().map_err(RecordError::Append)?;
        Ok(open.into_iter().filter(|one| one.agent == agent).collect())
    }

    /// Whether the ledger still waits for the outcome of `decision`.
    pub(crate) fn is_open(&self, decision: DecisionId) -> Result<bool, RecordError> {
        let open = self.ledger.open_decisions().map_err(RecordError::Append)?;
        Ok(open.iter().any(|open| open.decision == decision))
    }

    /// What the log says of these calls.
    pub(crate) fn said_of(
        &self,
        decisions: &HashSet<DecisionId>,
    ) -> Result<HashSet<(DecisionId, Kind)>, RecordError> {
        self.ledger.said_of(decisions).map_err(RecordError::Read)
    }

    /// Records what was decided.
    pub(crate) fn decided(
        &self,
        facts: &Facts,
        kind: Kind,
        token: Option<Digest>,
    ) -> Result<Receipt, RecordError> {
        let summary = entry::decision(facts, token).map_err(RecordError::Encode)?;
        if kind != Kind::Denied
            && let Some(field) = entry::missing_field(facts.terms.as_ref(), &summary)
        {
            return Err(RecordError::MissingField(field.to_owned()));
        }
        let mut salt = [0; 16];
        self.fill(&mut salt)?;
        let content = entry::decision_content(facts, &salt).map_err(RecordError::Encode)?;
        self.append(facts, kind, summary, content.as_deref())
    }

    /// Records what became of a call.
    pub(crate) fn ended(
        &self,
        facts: &Facts,
        outcome: &Outcome,
        observed: &Observed,
    ) -> Result<Receipt, RecordError> {
        let summary = entry::outcome(facts, outcome).map_err(RecordError::Encode)?;
        let content = entry::outcome_content(outcome, observed).map_err(RecordError::Encode)?;
        self.append(facts, Kind::Outcome, summary, Some(&content))
    }

    /// Records that nobody knows what became of a call, unless that is known by now.
    pub(crate) fn lose(
        &self,
        decision: DecisionId,
        agent: String,
        tenant: String,
    ) -> Result<Option<Receipt>, RecordError> {
        let entry = Entry {
            at_ms: self.clock.now_ms(),
            decision,
            kind: Kind::Outcome,
            agent,
            tenant,
            summary: entry::lost().map_err(RecordError::Encode)?,
            payload: None,
        };
        self.ledger.close(entry).map_err(RecordError::Append)
    }

    /// Unpredictable bytes.
    pub(crate) fn fill(&self, bytes: &mut [u8]) -> Result<(), RecordError> {
        self.entropy.fill(bytes).map_err(RecordError::Entropy)
    }

    fn append(
        &self,
        facts: &Facts,
        kind: Kind,
        summary: serde_json::Value,
        content: Option<&[u8]>,
    ) -> Result<Receipt, RecordError> {
        let agent = &facts.ask.agent;
        let payload = content
            .map(|content| {
                let aad = content_aad(facts.decision, kind);
                self.keys
                    .seal(agent, &aad, content)
                    .map_err(RecordError::Seal)
            })
            .transpose()?;
        let entry = Entry {
            at_ms: self.clock.now_ms(),
            decision: facts.decision,
            kind,
            agent: agent.clone(),
            tenant: facts.tenant().to_owned(),
            summary,
            payload,
        };
        self.write(entry)
    }

    /// Begins to put an entry of a request of a call on disk; it is there when what this gives is ready. Needs a tokio runtime, which
    /// gives a thread to whoever commits.
    pub(crate) fn begin_request(
        &self,
        entry: Entry,
        urgency: Urgency,
    ) -> Result<impl Future<Output = Result<(), RecordError>> + Send + 'static, RecordError> {
        let (ledger, runtime) = (Arc::clone(&self.ledger), Handle::current());
        let begun = ledger.begin_request(entry, urgency, move |lead| {
            // Where there are no threads any more it is dropped, and what waits fails.
            drop(runtime.spawn_blocking(move || lead.commit()));
        });
        let mut written = begun.map_err(RecordError::Append)?;
        Ok(async move {
            if urgency == Urgency::Soon {
                if let Ok(written) = timeout(LINGER, &mut written).await {
                    return written.map(drop).map_err(RecordError::Append);
                }
                ledger.hasten();
            }
            written.await.map(drop).map_err(RecordError::Append)
        })
    }

    /// Puts an entry on disk.
    pub(crate) fn write(&self, entry: Entry) -> Result<Receipt, RecordError> {
        self.ledger.append(entry).map_err(RecordError::Append)
    }
}
