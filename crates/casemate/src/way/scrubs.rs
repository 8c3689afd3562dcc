//! What was lent to a call is taken out of everything that comes back to it.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::{Bytes, BytesMut};
use casemate_egress::{Clock, Facts, Filter, FilterError, Filters, Injection};
use casemate_model::Digest;
use casemate_scrub::{Body, Coding, DecodeLimits, Hits, Scrubber, Secret};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use tokio::runtime::Handle as Runtime;
use zeroize::Zeroizing;

use super::credentials::Lent;

/// Filters for the answers of one call. They know everything that was put into its requests, not only into the one that is
/// answered: a destination may keep a secret and show it later, elsewhere.
pub(super) struct Scrubs {
    lent: Arc<Lent>,
    clock: Arc<dyn Clock>,
    known: Arc<Mutex<Known>>,
}

/// How long what has expired is looked for: clocks differ, and some who check tokens are lenient. In milliseconds.
const FORGET_AFTER_MS: u64 = 10 * 60 * 1_000;

/// By digest.
type Secrets = BTreeMap<Digest, Kept>;

/// One of them.
#[derive(Clone)]
struct Kept {
    /// The credential that it belongs to.
    handle: String,
    secret: Zeroizing<Vec<u8>>,
    /// When nobody takes it any more, if that is known.
    expires_at_ms: Option<u64>,
}

impl Kept {
    fn is_over(&self, now_ms: u64) -> bool {
        self.expires_at_ms
            .is_some_and(|at| at.saturating_add(FORGET_AFTER_MS) <= now_ms)
    }
}

/// What was put into requests of the call.
#[derive(Default)]
struct Known {
    secrets: Secrets,
    /// What looks for them, if there are any.
    scrubber: Option<Arc<Scrubber>>,
    /// How often there were more.
    changes: u64,
}

impl Scrubs {
    /// For the call that these were lent to.
    pub(super) fn of(lent: Arc<Lent>, clock: Arc<dyn Clock>) -> Self {
        Self {
            lent,
            clock,
            known: Arc::default(),
        }
    }

    fn look(&self, injected: Option<&Injection>) -> Look {
        let own = injected.map(|injection| secrets(injection.once(), None));
        Look {
            known: Arc::clone(&self.known),
            own: own.unwrap_or_default(),
            current: None,
            lent: Arc::clone(&self.lent),
            body: None,
            found: Hits::default(),
        }
    }
}

impl Filters for Scrubs {
    fn learn(&self, injected: &Injection) -> Result<(), FilterError> {
        let mut known = lock(&self.known);
        let now_ms = self.clock.now_ms();
        let mut all = known.secrets.clone();
        all.retain(|_, kept| !kept.is_over(now_ms));
        for (digest, new) in secrets(injected.hidden(), injected.expires_at_ms()) {
            all.entry(digest)
                .and_modify(|kept| {
                    // Whoever does not know when it expires may be right.
                    let later = |(one, other): (u64, u64)| one.max(other);
                    let both = kept.expires_at_ms.zip(new.expires_at_ms);
                    kept.expires_at_ms = both.map(later);
                })
                .or_insert(new);
        }
        let own = secrets(injected.once(), None);
        if !own.is_empty() {
            // There must be room for it in its own answer.
            together(all.values().chain(own.values()))?;
        }
        if !all.keys().eq(known.secrets.keys()) {
            known.scrubber = Some(together(all.values())?);
            known.changes = known.changes.saturating_add(1);
        }
        known.secrets = all;
        Ok(())
    }

    fn looks(&self) -> bool {
        self.lent.lends()
    }

    fn filter(&self, _: &Facts, injected: Option<&Injection>) -> Option<Box<dyn Filter>> {
        // What comes later into another request may be in this answer too.
        (self.looks() || injected.is_some()).then(|| Box::new(self.look(injected)) as _)
    }
}

/// What must not come back, by digest.
fn secrets(hidden: &[(String, Bytes)], expires_at_ms: Option<u64>) -> Secrets {
    let hidden = hidden.iter();
    hidden
        .map(|(handle, secret)| {
            let kept = Kept {
                handle: handle.clone(),
                secret: Zeroizing::new(secret.to_vec()),
                expires_at_ms,
            };
            (Digest::of(secret), kept)
        })
        .collect()
}

/// What looks for all of these.
fn together<'a>(secrets: impl Iterator<Item = &'a Kept>) -> Result<Arc<Scrubber>, FilterError> {
    let secrets = secrets.map(|kept| Secret::new(kept.handle.clone(), kept.secret.clone()));
    let secrets = secrets.collect::<Result<_, _>>().map_err(|_| FilterError)?;
    let scrubber = Scrubber::new(secrets).map_err(|_| FilterError)?;
    Ok(Arc::new(scrubber))
}

fn lock(known: &Mutex<Known>) -> MutexGuard<'_, Known> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Scrubs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scrubs").finish_non_exhaustive()
    }
}

/// Looks at one answer.
struct Look {
    known: Arc<Mutex<Known>>,
    /// Of the request that is answered, and looked for in no other answer.
    own: Secrets,
    /// What looks, and after how many changes it was made.
    current: Option<(u64, Arc<Scrubber>)>,
    lent: Arc<Lent>,
    body: Option<Body>,
    /// In fields and messages, and in a body that ended.
    found: Hits,
}

impl Look {
    /// What looks for everything that was sent until now: what came after the head of this answer may be in the rest of it.
    fn scrubber(&mut self) -> Result<Arc<Scrubber>, FilterError> {
        let known = lock(&self.known);
        if let Some((changes, scrubber)) = &self.current
            && *changes == known.changes
        {
            return Ok(Arc::clone(scrubber));
        }
        let scrubber = match &known.scrubber {
            Some(scrubber) if self.own.is_empty() => Arc::clone(scrubber),
            _ => together(known.secrets.values().chain(self.own.values()))?,
        };
        if let Some(body) = &mut self.body {
            body.change(Arc::clone(&scrubber));
        }
        self.current = Some((known.changes, Arc::clone(&scrubber)));
        Ok(scrubber)
    }

    /// Takes secrets out of fields. One whose name has a secret in it goes.
    fn fields(&mut self, fields: &mut HeaderMap) -> Result<(), FilterError> {
        let scrubber = self.scrubber()?;
        let mut scrubbed = HeaderMap::with_capacity(fields.len());
        for (name, value) in fields.iter() {
            let hits = self.found.iter().map(|hit| hit.count).sum::<u64>() + self.found.cut_off();
            let named = scrubber.value(name.as_str().as_bytes(), &mut self.found);
            if named.as_ref() != name.as_str().as_bytes() {
                continue;
            }
            let clean = scrubber.value(value.as_bytes(), &mut self.found);
            let now = self.found.iter().map(|hit| hit.count).sum::<u64>() + self.found.cut_off();
            let value = match now == hits {
                true => value.clone(),
                false => HeaderValue::from_bytes(&clean).map_err(|_| FilterError)?,
            };
            scrubbed.append(name.clone(), value);
        }
        *fields = scrubbed;
        Ok(())
    }
}

impl Filter for Look {
    fn head(&mut self, _: StatusCode, fields: &mut HeaderMap) -> Result<(), FilterError> {
        let codings = fields.get_all(header::CONTENT_ENCODING);
        let coding =
            Coding::of(codings.iter().map(HeaderValue::as_bytes)).map_err(|_| FilterError)?;
        fields.remove(header::CONTENT_ENCODING);
        self.fields(fields)?;
        let scrubber = self.scrubber()?;
        self.body = Some(Body::new(scrubber, coding, DecodeLimits::default()));
        Ok(())
    }

    fn data(&mut self, bytes: Bytes) -> Result<Bytes, FilterError> {
        self.scrubber()?;
        let body = self.body.as_mut().ok_or(FilterError)?;
        let mut out = Pieces::default();
        body.push(&bytes, |piece| out.push(piece))
            .map_err(|_| FilterError)?;
        Ok(out.whole())
    }

    fn finish(&mut self) -> Result<Bytes, FilterError> {
        self.scrubber()?;
        let Some(body) = self.body.take() else {
            return Ok(Bytes::new());
        };
        let mut out = Pieces::default();
        let (hits, ended) = body.finish(|piece| out.push(piece));
        self.found.add(&hits);
        ended.map_err(|_| FilterError)?;
        Ok(out.whole())
    }

    fn trailers(&mut self, fields: &mut HeaderMap) -> Result<(), FilterError> {
        self.fields(fields)
    }

    fn message(&mut self, bytes: Bytes) -> Result<Bytes, FilterError> {
        Ok(match self.scrubber()?.value(&bytes, &mut self.found) {
            std::borrow::Cow::Borrowed(_) => bytes,
            std::borrow::Cow::Owned(clean) => clean.into(),
        })
    }

    fn hits(&self) -> u64 {
        let count = |hits: &Hits| hits.iter().map(|hit| hit.count).sum::<u64>() + hits.cut_off();
        count(&self.found) + self.body.as_ref().map_or(0, |body| count(body.hits()))
    }
}

impl Drop for Look {
    /// Whatever was found is told to identity, however the answer ended.
    fn drop(&mut self) {
        if let Some(body) = &self.body {
            self.found.add(&body.hits().clone());
        }
        let mut handles: Vec<_> = self.found.iter().map(|hit| hit.credential).collect();
        handles.dedup();
        // Outside of a runtime nobody is left to tell; the record of the request has the hits.
        if Runtime::try_current().is_ok() {
            for handle in handles {
                self.lent.note(&handle);
            }
        }
    }
}

/// Pieces of a body, put together only if there are several.
#[derive(Default)]
struct Pieces {
    first: Bytes,
    more: BytesMut,
}

impl Pieces {
    fn push(&mut self, piece: Bytes) {
        if self.first.is_empty() {
            self.first = piece;
        } else {
            if self.more.is_empty() {
                self.more.extend_from_slice(&self.first);
            }
            self.more.extend_from_slice(&piece);
        }
    }

    fn whole(self) -> Bytes {
        if self.more.is_empty() {
            self.first
        } else {
            self.more.freeze()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    fn secret() -> String {
        (0..32).map(|_| fastrand::alphanumeric()).collect()
    }

    fn hiding(secret: &str) -> Injection {
        Injection::empty().hiding("cred:a", Bytes::copy_from_slice(secret.as_bytes()))
    }

    /// A clock that is told what time it is.
    #[derive(Clone, Debug, Default)]
    struct Hands(Arc<AtomicU64>);

    impl Clock for Hands {
        fn now_ms(&self) -> u64 {
            self.0.load(Ordering::SeqCst)
        }
    }

    fn scrubs() -> Scrubs {
        Scrubs::of(Lent::nothing("a test"), Arc::new(Hands::default()))
    }

    fn is_in(secret: &str, bytes: &[u8]) -> bool {
        bytes
            .windows(secret.len())
            .any(|part| part == secret.as_bytes())
    }

    /// R78, I2: a destination may show what it was sent in the answer to another request, without any of its own.
    #[test]
    fn what_was_sent_is_taken_out_of_other_answers() {
        let (scrubs, secret) = (scrubs(), secret());
        scrubs.learn(&hiding(&secret)).unwrap();
        let mut look = scrubs.look(None);
        let mut fields = HeaderMap::new();
        fields.insert("x-shown", HeaderValue::from_str(&secret).unwrap());
        look.head(StatusCode::OK, &mut fields).unwrap();
        assert!(!is_in(&secret, fields["x-shown"].as_bytes()));
        let mut out = look.data(secret.clone().into()).unwrap().to_vec();
        out.extend(look.finish().unwrap());
        assert!(!is_in(&secret, &out));
        assert!(look.hits() >= 2);
    }

    /// R78, I2: an answer that is open does not show what was sent after its head: not in its body, wherever it is cut, not behind it,
    /// and not in a message.
    #[test]
    fn an_open_answer_learns_what_is_sent_later() {
        let (scrubs, first, later) = (scrubs(), secret(), secret());
        scrubs.learn(&hiding(&first)).unwrap();
        for cut in [1, 8, 31] {
            for held in ["", first.get(..10).unwrap()] {
                let (mut body, mut behind, mut socket) =
                    (scrubs.look(None), scrubs.look(None), scrubs.look(None));
                for look in [&mut body, &mut behind, &mut socket] {
                    look.head(StatusCode::OK, &mut HeaderMap::new()).unwrap();
                }
                let mut out = body.data(format!("begin {held}").into()).unwrap().to_vec();
                let later = format!("{later}{cut}{held}");
                scrubs.learn(&hiding(&later)).unwrap();
                let (begin, rest) = later.split_at(cut);
                for piece in [begin, rest, " end"] {
                    out.extend(body.data(piece.to_owned().into()).unwrap());
                }
                out.extend(body.finish().unwrap());
                assert!(!is_in(&later, &out));
                assert_eq!(
                    String::from_utf8(out).unwrap(),
                    format!("begin {held}[redacted] end")
                );
                let mut fields = HeaderMap::new();
                fields.insert("x-shown", HeaderValue::from_str(&later).unwrap());
                behind.trailers(&mut fields).unwrap();
                assert!(!is_in(&later, fields["x-shown"].as_bytes()));
                assert!(!is_in(
                    &later,
                    &socket.message(later.clone().into()).unwrap()
                ));
            }
        }
    }

    /// R78, I2: when no more can be looked for, no more is sent; what is known is looked for as before.
    #[test]
    fn more_than_can_be_looked_for_is_not_sent() {
        let scrubs = scrubs();
        let mut known = Vec::new();
        loop {
            let long = secret().repeat(128);
            if scrubs.learn(&hiding(&long)).is_err() {
                break;
            }
            known.push(long);
            assert!(known.len() < 256);
        }
        assert!(!known.is_empty());
        for known in known {
            let shown = scrubs.look(None).message(known.clone().into()).unwrap();
            assert!(!is_in(&known, &shown));
        }
    }

    /// R78, I15: however many tokens a long call has one after the other, each is looked for while anybody takes it, and for a while after;
    /// then it makes room, and the call goes on.
    #[test]
    fn what_has_expired_makes_room() {
        let hands = Hands::default();
        let scrubs = Scrubs::of(Lent::nothing("a test"), Arc::new(hands.clone()));
        let (lasting, life_ms) = (secret(), 30 * 60 * 1_000);
        scrubs.learn(&hiding(&lasting)).unwrap();
        let is_shown = |secret: &str| {
            let shown = scrubs.look(None).message(secret.to_owned().into());
            is_in(secret, &shown.unwrap())
        };
        let mut before: Option<String> = None;
        for _ in 0..64 {
            let token = secret().repeat(64);
            let expires_at_ms = hands.now_ms() + life_ms;
            scrubs
                .learn(&hiding(&token).expiring(Some(expires_at_ms)))
                .unwrap();
            if let Some(before) = before {
                assert!(!is_shown(&before));
            }
            assert!(!is_shown(&token) && !is_shown(&lasting));
            hands.0.store(expires_at_ms, Ordering::SeqCst);
            before = Some(token);
        }
        // What is known to last is not forgotten because somebody says that it expires.
        scrubs.learn(&hiding(&lasting).expiring(Some(1))).unwrap();
        hands.0.fetch_add(FORGET_AFTER_MS, Ordering::SeqCst);
        scrubs.learn(&hiding(&secret())).unwrap();
        assert!(!is_shown(&lasting));
        assert!(is_shown(&before.unwrap()));
    }

    /// I2: nobody said when it expires: it is looked for as long as the call is.
    #[test]
    fn what_may_last_is_not_forgotten() {
        let hands = Hands::default();
        let scrubs = Scrubs::of(Lent::nothing("a test"), Arc::new(hands.clone()));
        let token = secret();
        scrubs.learn(&hiding(&token).expiring(None)).unwrap();
        for minutes in [21, 24 * 60] {
            hands.0.store(minutes * 60 * 1_000, Ordering::SeqCst);
            scrubs.learn(&hiding(&secret())).unwrap();
            let shown = scrubs.look(None).message(token.clone().into()).unwrap();
            assert!(!is_in(&token, &shown));
        }
    }

    /// R78: a signature is good for its request: it is looked for in its own answer, and does not fill what is looked for in others. What
    /// lasts of the same credential is looked for in all.
    #[test]
    fn a_signature_is_looked_for_in_its_own_answer() {
        let (scrubs, lasting, once, later) = (scrubs(), secret(), secret(), secret());
        let signed =
            hiding(&lasting).hiding_once("cred:a", Bytes::copy_from_slice(once.as_bytes()));
        scrubs.learn(&signed).unwrap();
        let mut look = scrubs.look(Some(&signed));
        scrubs.learn(&hiding(&later)).unwrap();
        for secret in [&once, &lasting, &later] {
            let shown = look.message(secret.clone().into()).unwrap();
            assert!(!is_in(secret, &shown));
        }
        let shown = scrubs.look(None).message(lasting.clone().into()).unwrap();
        assert!(!is_in(&lasting, &shown));
        assert_eq!(lock(&scrubs.known).secrets.len(), 2);
    }
}
