//! What was lent to a call is taken out of everything that comes back to it.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::{Bytes, BytesMut};
use casemate_egress::{Facts, Filter, FilterError, Filters, Injection};
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
    known: Mutex<Known>,
}

/// What was put into requests of the call.
#[derive(Default)]
struct Known {
    /// By digest, with the credential that it belongs to.
    secrets: BTreeMap<Digest, (String, Zeroizing<Vec<u8>>)>,
    scrubber: Option<Arc<Scrubber>>,
}

impl Scrubs {
    /// For the call that these were lent to.
    pub(super) fn of(lent: Arc<Lent>) -> Self {
        Self {
            lent,
            known: Mutex::default(),
        }
    }

    /// What looks for everything that was injected; nothing if nothing was.
    fn scrubber(&self, injected: Option<&Injection>) -> Result<Option<Arc<Scrubber>>, FilterError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let injected = injected.filter(|injection| !injection.hidden().is_empty());
        let Some(injected) = injected else {
            return Ok(known.scrubber.clone());
        };
        let mut all = known.secrets.clone();
        let before = all.len();
        for (handle, secret) in injected.hidden() {
            all.entry(Digest::of(secret))
                .or_insert_with(|| (handle.clone(), Zeroizing::new(secret.to_vec())));
        }
        if let (true, Some(scrubber)) = (all.len() == before, &known.scrubber) {
            return Ok(Some(Arc::clone(scrubber)));
        }
        let secrets = all
            .values()
            .map(|(handle, secret)| Secret::new(handle.clone(), secret.clone()));
        let secrets = secrets.collect::<Result<_, _>>().map_err(|_| FilterError)?;
        let scrubber = Arc::new(Scrubber::new(secrets).map_err(|_| FilterError)?);
        if injected.is_lasting() {
            *known = Known {
                secrets: all,
                scrubber: Some(Arc::clone(&scrubber)),
            };
        }
        Ok(Some(scrubber))
    }
}

impl Filters for Scrubs {
    fn filter(&self, _: &Facts, injected: Option<&Injection>) -> Option<Box<dyn Filter>> {
        match self.scrubber(injected) {
            Ok(None) => None,
            Ok(Some(scrubber)) => Some(Box::new(Look::new(scrubber, Arc::clone(&self.lent)))),
            // What cannot be looked for does not come back.
            Err(_) => Some(Box::new(Shut)),
        }
    }
}

impl fmt::Debug for Scrubs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scrubs").finish_non_exhaustive()
    }
}

/// Lets nothing through.
struct Shut;

impl Filter for Shut {
    fn head(&mut self, _: StatusCode, _: &mut HeaderMap) -> Result<(), FilterError> {
        Err(FilterError)
    }

    fn data(&mut self, _: Bytes) -> Result<Bytes, FilterError> {
        Err(FilterError)
    }

    fn finish(&mut self) -> Result<Bytes, FilterError> {
        Err(FilterError)
    }

    fn trailers(&mut self, _: &mut HeaderMap) -> Result<(), FilterError> {
        Err(FilterError)
    }

    fn message(&mut self, _: Bytes) -> Result<Bytes, FilterError> {
        Err(FilterError)
    }

    fn hits(&self) -> u64 {
        0
    }
}

/// Looks at one answer.
struct Look {
    scrubber: Arc<Scrubber>,
    lent: Arc<Lent>,
    body: Option<Body>,
    /// In fields and messages, and in a body that ended.
    found: Hits,
}

impl Look {
    fn new(scrubber: Arc<Scrubber>, lent: Arc<Lent>) -> Self {
        Self {
            scrubber,
            lent,
            body: None,
            found: Hits::default(),
        }
    }

    /// Takes secrets out of fields. One whose name has a secret in it goes.
    fn fields(&mut self, fields: &mut HeaderMap) -> Result<(), FilterError> {
        let mut scrubbed = HeaderMap::with_capacity(fields.len());
        for (name, value) in fields.iter() {
            let hits = self.found.iter().map(|hit| hit.count).sum::<u64>() + self.found.cut_off();
            let named = self
                .scrubber
                .value(name.as_str().as_bytes(), &mut self.found);
            if named.as_ref() != name.as_str().as_bytes() {
                continue;
            }
            let clean = self.scrubber.value(value.as_bytes(), &mut self.found);
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
        self.body = Some(Body::new(
            Arc::clone(&self.scrubber),
            coding,
            DecodeLimits::default(),
        ));
        Ok(())
    }

    fn data(&mut self, bytes: Bytes) -> Result<Bytes, FilterError> {
        let body = self.body.as_mut().ok_or(FilterError)?;
        let mut out = Pieces::default();
        body.push(&bytes, |piece| out.push(piece))
            .map_err(|_| FilterError)?;
        Ok(out.whole())
    }

    fn finish(&mut self) -> Result<Bytes, FilterError> {
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
        Ok(match self.scrubber.value(&bytes, &mut self.found) {
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
