//! What is recorded of those who were refused: the first in each minute one by one, the rest counted, so that strangers can
//! neither be overlooked nor fill the disk.

use std::{
    collections::BTreeMap,
    mem,
    sync::{Arc, Mutex, PoisonError},
};

use casemate_callers::{Permission, Refusal, RefusalCode};
use casemate_gateway::{Operation, RecordError};
use casemate_model::{DecisionId, Reason};
use casemate_policy::{Claims, Verified};
use serde_json::{Value, json};
use tokio::time::{Duration, sleep};

use crate::{
    door::Asked,
    limits::{REFUSAL_MINUTE_MS, REFUSALS_A_MINUTE},
    routes::{Keeps, Remembers},
    state::Api,
    who::Who,
};

/// What is done when somebody is refused.
const WHAT: &str = "caller.refuse";

/// Somebody who was refused.
pub(crate) struct Refused {
    code: &'static str,
    operation: Operation,
    /// Who it was, if that is proven.
    claims: Option<Verified<Claims>>,
}

impl Refused {
    /// Somebody who is not believed.
    pub(crate) fn stranger(refusal: &Refusal, asked: &Asked) -> Self {
        let code = refusal.code();
        Self {
            code: code.as_str(),
            operation: operation(
                reason(code),
                refusal.to_string(),
                json!({
                    "code": code,
                    "peer": asked.peer,
                    "method": asked.method,
                    "endpoint": asked.endpoint,
                }),
            ),
            claims: None,
        }
    }

    /// Somebody whose certificate TLS did not accept: no request was heard.
    pub(crate) fn certificate(peer: &str, why: String) -> Self {
        let code = "certificate_not_accepted";
        let subject = json!({ "code": code, "peer": peer });
        Self {
            code,
            operation: operation(Reason::UntrustedIssuer, why, subject),
            claims: None,
        }
    }

    /// Somebody who is known, and may not do it.
    pub(crate) fn caller(who: &Who, permissions: &[Permission], asked: &Asked) -> Self {
        let detail = "none of the caller's roles may do it";
        Self::known(who, Reason::MissingScope, detail, permissions, asked)
    }

    /// Somebody who is known, and may not do it to what is another tenant's.
    pub(crate) fn tenant(who: &Who, asked: &Asked) -> Self {
        let detail = "it is another tenant's";
        Self::known(who, Reason::TenantBoundary, detail, &[], asked)
    }

    /// Somebody who is known, and may not do it to what is out of its bounds.
    pub(crate) fn bounds(who: &Who, asked: &Asked) -> Self {
        let detail = "it is out of the caller's bounds";
        Self::known(who, Reason::MissingScope, detail, &[], asked)
    }

    fn known(
        who: &Who,
        reason: Reason,
        detail: &str,
        permissions: &[Permission],
        asked: &Asked,
    ) -> Self {
        let code = RefusalCode::NotPermitted;
        let caller = who.get();
        Self {
            code: code.as_str(),
            operation: operation(
                reason,
                detail.to_owned(),
                json!({
                    "code": code,
                    "needs": permissions,
                    "roles": caller.roles(),
                    "authority": caller.authority(),
                    "credential": caller.credential(),
                    "behalf": caller.behalf(),
                    "peer": asked.peer,
                    "method": asked.method,
                    "endpoint": asked.endpoint,
                }),
            ),
            claims: Some(who.claims()),
        }
    }
}

const fn operation(reason: Reason, detail: String, subject: Value) -> Operation {
    Operation {
        what: WHAT,
        reason,
        detail,
        alert: false,
        subject,
    }
}

/// The reason of a refusal, in the words of decisions.
pub(crate) const fn reason(code: RefusalCode) -> Reason {
    match code {
        RefusalCode::Expired => Reason::ExpiredToken,
        RefusalCode::Audience => Reason::WrongAudience,
        RefusalCode::Tenant => Reason::TenantBoundary,
        RefusalCode::NotPermitted | RefusalCode::Wider => Reason::MissingScope,
        RefusalCode::Full | RefusalCode::KeysUnavailable => Reason::Overloaded,
        RefusalCode::Quota => Reason::QuotaExceeded,
        RefusalCode::Store | RefusalCode::Random => Reason::RecordUnavailable,
        _ => Reason::UntrustedIssuer,
    }
}

/// How many were refused: strangers and callers apart, so that none of the ones hides one of the others.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    strangers: Mutex<Tally>,
    callers: Mutex<Tally>,
}

/// The refusals of one minute.
#[derive(Debug, Default)]
struct Tally {
    since_ms: u64,
    written: u64,
    counted: BTreeMap<&'static str, u64>,
}

/// Refusals that were counted only.
#[derive(Debug, PartialEq, Eq)]
struct Counted {
    since_ms: u64,
    counts: BTreeMap<&'static str, u64>,
}

impl Tally {
    /// Whether the next refusal is written down by itself, and what was counted in the minute before.
    fn next(&mut self, code: &'static str, now_ms: u64) -> (bool, Option<Counted>) {
        let before = self.over(now_ms);
        let by_itself = self.written < REFUSALS_A_MINUTE;
        match by_itself {
            true => self.written += 1,
            false => self.count(code, 1),
        }
        (by_itself, before)
    }

    /// What was counted, if its minute is over. A clock that jumps, either way, ends it.
    fn over(&mut self, now_ms: u64) -> Option<Counted> {
        if now_ms.abs_diff(self.since_ms) < REFUSAL_MINUTE_MS {
            return None;
        }
        let before = self.take();
        (self.since_ms, self.written) = (now_ms, 0);
        before
    }

    fn take(&mut self) -> Option<Counted> {
        let counts = mem::take(&mut self.counted);
        let since_ms = self.since_ms;
        (!counts.is_empty()).then_some(Counted { since_ms, counts })
    }

    fn count(&mut self, code: &'static str, more: u64) {
        let count = self.counted.entry(code).or_default();
        *count = count.saturating_add(more);
    }
}

impl<K: Keeps, P: Remembers> Api<K, P> {
    /// Puts a refusal on record, or counts it.
    pub(crate) async fn note_refusal(self: &Arc<Self>, refused: Refused) {
        let api = Arc::clone(self);
        // Writes to the disk. If it dies, the request is refused all the same.
        drop(tokio::task::spawn_blocking(move || api.write_refusal(refused)).await);
    }

    fn write_refusal(&self, refused: Refused) {
        let tally = match refused.claims {
            Some(_) => &self.refusals.callers,
            None => &self.refusals.strangers,
        };
        let now_ms = self.sessions.clock().now_ms();
        let (by_itself, before) = lock(tally).next(refused.code, now_ms);
        self.write_counted(tally, before);
        if by_itself
            && self
                .record(refused.operation, refused.claims.as_ref())
                .is_err()
        {
            lock(tally).count(refused.code, 1);
        }
    }

    fn record(
        &self,
        operation: Operation,
        claims: Option<&Verified<Claims>>,
    ) -> Result<DecisionId, RecordError> {
        let journal = self.sessions.journal();
        match claims {
            Some(claims) => journal.refuse_operation(operation, claims),
            None => journal.refuse_stranger(operation),
        }
    }

    /// Records what was counted. What cannot be recorded is counted on.
    fn write_counted(&self, tally: &Mutex<Tally>, counted: Option<Counted>) {
        let Some(Counted { since_ms, counts }) = counted else {
            return;
        };
        let total: u64 = counts.values().sum();
        let detail = format!("{total} more were refused in the minute from {since_ms} on");
        let subject = json!({ "since_ms": since_ms, "total": total, "codes": counts });
        if self
            .record(operation(Reason::UntrustedIssuer, detail, subject), None)
            .is_err()
        {
            let mut tally = lock(tally);
            for (code, count) in counts {
                tally.count(code, count);
            }
        }
    }

    /// Records what was counted in minutes that are over, for as long as it is polled.
    pub async fn look_after_refusals(self: &Arc<Self>) -> std::convert::Infallible {
        loop {
            sleep(Duration::from_millis(REFUSAL_MINUTE_MS)).await;
            let api = Arc::clone(self);
            let written = tokio::task::spawn_blocking(move || {
                let now_ms = api.sessions.clock().now_ms();
                for tally in [&api.refusals.strangers, &api.refusals.callers] {
                    let counted = lock(tally).over(now_ms);
                    api.write_counted(tally, counted);
                }
            });
            drop(written.await);
        }
    }

    /// Records what was counted so far: the last thing that a gateway does.
    pub fn write_refusals(&self) {
        for tally in [&self.refusals.strangers, &self.refusals.callers] {
            let counted = lock(tally).take();
            self.write_counted(tally, counted);
        }
    }
}

fn lock(tally: &Mutex<Tally>) -> std::sync::MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first are written, the rest counted to the last one, minute by minute, also when the clock jumps back.
    #[test]
    fn no_refusal_is_lost_and_few_are_written() {
        let mut tally = Tally::default();
        let (start, many) = (1_000_000_000, 10_000);
        let mut written = 0;
        for nth in 0..many {
            let code = if nth % 2 == 0 { "even" } else { "odd" };
            let (by_itself, before) = tally.next(code, start + nth);
            written += u64::from(by_itself);
            assert_eq!(before, None);
        }
        assert_eq!(written, REFUSALS_A_MINUTE);
        assert_eq!(written + tally.counted.values().sum::<u64>(), many);
        for jump in [start + REFUSAL_MINUTE_MS, start - REFUSAL_MINUTE_MS] {
            let counts = tally.counted.clone();
            let (by_itself, before) = tally.next("odd", jump);
            assert!(by_itself);
            assert_eq!(before.unwrap().counts, counts);
            assert_eq!(tally.written, 1);
            for _ in 0..REFUSALS_A_MINUTE {
                tally.next("odd", jump);
            }
            assert_eq!(tally.counted, [("odd", 1)].into());
        }
    }
}
