//! The statement by which somebody approves that a bundle permits more than the one before it.

use casemate_model::Digest;

use crate::{NoteError, PolicyKey, PublicKey, note};

/// What an approver agrees to: this bundle after that one, having seen this difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Approval {
    /// The bundle in force, if there is one.
    pub old: Option<Digest>,
    /// The bundle that is to follow it.
    pub new: Digest,
    /// The SHA-256 of the difference as it was shown.
    pub difference: Digest,
}

impl Approval {
    /// The signed note of an approver.
    #[must_use]
    pub fn sign(&self, key: &PolicyKey) -> String {
        note::sign(key, &self.text())
    }

    /// Whose approval of exactly this the note is.
    ///
    /// # Errors
    /// When it is not one of a trusted key, or of something else.
    pub fn verify(&self, note: &str, trusted: &[PublicKey]) -> Result<PublicKey, NoteError> {
        note::verify(&self.text(), note, trusted)
    }

    fn text(&self) -> String {
        let old = self
            .old
            .map_or_else(|| "none".into(), |old| old.to_string());
        format!(
            "casemate policy approval v1\n{old}\n{}\n{}\n",
            self.new, self.difference
        )
    }
}
