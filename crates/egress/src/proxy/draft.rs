//! A record while it is being made. Each decision has one, and whatever happens it is closed once.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU64, Ordering},
};

use tokio::time::timeout;

use super::{Inner, Place};
use crate::{Code, Denial, Entry, Origin, Record, Stage, limits::PLACE_TIMEOUT};

/// The record of one decision. Dropped without an end, it says that the client went away.
pub(crate) struct Draft {
    inner: Arc<Inner>,
    pub(crate) record: Record,
    pub(crate) moved: Arc<Moved>,
    /// Its place among the requests of the agent, until its end is recorded.
    place: Option<Place>,
    sent: bool,
    closed: bool,
}

/// What moved outwards, where the sender of it can see it; and why it stopped.
#[derive(Debug, Default)]
pub(crate) struct Moved {
    pub(crate) bytes: AtomicU64,
    pub(crate) why: OnceLock<Code>,
}

impl Draft {
    /// A record of something that begins now; `None` when it cannot even be named.
    pub(crate) fn open(inner: &Arc<Inner>, origin: Origin, entry: Entry) -> Option<Self> {
        let mut entropy = [0; 4];
        inner.entropy.fill(&mut entropy).ok()?;
        let at_ms = inner.clock.now_ms();
        let decision = origin.call.request(at_ms, entropy);
        let record = Record {
            decision,
            at_ms,
            origin,
            stage: Stage::Denied(Code::ClientGone),
            because: None,
            entry,
            target: None,
            server_name: None,
            class: None,
            rule: None,
            side_effect: None,
            method: None,
            path: None,
            body: None,
            addresses: Vec::new(),
            credential: None,
            status: None,
            bytes_out: 0,
            bytes_in: 0,
            hits: 0,
        };
        Some(Self {
            inner: Arc::clone(inner),
            record,
            moved: Arc::default(),
            place: None,
            sent: false,
            closed: false,
        })
    }

    /// Takes a place among the requests of the call and of the agent, if there is one or will soon be: a client may open a stream
    /// as soon as another one has ended, which is not yet recorded.
    pub(crate) async fn enter(&mut self) -> Result<(), Code> {
        let Inner { share, room, .. } = &*self.inner;
        let place = Place::wait(&share.requests, &room.requests);
        let place = timeout(PLACE_TIMEOUT, place).await.ok().flatten();
        self.place = Some(place.ok_or(Code::TooMany)?);
        Ok(())
    }

    /// Writes down that it is about to be sent. Only then may it be.
    pub(crate) async fn sent(&mut self) -> Result<(), Code> {
        // Whoever gives up while this is written does not know whether it was.
        self.sent = true;
        self.record.stage = Stage::Sent;
        self.record.at_ms = self.inner.clock.now_ms();
        self.record.bytes_out = self.moved.bytes.load(Ordering::Relaxed);
        let written = self.inner.recorder.record(&self.record).await;
        self.sent = written.is_ok();
        written.map_err(|_| Code::RecordUnavailable)
    }

    /// Writes down that it was refused, or broke if it was sent.
    pub(crate) async fn deny(&mut self, denial: &Denial) {
        self.record.because = denial.because;
        if denial.rule.is_some() {
            self.record.rule.clone_from(&denial.rule);
        }
        if let Some(written) = self.close(Some(denial.code)) {
            // It is written even if nobody waits for it; that it cannot be is the recorder's to report.
            let _ = written.await;
        }
    }

    /// Writes down how it ended, without waiting.
    pub(crate) fn end(&mut self, code: Option<Code>) {
        drop(self.close(code));
    }

    fn close(&mut self, code: Option<Code>) -> Option<tokio::task::JoinHandle<()>> {
        if std::mem::replace(&mut self.closed, true) {
            return None;
        }
        let mut record = self.record.clone();
        record.at_ms = self.inner.clock.now_ms();
        record.bytes_out = match self.sent {
            true => self.moved.bytes.load(Ordering::Relaxed),
            false => 0,
        };
        record.stage = match self.sent {
            true => Stage::Ended(code),
            false => Stage::Denied(code.unwrap_or(Code::ClientGone)),
        };
        let recorder = Arc::clone(&self.inner.recorder);
        let place = self.place.take();
        // Outside of a runtime nobody is left to write.
        let runtime = tokio::runtime::Handle::try_current().ok()?;
        Some(runtime.spawn(async move {
            // That it cannot be written is the recorder's to report: what was to be refused is refused.
            let _ = recorder.record(&record).await;
            drop(place);
        }))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        self.end(Some(Code::ClientGone));
    }
}
