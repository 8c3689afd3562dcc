//! What is recorded of those who were refused: the first in each minute one by one, the rest counted, so that strangers can
//! neither be overlooked nor fill the disk.

use std::{
    collections::BTreeMap,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use casemate_callers::{Permission, Refusal, RefusalCode};
use casemate_gateway::{Operation, RecordError};
use casemate_model::{DecisionId, Reason};
use casemate_policy::{Claims, Verified};
use serde_json::{Value, json};
use tokio::time::{Duration, sleep};

use crate::{
    door::Asked,
    limits::{MAX_REFUSED_TENANTS, REFUSAL_MINUTE_MS, REFUSALS_A_MINUTE},
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
        RefusalCode::Full | RefusalCode::KeysUnavailable | RefusalCode::Died => Reason::Overloaded,
        RefusalCode::Quota => Reason::QuotaExceeded,
        RefusalCode::Store | RefusalCode::Random => Reason::RecordUnavailable,
        _ => Reason::UntrustedIssuer,
    }
}

/// Who was refused, as far as refusals are counted together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Whose {
    /// Those of whom nothing is proven.
    Strangers,
    /// The callers of a tenant.
    Tenant(String),
    /// The callers of tenants for whom there is no room.
    Others,
}

/// How many were refused: strangers and the callers of each tenant apart, so that none of the ones hides one of the others.
#[derive(Debug, Default)]
pub(crate) struct Refusals(Mutex<BTreeMap<Whose, Tally>>);

/// The refusals of one minute.
#[derive(Debug, Default)]
struct Tally {
    since_ms: u64,
    written: u64,
    counts: Counts,
}

/// How many refusals there were of each reason, and of each code with it.
type Counts = BTreeMap<Reason, BTreeMap<&'static str, u64>>;

/// Why somebody was refused.
#[derive(Clone, Copy, Debug)]
struct Why {
    reason: Reason,
    code: &'static str,
}

/// Refusals that were counted only.
#[derive(Debug, PartialEq, Eq)]
struct Counted {
    since_ms: u64,
    counts: Counts,
}

impl Tally {
    /// Whether the next refusal is written down by itself, and what was counted in the minute before.
    fn next(&mut self, why: Why, now_ms: u64) -> (bool, Option<Counted>) {
        let before = self.over(now_ms);
        let by_itself = self.written < REFUSALS_A_MINUTE;
        match by_itself {
            true => self.written += 1,
            false => self.count(why, 1),
        }
        (by_itself, before)
    }

    /// What was counted, if its minute is over. A clock that jumps, either way, ends it.
    fn over(&mut self, now_ms: u64) -> Option<Counted> {
        if !self.is_over(now_ms) {
            return None;
        }
        let before = self.take();
        (self.since_ms, self.written) = (now_ms, 0);
        before
    }

    const fn is_over(&self, now_ms: u64) -> bool {
        now_ms.abs_diff(self.since_ms) >= REFUSAL_MINUTE_MS
    }

    fn take(&mut self) -> Option<Counted> {
        let counts = mem::take(&mut self.counts);
        let since_ms = self.since_ms;
        (!counts.is_empty()).then_some(Counted { since_ms, counts })
    }

    fn count(&mut self, why: Why, more: u64) {
        let codes = self.counts.entry(why.reason).or_default();
        let count = codes.entry(why.code).or_default();
        *count = count.saturating_add(more);
    }
}

impl Refusals {
    fn tallies(&self) -> MutexGuard<'_, BTreeMap<Whose, Tally>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// With whom somebody of this tenant, or of none, is counted; and what [`Tally::next`] says.
    fn next(
        &self,
        tenant: Option<&str>,
        why: Why,
        now_ms: u64,
    ) -> (Whose, (bool, Option<Counted>)) {
        let mut tallies = self.tallies();
        let whose = match tenant {
            None => Whose::Strangers,
            Some(tenant) => {
                let whose = Whose::Tenant(tenant.to_owned());
                let has_room = tallies.len() < MAX_REFUSED_TENANTS || tallies.contains_key(&whose);
                if has_room { whose } else { Whose::Others }
            }
        };
        let next = tallies.entry(whose.clone()).or_default();
        let next = next.next(why, now_ms);
        (whose, next)
    }

    fn count(&self, whose: &Whose, why: Why, more: u64) {
        let mut tallies = self.tallies();
        let tally = tallies.entry(whose.clone()).or_default();
        tally.count(why, more);
    }

    /// What was counted in minutes that are over. Those of whom nothing was make room.
    fn over(&self, now_ms: u64) -> Vec<(Whose, Counted)> {
        let mut tallies = self.tallies();
        tallies.retain(|_, tally| !tally.counts.is_empty() || !tally.is_over(now_ms));
        let over = tallies.iter_mut();
        over.filter_map(|(whose, tally)| Some((whose.clone(), tally.over(now_ms)?)))
            .collect()
    }

    /// What was counted so far.
    fn take(&self) -> Vec<(Whose, Counted)> {
        let mut tallies = self.tallies();
        let all = tallies.iter_mut();
        all.filter_map(|(whose, tally)| Some((whose.clone(), tally.take()?)))
            .collect()
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
        let Refused {
            code,
            operation,
            claims,
        } = refused;
        let reason = operation.reason;
        let why = Why { reason, code };
        let tenant = claims.as_ref().map(|claims| claims.get().tenant.as_str());
        let now_ms = self.sessions.clock().now_ms();
        let (whose, (by_itself, before)) = self.refusals.next(tenant, why, now_ms);
        if let Some(before) = before {
            self.write_counted(&whose, before);
        }
        if by_itself && self.record(operation, claims.as_ref()).is_err() {
            self.refusals.count(&whose, why, 1);
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

    /// Records what was counted, each reason by itself. What cannot be recorded is counted on.
    fn write_counted(&self, whose: &Whose, Counted { since_ms, counts }: Counted) {
        let tenant = match whose {
            Whose::Tenant(tenant) => tenant.as_str(),
            Whose::Strangers | Whose::Others => "",
        };
        for (reason, codes) in counts {
            let total: u64 = codes.values().sum();
            let detail = format!("{total} more were refused in the minute from {since_ms} on");
            let subject = json!({ "since_ms": since_ms, "total": total, "codes": codes });
            let operation = operation(reason, detail, subject);
            let journal = self.sessions.journal();
            if journal
                .refuse_several(operation, tenant.to_owned())
                .is_err()
            {
                for (code, count) in codes {
                    self.refusals.count(whose, Why { reason, code }, count);
                }
            }
        }
    }

    /// Records what was counted in minutes that are over, for as long as it is polled.
    pub async fn look_after_refusals(self: &Arc<Self>) -> std::convert::Infallible {
        loop {
            sleep(Duration::from_millis(REFUSAL_MINUTE_MS)).await;
            let api = Arc::clone(self);
            let written = tokio::task::spawn_blocking(move || {
                for (whose, counted) in api.refusals.over(api.sessions.clock().now_ms()) {
                    api.write_counted(&whose, counted);
                }
            });
            drop(written.await);
        }
    }

    /// Records what was counted so far: the last thing that a gateway does.
    pub fn write_refusals(&self) {
        for (whose, counted) in self.refusals.take() {
            self.write_counted(&whose, counted);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(code: &'static str) -> Why {
        let reason = Reason::MissingScope;
        Why { reason, code }
    }

    /// The first are written, the rest counted to the last one, minute by minute, also when the clock jumps back.
    #[test]
    fn no_refusal_is_lost_and_few_are_written() {
        let mut tally = Tally::default();
        let (start, many) = (1_000_000_000, 10_000);
        let mut written = 0;
        for nth in 0..many {
            let code = if nth % 2 == 0 { "even" } else { "odd" };
            let (by_itself, before) = tally.next(why(code), start + nth);
            written += u64::from(by_itself);
            assert_eq!(before, None);
        }
        assert_eq!(written, REFUSALS_A_MINUTE);
        let counted: u64 = tally.counts.values().flat_map(BTreeMap::values).sum();
        assert_eq!(written + counted, many);
        for jump in [start + REFUSAL_MINUTE_MS, start - REFUSAL_MINUTE_MS] {
            let counts = tally.counts.clone();
            let (by_itself, before) = tally.next(why("odd"), jump);
            assert!(by_itself);
            assert_eq!(before.unwrap().counts, counts);
            assert_eq!(tally.written, 1);
            for _ in 0..REFUSALS_A_MINUTE {
                tally.next(why("odd"), jump);
            }
            let odd = [("odd", 1)].into();
            assert_eq!(tally.counts, [(Reason::MissingScope, odd)].into());
        }
    }

    /// There are no more tallies than there may be, whoever has no room is counted all the same, and those who are quiet make it.
    #[test]
    fn tenants_are_bounded() {
        let refusals = Refusals::default();
        let start = 1_000_000_000;
        for nth in 0..2 * MAX_REFUSED_TENANTS {
            let tenant = format!("t{nth}");
            let (whose, (by_itself, _)) = refusals.next(Some(&tenant), why("x"), start);
            let has_room = nth < MAX_REFUSED_TENANTS;
            assert_eq!(whose == Whose::Others, !has_room, "{nth}");
            let alone = nth as u64 - MAX_REFUSED_TENANTS as u64 * u64::from(!has_room);
            assert_eq!(by_itself, has_room || alone < REFUSALS_A_MINUTE, "{nth}");
        }
        assert_eq!(refusals.tallies().len(), MAX_REFUSED_TENANTS + 1);
        let left = refusals.over(start + REFUSAL_MINUTE_MS);
        assert_eq!(left.len(), 1);
        assert_eq!(
            left[0].1.counts[&Reason::MissingScope]["x"],
            MAX_REFUSED_TENANTS as u64 - REFUSALS_A_MINUTE
        );
        let (whose, _) = refusals.next(Some("late"), why("x"), start + REFUSAL_MINUTE_MS);
        assert_eq!(whose, Whose::Tenant("late".to_owned()));
    }
}
