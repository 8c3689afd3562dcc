//! Decisions of the proxy, for whoever keeps the record of the call. What cannot be recorded ends the way out.

use std::sync::Arc;

use casemate_egress::{Pending, Record, RecordError, Recorder, Stage};
use casemate_ports::{self as ports, Crossing, CrossingContent, Witness};
use tokio::sync::{mpsc, watch};

use super::known::Known;

/// Passes on the records of one call.
#[derive(Debug)]
pub(super) struct Records {
    witness: Arc<dyn Witness>,
    broken: watch::Sender<bool>,
    /// Learns where destinations answer.
    known: Arc<Known>,
    /// Closed when the last of those who write records is gone.
    _alive: mpsc::Sender<()>,
}

/// What becomes of the records of one call.
#[derive(Debug)]
pub(super) struct Watch {
    broken: watch::Receiver<bool>,
    alive: mpsc::Receiver<()>,
}

impl Records {
    /// For `witness`; `known` learns from them.
    pub(super) fn new(witness: Arc<dyn Witness>, known: Arc<Known>) -> (Self, Watch) {
        let (broken, watched) = watch::channel(false);
        let (alive, watched_alive) = mpsc::channel(1);
        let records = Self {
            witness,
            broken,
            known,
            _alive: alive,
        };
        let watch = Watch {
            broken: watched,
            alive: watched_alive,
        };
        (records, watch)
    }

    async fn write(&self, crossing: Crossing) -> Result<(), RecordError> {
        // What was sent has an end, whatever else is not recorded.
        let is_end = matches!(crossing.stage, ports::Stage::Ended(_));
        if !is_end && *self.broken.borrow() {
            return Err(RecordError);
        }
        let written = self.witness.record(crossing).await;
        written.map_err(|_| {
            self.broken.send_replace(true);
            RecordError
        })
    }
}

impl Watch {
    /// Comes when something could not be recorded.
    pub(super) async fn broken(&mut self) {
        if self.broken.wait_for(|broken| *broken).await.is_err() {
            // Nobody is left who could fail.
            std::future::pending().await
        }
    }

    /// Whether something could not be recorded.
    pub(super) fn is_broken(&self) -> bool {
        *self.broken.borrow()
    }

    /// Comes when nobody is left who writes records: the last has been written, or could not be.
    pub(super) async fn settled(&mut self) {
        while self.alive.recv().await.is_some() {}
    }
}

impl Recorder for Records {
    fn record<'a>(&'a self, record: &'a Record) -> Pending<'a, Result<(), RecordError>> {
        // Before its sender, who has the answer, asks again; it is known once that is on record.
        let settling = self.known.begin(record);
        Box::pin(async move {
            self.write(crossing(record)).await?;
            if let Some(settling) = settling {
                settling.learn();
            }
            Ok(())
        })
    }
}

fn crossing(record: &Record) -> Crossing {
    let target = record.target.as_ref();
    Crossing {
        decision: record.decision,
        at_ms: record.at_ms,
        stage: match record.stage {
            Stage::Denied(code) => ports::Stage::Denied(code.as_str().into()),
            Stage::Sent => ports::Stage::Sent,
            Stage::Ended(code) => ports::Stage::Ended(code.map(|code| code.as_str().into())),
        },
        because: record.because.map(Into::into),
        entry: record.entry.as_str().into(),
        scheme: target.map(|target| target.scheme.as_str().into()),
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
