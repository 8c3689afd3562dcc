//! The secrets of one lease, ready to be looked for.

use std::{borrow::Cow, fmt, sync::Arc};

use crate::{
    Encoding, Hits, Secret, automaton::Automaton, cover::Cover, encoding::Spelling, skip::Skip,
};

/// More secrets are not used in one lease.
pub const MAX_SECRETS: usize = 256;
/// Bytes of all spellings together. The tables take some thirty times as much.
pub const MAX_SPELLING_BYTES: usize = 2 * 1024 * 1024;
/// What stands where a secret was.
pub const MARK: &str = "[redacted]";

/// Finds the secrets of one lease. Without state: any number of bodies can be passed through it.
pub struct Scrubber {
    pub(crate) automaton: Automaton,
    pub(crate) skip: Skip,
    /// The shortest spelling.
    pub(crate) shortest: usize,
    /// Whose each spelling is. Two credentials may have one secret, and then both have to be changed.
    owners: Vec<Vec<(Arc<str>, Encoding)>>,
}

/// Why secrets cannot be looked for together. The route that needs them stays closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScrubberError {
    /// There are too many.
    #[error(
        "a lease with more than {MAX_SECRETS} secrets cannot be scrubbed; give the route fewer credentials"
    )]
    TooMany,
    /// They are too long together.
    #[error(
        "the secrets of a lease are too long together: all spellings may have {MAX_SPELLING_BYTES} bytes; give the route fewer credentials"
    )]
    TooLong,
}

impl Scrubber {
    /// A scrubber for `secrets`, which are erased. Without any it passes everything.
    ///
    /// # Errors
    /// When there are too many, or too much of them.
    pub fn new(secrets: Vec<Secret>) -> Result<Self, ScrubberError> {
        if secrets.len() > MAX_SECRETS {
            return Err(ScrubberError::TooMany);
        }
        let mut all = Vec::new();
        let mut bytes = 0;
        for secret in secrets {
            let name = Arc::<str>::from(secret.name);
            let mut own: Vec<_> = Encoding::ALL
                .iter()
                .flat_map(|encoding| {
                    encoding
                        .spellings(&secret.value)
                        .into_iter()
                        .map(|spelling| (spelling, *encoding))
                })
                .collect();
            // A spelling that several encodings share counts as the first of them.
            own.sort_by(|(left, _), (right, _)| left.cmp(right));
            own.dedup_by(|(later, _), (first, _)| later == first);
            bytes += own
                .iter()
                .map(|(spelling, _)| spelling.len())
                .sum::<usize>();
            if bytes > MAX_SPELLING_BYTES {
                return Err(ScrubberError::TooLong);
            }
            all.extend(
                own.into_iter()
                    .map(|(spelling, encoding)| (spelling, vec![(Arc::clone(&name), encoding)])),
            );
        }
        all.sort_by(|(left, _), (right, _)| left.cmp(right));
        all.dedup_by(|(later, owners), (first, all)| {
            let same = later == first;
            if same {
                all.append(owners);
            }
            same
        });
        let (spellings, owners): (Vec<Spelling>, Vec<_>) = all.into_iter().unzip();
        Ok(Self {
            automaton: Automaton::new(&spellings),
            skip: Skip::new(&spellings),
            shortest: spellings.iter().map(|s| s.len()).min().unwrap_or_default(),
            owners,
        })
    }

    /// One whole value without the secrets in it: of a header or a trailer, the reason of a status, a binary message.
    pub fn value<'v>(&self, value: &'v [u8], hits: &mut Hits) -> Cow<'v, [u8]> {
        let mut cover = Cover::default();
        cover.read(self, value, hits);
        cover.end(self, hits);
        if cover.is_clean() {
            return Cow::Borrowed(value);
        }
        let mut scrubbed = Vec::with_capacity(value.len());
        cover.take_until(cover.position(), |part| match part {
            Ok(clean) => {
                let at = |position| usize::try_from(position).unwrap_or(usize::MAX);
                scrubbed.extend_from_slice(
                    value
                        .get(at(clean.start)..at(clean.end))
                        .unwrap_or_default(),
                );
            }
            Err(()) => scrubbed.extend_from_slice(MARK.as_bytes()),
        });
        Cow::Owned(scrubbed)
    }

    /// One whole text without the secrets in it, such as a message of a WebSocket. A character of which a secret had a part is lost.
    pub fn text<'t>(&self, text: &'t str, hits: &mut Hits) -> Cow<'t, str> {
        match self.value(text.as_bytes(), hits) {
            Cow::Borrowed(_) => Cow::Borrowed(text),
            Cow::Owned(bytes) => Cow::Owned(match String::from_utf8(bytes) {
                Ok(text) => text,
                Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
            }),
        }
    }

    pub(crate) fn count(&self, spelling: usize, hits: &mut Hits) {
        for (credential, encoding) in self.owners.get(spelling).into_iter().flatten() {
            hits.count(credential, *encoding);
        }
    }
}

/// Says nothing about the secrets.
impl fmt::Debug for Scrubber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scrubber").finish_non_exhaustive()
    }
}
