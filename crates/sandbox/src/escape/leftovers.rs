//! What may be left when everything of an attempt is destroyed: nothing.

use std::{collections::BTreeSet, time::Duration};

use tokio::time::Instant;

use super::{EscapeError, Traps, Way, family::Family, footprint::Footprint};

/// How long the kernel and the keeper may take to clear away after sessions.
const PATIENCE: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// What was there before.
#[derive(Debug)]
pub(super) struct Leftovers {
    footprint: Footprint,
    family: Family,
    /// What must stay: the session that is nobody's business.
    bystanders: BTreeSet<u32>,
}

impl Leftovers {
    pub(super) fn of_this_host() -> Result<Self, EscapeError> {
        let family = Family::of_this_process()?;
        Ok(Self {
            footprint: Footprint::of_this_host()?,
            bystanders: family.in_sessions(),
            family,
        })
    }

    /// What is not as it was: a finding each. Of sessions it is cleared away in the background.
    pub(super) async fn settle(&self, way: Way, traps: &Traps) -> Result<Vec<String>, EscapeError> {
        let start = Instant::now();
        loop {
            let mut findings = self.footprint.changes(traps)?;
            if findings.is_empty() || !way.is_in_session() {
                findings.extend(self.family.additions(traps.nonce())?);
                let here = Family::of_this_process()?.in_sessions();
                let gone = self.bystanders.difference(&here);
                findings.extend(gone.map(|pid| format!("process {pid} of somebody else is gone")));
            }
            if findings.is_empty() || !way.is_in_session() || start.elapsed() >= PATIENCE {
                return Ok(findings);
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}
