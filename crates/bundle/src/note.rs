//! C2SP signed notes: a text that ends in a newline, an empty line, and lines with signatures.

use base64::{Engine as _, prelude::BASE64_STANDARD};

use crate::{
    PolicyKey, PublicKey,
    limits::{MAX_NOTE_BYTES, MAX_SIGNATURES},
};

/// What a signature line begins with: an em dash and a space.
const SIGNATURE_MARK: &str = "\u{2014} ";

/// Why a note does not count.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum NoteError {
    /// Not a signed note at all.
    #[error("it is not a signed note")]
    Malformed,
    /// A note about something else.
    #[error("it was signed over something else")]
    OtherStatement,
    /// No signature by a key that counts here.
    #[error("none of its signatures is by a trusted key; it is signed by {}", names(.signers))]
    Untrusted {
        /// Whose names stand on it.
        signers: Vec<String>,
    },
    /// A signature under the name of a trusted key that is not of that key.
    #[error("its signature is not one of `{0}`: the note or what it is about was changed")]
    Signature(PublicKey),
}

fn names(signers: &[String]) -> String {
    signers.join(", ")
}

/// One signature line.
struct Line<'n> {
    name: &'n str,
    id: [u8; 4],
    signature: Vec<u8>,
}

/// The note of one key over `text`, which ends in a newline.
pub(crate) fn sign(key: &PolicyKey, text: &str) -> String {
    let signature = BASE64_STANDARD.encode(key.signature(text));
    format!(
        "{text}\n{SIGNATURE_MARK}{} {signature}\n",
        key.public().name()
    )
}

/// Which of the `trusted` keys signed `text` with `note`: the first, if several did. Signatures by others do not count;
/// a wrong one under a trusted key's name makes all of them not count.
pub(crate) fn verify(
    text: &str,
    note: &str,
    trusted: &[PublicKey],
) -> Result<PublicKey, NoteError> {
    let (signed, lines) = open(note)?;
    if signed != text {
        return Err(NoteError::OtherStatement);
    }
    let mut found = None;
    for line in &lines {
        for key in trusted {
            if line.name == key.name() && line.id == key.id() {
                if !key.signed(text, &line.signature) {
                    return Err(NoteError::Signature(key.clone()));
                }
                found = found.or(Some(key));
            }
        }
    }
    found.cloned().ok_or_else(|| NoteError::Untrusted {
        signers: lines.iter().map(|line| line.name.to_owned()).collect(),
    })
}

/// The text of a note, with its last newline, and the first of the `trusted` keys that signed it.
pub(crate) fn open_of(note: &str, trusted: &[PublicKey]) -> Result<(String, PublicKey), NoteError> {
    let (text, _) = open(note)?;
    let key = verify(text, note, trusted)?;
    Ok((text.to_owned(), key))
}

/// The text of a note that carries one signature, by `key`: no byte of it is free.
pub(crate) fn open_own<'n>(note: &'n str, key: &PublicKey) -> Result<&'n str, NoteError> {
    let (text, lines) = open(note)?;
    if lines.len() != 1 {
        return Err(NoteError::Malformed);
    }
    verify(text, note, std::slice::from_ref(key))?;
    Ok(text)
}

/// The text of a note, with its last newline, and its signatures, not verified.
fn open(note: &str) -> Result<(&str, Vec<Line<'_>>), NoteError> {
    let (text, signatures) = note.rsplit_once("\n\n").ok_or(NoteError::Malformed)?;
    let text = note.get(..=text.len()).ok_or(NoteError::Malformed)?;
    let odd = |c: char| c.is_control() && c != '\n';
    if note.len() as u64 > MAX_NOTE_BYTES || !signatures.ends_with('\n') || note.contains(odd) {
        return Err(NoteError::Malformed);
    }
    let lines: Vec<_> = signatures
        .lines()
        .take(MAX_SIGNATURES + 1)
        .map(line)
        .collect::<Option<_>>()
        .ok_or(NoteError::Malformed)?;
    match lines.len() {
        1..=MAX_SIGNATURES => Ok((text, lines)),
        _ => Err(NoteError::Malformed),
    }
}

fn line(line: &str) -> Option<Line<'_>> {
    let (name, signature) = line.strip_prefix(SIGNATURE_MARK)?.split_once(' ')?;
    let signature = BASE64_STANDARD.decode(signature).ok()?;
    let (id, signature) = signature.split_first_chunk::<4>()?;
    Some(Line {
        name,
        id: *id,
        signature: signature.to_vec(),
    })
}
