//! Those who read the log: few at a time, each until it has read, whoever waits for it.

use std::{sync::Arc, time::Duration};

use casemate_model::Reason;
use tokio::{sync::Semaphore, task::spawn_blocking, time::timeout};

use crate::{
    limits::{LOG_READER_WAIT_MS, MAX_LOG_READERS},
    problem::Problem,
};

/// Places for readers.
#[derive(Debug)]
pub(crate) struct Readers {
    places: Arc<Semaphore>,
    patience: Duration,
}

impl Default for Readers {
    fn default() -> Self {
        Self {
            places: Arc::new(Semaphore::new(MAX_LOG_READERS)),
            patience: Duration::from_millis(LOG_READER_WAIT_MS),
        }
    }
}

impl Readers {
    /// Reads on a thread that may block. Its place is taken until that has ended, also if nobody waits for it any more.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let place = Arc::clone(&self.places).acquire_owned();
        let place = timeout(self.patience, place).await.map_err(|_| {
            let detail = format!("{MAX_LOG_READERS} others read the ledger: try again later");
            Problem::of_reason(Reason::Overloaded, detail)
        })?;
        let place = place.map_err(|error| Problem::failed(error.to_string()))?;
        let read = spawn_blocking(move || {
            let _place = place;
            job()
        });
        read.await
            .map_err(|error| Problem::failed(error.to_string()))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::sync::mpsc;

    use axum::{http::header, response::IntoResponse as _};

    use super::*;

    /// Whoever hangs up does not make room for one more who reads: the reading goes on.
    #[tokio::test]
    async fn a_place_is_taken_until_the_reading_ends() {
        let readers = Arc::new(Readers {
            patience: Duration::from_millis(5),
            ..Readers::default()
        });
        let (begun, mut begins) = tokio::sync::mpsc::unbounded_channel();
        let mut reading = Vec::new();
        for _ in 0..MAX_LOG_READERS {
            let (end, ends) = mpsc::channel::<()>();
            let (readers, begun) = (Arc::clone(&readers), begun.clone());
            let client = tokio::spawn(async move {
                let job = move || {
                    begun.send(()).unwrap();
                    ends.recv().unwrap_err();
                };
                drop(readers.run(job).await);
            });
            begins.recv().await.unwrap();
            client.abort();
            client.await.unwrap_err();
            reading.push(end);
        }
        let refused = readers.run(|| ()).await.unwrap_err().into_response();
        assert_eq!(refused.status(), 503);
        assert!(refused.headers().contains_key(header::RETRY_AFTER));
        reading.pop();
        while readers.run(|| ()).await.is_err() {}
    }
}
