//! Tokens that are fetched: kept in memory, and fetched anew before they expire.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError},
};

use crate::{
    AssertionError, Assertions, Clock, Credential, Endpoint, EndpointError, Entropy, Form, Handle,
    Header, Kind, Secret, Secrets, State, Store, StoreError, TokenRequest,
    jws::SignError,
    limits::{
        EXPIRY_MARGIN_MS, FIRST_BACKOFF_MS, MAX_BACKOFF_MS, REFRESH_BEFORE_MS,
        SAS_REFRESH_BEFORE_MS,
    },
    oauth::{self, AnswerError, Token},
    sas,
    store::By,
};

/// What fetching needs.
pub(crate) struct Means<'a> {
    pub(crate) store: &'a Store,
    pub(crate) endpoint: &'a dyn Endpoint,
    pub(crate) clock: &'a dyn Clock,
    pub(crate) entropy: &'a dyn Entropy,
    pub(crate) assertions: &'a dyn Assertions,
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum RefreshError {
    /// The credential cannot be read, or the next one not be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A person has to give a new one.
    #[error(
        "the credential `{0}` is quarantined: its issuer does not take it any more; `casemate credential rotate` gives it a new secret"
    )]
    Quarantined(Handle),
    /// The platform's assertion cannot be read now.
    #[error("no token for `{handle}`: its assertion cannot be read")]
    Assertion {
        /// Which.
        handle: Handle,
        /// Why.
        #[source]
        source: AssertionError,
    },
    /// No assertion can be signed.
    #[error("the credential `{handle}` cannot be used: {why}")]
    Sign {
        /// Which.
        handle: Handle,
        /// Why.
        why: String,
    },
    /// Nobody answered.
    #[error("no token for `{handle}`")]
    Endpoint {
        /// Which.
        handle: Handle,
        /// Why.
        #[source]
        source: EndpointError,
    },
    /// The answer is no token.
    #[error("no token for `{handle}`: {why}")]
    Answer {
        /// Which.
        handle: Handle,
        /// Why.
        why: String,
    },
    /// It failed a moment ago, and is not asked again yet.
    #[error("no token for `{handle}`: its endpoint failed, and is asked again in {wait_ms} ms")]
    Waiting {
        /// Which.
        handle: Handle,
        /// How long.
        wait_ms: u64,
    },
    /// There is no randomness.
    #[error("the kernel gave no random bytes")]
    Random(#[source] std::io::Error),
}

/// Tokens by the credentials that they were fetched with.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    slots: Mutex<HashMap<Handle, Arc<Slot>>>,
}

/// The token of one credential.
#[derive(Debug, Default)]
struct Slot {
    live: Mutex<Option<Live>>,
    /// Whoever holds this asks the endpoint: one at a time.
    turn: Mutex<Turn>,
}

#[derive(Clone, Debug)]
struct Live {
    access: Secret,
    /// Of the credential.
    version: u64,
    fetched_at_ms: u64,
    deadline_ms: u64,
    /// It is not used any more from then on.
    used_until_ms: u64,
    /// When nobody takes it any more, if its issuer said so.
    expires_at_ms: Option<u64>,
}

#[derive(Debug, Default)]
struct Turn {
    failures: u32,
    not_before_ms: u64,
    /// What was fetched and could not be kept: the issuer may have forgotten the one before.
    unkept: Option<Unkept>,
}

#[derive(Debug)]
struct Unkept {
    seen: Header,
    secrets: Secrets,
    token: Token,
    fetched_at_ms: u64,
}

impl Live {
    fn new(token: Token, header: &Header, fetched_at_ms: u64) -> Self {
        let before_ms = match header.kind {
            Kind::AzureSas { .. } => SAS_REFRESH_BEFORE_MS,
            _ => REFRESH_BEFORE_MS,
        };
        let used_until_ms = fetched_at_ms.saturating_add(token.life_ms);
        Self {
            access: token.access,
            version: header.version,
            fetched_at_ms,
            deadline_ms: deadline_ms(used_until_ms, token.life_ms, before_ms),
            used_until_ms,
            expires_at_ms: token.expires_at_ms,
        }
    }

    /// Whether it may be used. A clock that went back says nothing about its age.
    fn is_good(&self, version: u64, now_ms: u64) -> bool {
        self.version == version
            && self.fetched_at_ms <= now_ms
            && now_ms.saturating_add(EXPIRY_MARGIN_MS) < self.used_until_ms
    }

    const fn is_due(&self, now_ms: u64) -> bool {
        self.deadline_ms <= now_ms
    }
}

/// When a token is fetched anew: so long before it expires, or half of its life if that is shorter.
pub(crate) const fn deadline_ms(expires_at_ms: u64, life_ms: u64, before_ms: u64) -> u64 {
    let half = life_ms / 2;
    let before = if half < before_ms { half } else { before_ms };
    expires_at_ms.saturating_sub(before)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each is only ever assigned whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Tokens {
    /// Whether the token of a credential can be given without asking anybody.
    pub(crate) fn is_ready(&self, header: &Header, now_ms: u64) -> bool {
        let Some(slot) = lock(&self.slots).get(&header.handle).cloned() else {
            return false;
        };
        let live = lock(&slot.live);
        live.as_ref()
            .is_some_and(|live| live.is_good(header.version, now_ms) && !live.is_due(now_ms))
    }

    /// Whether there is a token of a credential that can be used, although it may be due.
    pub(crate) fn is_good(&self, header: &Header, now_ms: u64) -> bool {
        let slot = lock(&self.slots).get(&header.handle).cloned();
        slot.is_some_and(|slot| {
            let live = lock(&slot.live);
            live.as_ref()
                .is_some_and(|live| live.is_good(header.version, now_ms))
        })
    }

    /// The credentials whose token is due.
    pub(crate) fn due(&self, now_ms: u64) -> Vec<Handle> {
        let slots: Vec<_> = lock(&self.slots)
            .iter()
            .map(|(handle, slot)| (handle.clone(), Arc::clone(slot)))
            .collect();
        let due = slots.into_iter().filter(|(_, slot)| {
            lock(&slot.live)
                .as_ref()
                .is_some_and(|live| live.is_due(now_ms))
        });
        due.map(|(handle, _)| handle).collect()
    }

    /// A token of the credential, and when its issuer said that it expires. Blocks while one is fetched; whoever comes meanwhile gets the one that there
    /// is, or waits for the same.
    pub(crate) fn get(
        &self,
        means: &Means<'_>,
        handle: &Handle,
    ) -> Result<(Secret, Option<u64>), RefreshError> {
        let slot = Arc::clone(lock(&self.slots).entry(handle.clone()).or_default());
        loop {
            let credential = means.store.read(handle)?;
            let header = &credential.header;
            if header.state == State::Quarantined {
                return Err(RefreshError::Quarantined(handle.clone()));
            }
            let now_ms = means.clock.now_ms();
            let good = lock(&slot.live)
                .clone()
                .filter(|live| live.is_good(header.version, now_ms));
            let mut turn = match &good {
                Some(live) if !live.is_due(now_ms) => {
                    return Ok((live.access.clone(), live.expires_at_ms));
                }
                Some(live) => match slot.turn.try_lock() {
                    Ok(turn) => turn,
                    Err(TryLockError::Poisoned(turn)) => turn.into_inner(),
                    Err(TryLockError::WouldBlock) => {
                        return Ok((live.access.clone(), live.expires_at_ms));
                    }
                },
                None => lock(&slot.turn),
            };
            // Whoever had the turn before may have fetched it, or changed the credential.
            if means
                .store
                .header(handle)?
                .is_none_or(|now| now.version != header.version)
                || lock(&slot.live).as_ref().is_some_and(|live| {
                    live.is_good(header.version, now_ms) && !live.is_due(now_ms)
                })
            {
                continue;
            }
            match fetch(means, &mut turn, &credential) {
                Ok(Some(live)) => {
                    let answer = (live.access.clone(), live.expires_at_ms);
                    *lock(&slot.live) = Some(live);
                    return Ok(answer);
                }
                // Somebody changed the credential: what was fetched is not of it any more.
                Ok(None) => {}
                Err(error) => {
                    let quarantined = matches!(error, RefreshError::Quarantined(_));
                    return match good {
                        Some(live) if !quarantined => Ok((live.access, live.expires_at_ms)),
                        _ => Err(error),
                    };
                }
            }
        }
    }
}

/// Asks the endpoint. Nothing comes back if the credential was changed meanwhile.
fn fetch(
    means: &Means<'_>,
    turn: &mut Turn,
    credential: &Credential,
) -> Result<Option<Live>, RefreshError> {
    if let Some(unkept) = turn.unkept.take() {
        return keep(means, turn, unkept);
    }
    let (header, now_ms) = (&credential.header, means.clock.now_ms());
    let handle = &header.handle;
    // If the clock went back, it is not waited for.
    let wait_ms = turn.not_before_ms.saturating_sub(now_ms);
    if (1..=MAX_BACKOFF_MS).contains(&wait_ms) {
        return Err(RefreshError::Waiting {
            handle: handle.clone(),
            wait_ms,
        });
    }
    let mut nonce = [0; 16];
    means
        .entropy
        .fill(&mut nonce)
        .map_err(RefreshError::Random)?;
    let mut secrets = credential.secrets.clone();
    if let Kind::OidcFederation { assertion, .. } = &header.kind {
        let read = means.assertions.read(assertion);
        secrets.main = read.map_err(|source| RefreshError::Assertion {
            handle: handle.clone(),
            source,
        })?;
    }
    let unsigned = |error: SignError| RefreshError::Sign {
        handle: handle.clone(),
        why: error.to_string(),
    };
    let question = oauth::question(&header.kind, &secrets, now_ms, &nonce).map_err(unsigned)?;
    let question = question.ok_or_else(|| unsigned(SignError::Key))?;
    let ask = |turn: &mut Turn, question: &TokenRequest| {
        means.endpoint.ask(question).map_err(|source| {
            turn.failed(now_ms, None);
            RefreshError::Endpoint {
                handle: handle.clone(),
                source,
            }
        })
    };
    let answer = ask(turn, &question)?;
    let mut got = oauth::token(&header.kind, &answer, now_ms);
    if let Ok(token) = &got
        && let Some(question) = sas::question(&header.kind, &token.access, now_ms)
    {
        // That token is for this, and gone after it.
        got = sas::token(&header.kind, &ask(turn, &question)?, now_ms);
    }
    match got {
        Ok(token) => {
            turn.failures = 0;
            let mut next = credential.secrets.clone();
            match &token.refresh {
                Some(refresh) if *refresh != next.main => next.main = refresh.clone(),
                _ => return Ok(Some(Live::new(token, header, now_ms))),
            }
            let unkept = Unkept {
                seen: header.clone(),
                secrets: next,
                token,
                fetched_at_ms: now_ms,
            };
            keep(means, turn, unkept)
        }
        // Where nobody gave a secret, nobody can give another: the platform does.
        Err(AnswerError::Invalid(_)) if header.kind.form() != Form::Nothing => {
            match means.store.quarantine(header) {
                Ok(_) => Err(RefreshError::Quarantined(handle.clone())),
                // Another one is there already, and is not blamed for it.
                Err(StoreError::Stale { .. }) => Ok(None),
                Err(error) => Err(error.into()),
            }
        }
        Err(error) => {
            let asked = match error {
                AnswerError::Status { retry_after_ms, .. } => retry_after_ms,
                _ => None,
            };
            turn.failed(now_ms, asked);
            Err(RefreshError::Answer {
                handle: handle.clone(),
                why: error.to_string(),
            })
        }
    }
}

/// Makes the next refresh token durable. Only then is the access token that came with it used.
fn keep(means: &Means<'_>, turn: &mut Turn, unkept: Unkept) -> Result<Option<Live>, RefreshError> {
    match means.store.renew(
        &unkept.seen,
        &unkept.secrets,
        By::Issuer,
        means.clock.now_ms(),
    ) {
        Ok(header) => Ok(Some(Live::new(unkept.token, &header, unkept.fetched_at_ms))),
        Err(StoreError::Stale { .. } | StoreError::Revoked(_) | StoreError::Absent(_)) => Ok(None),
        Err(error) => {
            turn.unkept = Some(unkept);
            Err(error.into())
        }
    }
}

impl Turn {
    fn failed(&mut self, now_ms: u64, asked_ms: Option<u64>) {
        let doubled = FIRST_BACKOFF_MS.saturating_mul(1 << self.failures.min(16));
        let wait_ms = asked_ms.unwrap_or(0).max(doubled).min(MAX_BACKOFF_MS);
        self.failures = self.failures.saturating_add(1);
        self.not_before_ms = now_ms.saturating_add(wait_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R81: 20 minutes before the end, or half of the life if that is shorter.
    #[test]
    fn deadlines_are_twenty_minutes_or_half_of_the_life() {
        let minutes = |count: u64| count * 60_000;
        for (life, before) in [
            (minutes(60), minutes(20)),
            (minutes(40), minutes(20)),
            (minutes(30), minutes(15)),
            (minutes(10), minutes(5)),
            (0, 0),
        ] {
            assert_eq!(
                deadline_ms(minutes(100) + life, life, REFRESH_BEFORE_MS),
                minutes(100) + life - before,
                "{life}"
            );
        }
    }
}
