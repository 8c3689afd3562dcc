//! What several tests need.

use std::sync::Arc;

use bytes::Bytes;
use casemate_scrub::{Hits, Scrubber, Secret, Stream};

pub(crate) fn scrubber(secrets: &[(&str, &[u8])]) -> Arc<Scrubber> {
    let secrets = secrets
        .iter()
        .map(|(name, value)| Secret::new(*name, value.to_vec()).unwrap())
        .collect();
    Arc::new(Scrubber::new(secrets).unwrap())
}

/// A secret that nobody has used before.
pub(crate) fn fresh(bytes: usize) -> String {
    std::iter::repeat_with(fastrand::alphanumeric)
        .take(bytes)
        .collect()
}

/// What comes out when the text is cut at `cuts`.
pub(crate) fn in_pieces(scrubber: &Arc<Scrubber>, text: &[u8], cuts: &[usize]) -> (Vec<u8>, Hits) {
    let text = Bytes::copy_from_slice(text);
    let mut stream = Stream::new(Arc::clone(scrubber));
    let mut out = Vec::new();
    let mut from = 0;
    for cut in cuts.iter().copied().chain([text.len()]) {
        stream.push(&text.slice(from..cut), |piece| {
            out.extend_from_slice(&piece)
        });
        from = cut;
    }
    let hits = stream.finish(|piece| out.extend_from_slice(&piece));
    (out, hits)
}

pub(crate) fn holds(text: &[u8], part: &[u8]) -> bool {
    memchr::memmem::find(text, part).is_some()
}
