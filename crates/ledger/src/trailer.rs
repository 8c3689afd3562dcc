//! The end of a batch, once the signature in it is checked.

use tlog_tiles::Hash;

use crate::{VerifyError, frontier::Frontier, layout::BatchHead, note::PublicKey};

/// A trailer whose checkpoint is signed, and signed for the head that it stands under.
#[derive(Debug)]
pub(crate) struct Trailer {
    /// The signed root.
    pub(crate) root: Hash,
    /// The stored frontier: only as good as its root.
    pub(crate) frontier: Frontier,
    /// Where the records are that opened the decisions which are open now. Signed.
    pub(crate) open: Vec<u64>,
    /// The signed checkpoint.
    pub(crate) note: String,
}

impl Trailer {
    /// Takes the trailer of the batch at `offset` apart, which begins with record `first`.
    pub(crate) fn authenticate(
        head: &BatchHead,
        bytes: &[u8],
        key: &PublicKey,
        (first, offset): (u64, u64),
    ) -> Result<Self, VerifyError> {
        let changed = |what| VerifyError::FrameChanged {
            first,
            offset,
            what,
        };
        let parts = head.parse_trailer(bytes).map_err(changed)?;
        let signed = key
            .open_own(parts.note)
            .map_err(|source| VerifyError::Checkpoint {
                first,
                offset,
                source,
            })?;
        if signed.size != head.size() || signed.extension != head.extension(&parts.open) {
            return Err(changed(
                "its head or its list of open decisions is not what its checkpoint signs",
            ));
        }
        Ok(Self {
            root: signed.root,
            frontier: Frontier::stored(head.size(), parts.frontier),
            open: parts.open,
            note: parts.note.to_owned(),
        })
    }
}
