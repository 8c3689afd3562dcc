//! Those who write under a condition: one at a time in a session, so that what one of them looked at is still there when it writes.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use axum::http::StatusCode;
use casemate_model::{Reason, SessionId};
use tokio::{
    sync::{Mutex as Line, OwnedMutexGuard},
    time::timeout,
};

use crate::{
    limits::{MAX_WRITTEN_SESSIONS, WRITER_WAIT_MS},
    problem::Problem,
};

/// A writer's turn. Whatever writes holds it until that has ended, also if nobody waits for it any more.
pub(crate) type Alone = OwnedMutexGuard<()>;

/// Who is in line, session by session.
#[derive(Debug)]
pub(crate) struct Writers {
    lines: Mutex<HashMap<SessionId, Weak<Line<()>>>>,
    patience: Duration,
}

impl Default for Writers {
    fn default() -> Self {
        Self {
            lines: Mutex::default(),
            patience: Duration::from_millis(WRITER_WAIT_MS),
        }
    }
}

impl Writers {
    /// Waits for a turn in a session; only for those to whom it is known that it exists.
    pub(crate) async fn alone(&self, session: SessionId) -> Result<Alone, Problem> {
        let turn = self.line(session)?.lock_owned();
        timeout(self.patience, turn).await.map_err(|_| {
            let detail = "another writes to this session under a condition: try again later";
            Problem::new(StatusCode::CONFLICT, "file_busy", detail)
        })
    }

    fn line(&self, session: SessionId) -> Result<Arc<Line<()>>, Problem> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(line) = lines.get(&session).and_then(Weak::upgrade) {
            return Ok(line);
        }
        if lines.len() >= MAX_WRITTEN_SESSIONS {
            lines.retain(|_, line| line.strong_count() > 0);
        }
        if lines.len() >= MAX_WRITTEN_SESSIONS {
            let detail = format!("{MAX_WRITTEN_SESSIONS} sessions are written to under conditions");
            return Err(Problem::of_reason(Reason::Overloaded, detail));
        }
        let line = Arc::default();
        lines.insert(session, Arc::downgrade(&line));
        Ok(line)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use axum::response::IntoResponse as _;

    use super::*;

    fn session(number: u64) -> SessionId {
        SessionId::new(number, [0; 10])
    }

    /// Who has the turn in one session is in nobody's way in another, and those who wait for it do not wait for ever.
    #[tokio::test(start_paused = true)]
    async fn a_turn_is_of_one_session() {
        let writers = Writers::default();
        let held = writers.alone(session(0)).await.unwrap();
        let mut others = Vec::new();
        for number in 1..500 {
            others.push(writers.alone(session(number)).await.unwrap());
        }
        let refused = writers.alone(session(0)).await.unwrap_err();
        assert_eq!(refused.into_response().status(), StatusCode::CONFLICT);
        drop(held);
        writers.alone(session(0)).await.unwrap();
    }

    /// I15: there are so many lines, and those in which nobody stands make room.
    #[tokio::test]
    async fn lines_are_bounded() {
        let writers = Writers::default();
        let mut held = Vec::new();
        for number in 0..MAX_WRITTEN_SESSIONS as u64 {
            held.push(writers.alone(session(number)).await.unwrap());
        }
        let one_more = session(u64::from(u32::MAX));
        let refused = writers.alone(one_more).await.unwrap_err();
        assert_eq!(refused.into_response().status(), 503);
        held.pop();
        writers.alone(one_more).await.unwrap();
    }
}
