//! Idempotency keys: the same key and the same call run once (R142).

use casemate_model::{DecisionId, Digest, Reason, one_line};
use casemate_store::{Claim, Claimed, Idempotency as _, StoreError};

use crate::{Facts, Journal, Stores, limits::CLAIM_GRACE_MS, stored::Stored};

/// How a call stands under its idempotency key.
pub(crate) enum Standing<I> {
    /// It has none.
    Free,
    /// It is the first.
    Claimed(I),
    /// It ran.
    Done(Stored),
    /// It may not run.
    Denied(Reason, String),
}

pub(crate) async fn claim<P: Stores>(
    facts: &Facts,
    action: Digest,
    journal: &Journal,
    stores: &P,
) -> Standing<P::Store> {
    let Some(key) = facts.ask.given_key() else {
        return Standing::Free;
    };
    let claim = Claim {
        tenant: facts.tenant(),
        tool: &facts.ask.tool,
        key,
        action,
        decision: facts.decision,
        at_ms: journal.clock.now_ms(),
    };
    let claimed = async {
        let store = stores.open(&facts.ask.agent).await?;
        let claimed = store.claim(&claim).await?;
        Ok::<_, StoreError>((store, claimed))
    };
    let (store, claimed) = match claimed.await {
        Ok(claimed) => claimed,
        Err(error) => return unavailable(&error),
    };
    match claimed {
        Claimed::New => Standing::Claimed(store),
        Claimed::Finished { decision, result } => {
            match Stored::open(decision, result.as_ref(), &facts.ask.agent, journal) {
                Ok(stored) => Standing::Done(stored),
                Err(why) => Standing::Denied(Reason::IdempotencyConflict, why),
            }
        }
        Claimed::InFlight { decision } => in_flight(decision, journal, stores, &store).await,
        Claimed::Unknown { decision } => unknown(decision),
        Claimed::Conflict { decision } => Standing::Denied(
            Reason::IdempotencyConflict,
            format!("the key belongs to another call, {decision}"),
        ),
    }
}

/// A claim whose call has not ended, as far as anybody said. If its call is neither open in the ledger nor
/// about to be recorded, its process died in between: nobody will ever say how it ended.
async fn in_flight<P: Stores>(
    decision: DecisionId,
    journal: &Journal,
    stores: &P,
    store: &P::Store,
) -> Standing<P::Store> {
    let lost = match journal.recover(stores).await {
        Ok(lost) => lost,
        Err(error) => return unavailable(&error),
    };
    let age_ms = journal.clock.now_ms().saturating_sub(made_at_ms(decision));
    match journal.is_open(decision) {
        Ok(false) if lost.contains(&decision) || age_ms > CLAIM_GRACE_MS => {
            match store.mark_unknown(decision).await {
                Ok(()) | Err(StoreError::ClaimEnded { .. } | StoreError::NoClaim { .. }) => {
                    unknown(decision)
                }
                Err(error) => unavailable(&error),
            }
        }
        Ok(_) => Standing::Denied(Reason::CallInFlight, format!("{decision} has not ended")),
        Err(error) => unavailable(&error),
    }
}

fn unknown<I>(decision: DecisionId) -> Standing<I> {
    Standing::Denied(
        Reason::OutcomeUnknown,
        format!("nobody knows how {decision} ended"),
    )
}

fn unavailable<I>(error: &dyn std::error::Error) -> Standing<I> {
    Standing::Denied(Reason::RecordUnavailable, one_line(error))
}

/// When an id was made: the first 48 bits of a UUID version 7 (RFC 9562) are milliseconds since 1970.
fn made_at_ms(decision: DecisionId) -> u64 {
    let text = decision.to_string();
    let hex = text.rsplit('_').next().and_then(|hex| hex.get(..12));
    hex.and_then(|hex| u64::from_str_radix(hex, 16).ok())
        .unwrap_or(0)
}
