//! Records in a log, for whoever cannot wait in a thread: as the gateway writes them.

use std::{sync::Arc, time::Duration};

use casemate_ledger::{Entry, Kind, Ledger, LedgerError, Urgency};
use tokio::{runtime::Handle, time::timeout};

/// How long an outcome may wait for a record that has to be flushed anyway.
const LINGER: Duration = Duration::from_millis(2);

/// Appends an entry of a request. When this comes back without an error it is on disk.
pub(crate) async fn append(ledger: &Arc<Ledger>, entry: Entry) -> Result<(), LedgerError> {
    let urgency = match entry.kind {
        Kind::Outcome => Urgency::Soon,
        _ => Urgency::Now,
    };
    let runtime = Handle::current();
    let mut written = ledger.begin_request(entry, urgency, move |lead| {
        drop(runtime.spawn_blocking(move || lead.commit()));
    })?;
    if urgency == Urgency::Soon {
        if let Ok(written) = timeout(LINGER, &mut written).await {
            return written.map(drop);
        }
        ledger.hasten();
    }
    written.await.map(drop)
}
