//! A sign of life while something takes long.

use std::{future::Future, time::Duration};

use crate::report;

/// How long something may take before anybody is told.
const PATIENCE: Duration = Duration::from_millis(300);

/// Waits for `work`. When it takes long, says so on the terminal, and takes that back at the end.
pub(crate) async fn show<T>(what: &str, work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    match tokio::time::timeout(PATIENCE, &mut work).await {
        Ok(done) => done,
        Err(_) => {
            report::write(format_args!("\x1b[2mcasemate: {what}…\x1b[0m"));
            let done = work.await;
            report::write(format_args!("\r\x1b[K"));
            done
        }
    }
}
