//! Base64 of a secret that stands anywhere in a longer text.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE},
};
use zeroize::Zeroizing;

use super::Spelling;

#[derive(Clone, Copy)]
pub(super) enum Alphabet {
    Standard,
    Url,
}

/// Before a secret there may be zero, one or two bytes of its first group of three. For each: the characters that depend on nothing but the
/// secret; those and the one that it ends with when nothing follows; and that with its padding.
pub(super) fn spellings(secret: &[u8], alphabet: Alphabet) -> Vec<Spelling> {
    let mut all = Vec::new();
    for before in 0..3 {
        let mut bytes = Zeroizing::new(Vec::with_capacity(before + secret.len()));
        bytes.resize(before, 0);
        bytes.extend_from_slice(secret);
        let text = Zeroizing::new(match alphabet {
            Alphabet::Standard => STANDARD.encode(&*bytes),
            Alphabet::Url => URL_SAFE.encode(&*bytes),
        });
        // Characters that say something of the bytes before: 8 bits are in two, 16 in three.
        let first = if before == 0 { 0 } else { before + 1 };
        let padding = (3 - bytes.len() % 3) % 3;
        let whole = text.len() - padding;
        // A last group that is not full has a character that says something of the bytes after.
        let known = whole - usize::from(padding > 0);
        let mut ends = vec![known, whole, text.len()];
        ends.dedup();
        all.extend(ends.into_iter().filter_map(|end| {
            let spelling = text.as_bytes().get(first..end)?;
            Some(Spelling::new(spelling.to_vec()))
        }));
    }
    all
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    proptest! {
        /// Whatever is before and after a secret, its base64 holds one of the spellings.
        #[test]
        fn base64_of_anything_around_a_secret_holds_a_spelling(
            before in vec(any::<u8>(), 0..9),
            secret in vec(any::<u8>(), 8..40),
            after in vec(any::<u8>(), 0..9),
        ) {
            let text = [&before[..], &secret, &after].concat();
            for (alphabet, text) in [
                (Alphabet::Standard, STANDARD.encode(&text)),
                (Alphabet::Url, URL_SAFE.encode(&text)),
            ] {
                let found = spellings(&secret, alphabet)
                    .iter()
                    .any(|spelling| text.as_bytes().windows(spelling.len()).any(|part| part == &spelling[..]));
                prop_assert!(found);
            }
        }
    }

    /// With nothing after it, nothing of the secret is left beside the spelling: neither its last character nor the padding.
    #[test]
    fn the_end_of_a_text_is_in_a_spelling_with_its_padding() {
        for before in ["", "a", "ab"] {
            let text = STANDARD.encode(format!("{before}0123456789"));
            let ends = spellings(b"0123456789", Alphabet::Standard)
                .iter()
                .any(|spelling| text.as_bytes().ends_with(spelling));
            assert!(ends, "{text}");
        }
    }
}
