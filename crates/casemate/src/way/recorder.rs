//! Decisions of the proxy in the log of the call. What cannot be recorded ends the way out.

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use casemate_egress::{Pending, Record, RecordError, Recorder, Stage};
use casemate_gateway::{self as gateway, Crossing, CrossingContent, Facts, Journal};
use casemate_model::DeniedAttempt;
use tokio::sync::watch;

/// The most records of one call, beside how its requests ended: a program that wants more has no way out any more.
const MAX_RECORDS: u64 = 20_000;
/// The most different refusals that are listed; more are counted together.
const MAX_LISTED: usize = 256;

/// Where the records of one call are written.
pub(super) trait Log: fmt::Debug + Send + Sync {
    /// Writes one, durably.
    ///
    /// # Errors
    /// When it is not written.
    fn write(&self, crossing: &Crossing) -> Result<(), gateway::RecordError>;
}

/// The records of the call of `facts`, in `journal`.
#[derive(Debug)]
pub(super) struct CallLog {
    pub(super) facts: Facts,
    pub(super) journal: Arc<Journal>,
}

impl Log for CallLog {
    fn write(&self, crossing: &Crossing) -> Result<(), gateway::RecordError> {
        self.journal.crossing(&self.facts, crossing).map(drop)
    }
}

/// What is not written.
#[derive(Debug, Default)]
struct State {
    /// Records of which the log must say yet: refusals, and how what was sent ended.
    owed: AtomicU64,
    failed: AtomicBool,
}

/// Not all that was decided on the way out is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unwritten {
    /// The log did not take something.
    #[error("what the call did on its way out cannot be recorded")]
    Failed,
    /// The log has not taken everything in time.
    #[error("{0} records of what the call did on its way out were not written in time")]
    Pending(u64),
}

/// Keeps the records of one call.
#[derive(Debug)]
pub(super) struct Records {
    log: Arc<dyn Log>,
    taken: AtomicU64,
    state: Arc<State>,
    denied: Mutex<BTreeMap<String, u64>>,
    broken: watch::Sender<bool>,
}

impl Records {
    /// Those that are written to `log`.
    pub(super) fn new(log: Arc<dyn Log>) -> Self {
        Self {
            log,
            taken: AtomicU64::new(0),
            state: Arc::default(),
            denied: Mutex::default(),
            broken: watch::Sender::new(false),
        }
    }

    /// Ends when something could not be recorded.
    pub(super) async fn broken(&self) {
        let mut broken = self.broken.subscribe();
        // The sender is as old as this.
        let _ = broken.wait_for(|broken| *broken).await;
    }

    /// Whether all is written.
    ///
    /// # Errors
    /// When it is not.
    pub(super) fn settled(&self) -> Result<(), Unwritten> {
        if self.state.failed.load(Ordering::SeqCst) {
            return Err(Unwritten::Failed);
        }
        match self.state.owed.load(Ordering::SeqCst) {
            0 => Ok(()),
            owed => Err(Unwritten::Pending(owed)),
        }
    }

    /// What was refused, and how often.
    pub(super) fn denied(&self) -> Vec<DeniedAttempt> {
        let denied = self.denied.lock().unwrap_or_else(PoisonError::into_inner);
        let attempt = |(what, count): (&String, &u64)| DeniedAttempt {
            kind: "egress".to_owned(),
            what: what.clone(),
            count: *count,
        };
        denied.iter().map(attempt).collect()
    }

    fn count(&self, record: &Record) {
        let Stage::Denied(code) = record.stage else {
            return;
        };
        let code = record.because.unwrap_or(code.as_str());
        let what = match &record.target {
            Some(target) => format!("{target} {code}"),
            None => code.to_owned(),
        };
        let mut denied = self.denied.lock().unwrap_or_else(PoisonError::into_inner);
        let what = if denied.len() < MAX_LISTED || denied.contains_key(&what) {
            what
        } else {
            "others".to_owned()
        };
        let count = denied.entry(what).or_default();
        *count = count.saturating_add(1);
    }

    async fn write(&self, crossing: Crossing) -> Result<(), RecordError> {
        // What was sent has an end, and there are not more ends than requests.
        let is_end = matches!(crossing.stage, gateway::Stage::Ended(_));
        if !is_end
            && (*self.broken.borrow() || self.taken.fetch_add(1, Ordering::Relaxed) >= MAX_RECORDS)
        {
            return Err(RecordError);
        }
        if !is_end {
            self.state.owed.fetch_add(1, Ordering::SeqCst);
        }
        let (log, state) = (Arc::clone(&self.log), Arc::clone(&self.state));
        // Written, whether or not somebody still waits for it.
        let written = tokio::task::spawn_blocking(move || {
            let written = log.write(&crossing);
            match (&written, crossing.stage) {
                (Err(_), _) => state.failed.store(true, Ordering::SeqCst),
                // Now its end is owed.
                (Ok(()), gateway::Stage::Sent) => {}
                (Ok(()), gateway::Stage::Denied(_) | gateway::Stage::Ended(_)) => {
                    state.owed.fetch_sub(1, Ordering::SeqCst);
                }
            }
            written
        });
        match written.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(RecordError),
        }
    }
}

impl Recorder for Records {
    fn record<'a>(&'a self, record: &'a Record) -> Pending<'a, Result<(), RecordError>> {
        self.count(record);
        let crossing = crossing(record);
        Box::pin(async move {
            let written = self.write(crossing).await;
            if written.is_err() {
                self.broken.send_replace(true);
            }
            written
        })
    }
}

fn crossing(record: &Record) -> Crossing {
    let target = record.target.as_ref();
    Crossing {
        decision: record.decision,
        at_ms: record.at_ms,
        stage: match record.stage {
            Stage::Denied(code) => gateway::Stage::Denied(code.as_str()),
            Stage::Sent => gateway::Stage::Sent,
            Stage::Ended(code) => gateway::Stage::Ended(code.map(|code| code.as_str())),
        },
        because: record.because,
        entry: record.entry.as_str(),
        scheme: target.map(|target| target.scheme.as_str()),
        host: target.map(|target| target.host.to_string()),
        port: target.map(|target| target.port),
        class: record.class,
        rule: record.rule.clone(),
        side_effect: record.side_effect,
        method: record.method.clone(),
        credential: record.credential.clone(),
        status: record.status,
        bytes_out: record.bytes_out,
        bytes_in: record.bytes_in,
        hits: record.hits,
        sealed: CrossingContent {
            path: record.path.clone(),
            server_name: record.server_name.clone(),
            body: record.body,
            addresses: record.addresses.clone(),
        },
    }
}
