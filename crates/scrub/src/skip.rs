//! Passing quickly over bytes in which no spelling can begin, as Wu and Manber do: three bytes that are in no spelling, or only near its
//! beginning, say how many places can be left out.

use zeroize::Zeroizing;

use crate::encoding::Spelling;

const BLOCK_BYTES: usize = 3;
/// More of a spelling than this is not looked at.
const MAX_WINDOW_BYTES: usize = 64;
const MAX_TABLE_BITS: u32 = 18;
/// Beyond one entry in use for each so many, blocks are mistaken for each other too often.
const SPARSE: usize = 4;

pub(crate) struct Skip {
    /// How many bytes of each spelling are looked at. None without spellings.
    window: usize,
    /// By the last block of a window: how many places further the next spelling can begin.
    shifts: Zeroizing<Vec<u8>>,
    bits: u32,
}

impl Skip {
    /// For spellings of which each has the size of a block.
    pub(crate) fn new(spellings: &[Spelling]) -> Self {
        let shortest = spellings.iter().map(|spelling| spelling.len()).min();
        let affordable = (1 << MAX_TABLE_BITS) / (SPARSE * spellings.len().max(1)) + BLOCK_BYTES;
        let window = shortest
            .unwrap_or_default()
            .min(affordable)
            .min(MAX_WINDOW_BYTES);
        let bits = (spellings.len() * window * SPARSE)
            .next_power_of_two()
            .ilog2()
            .clamp(12, MAX_TABLE_BITS);
        let widest = window.saturating_sub(BLOCK_BYTES - 1);
        let mut skip = Self {
            window,
            shifts: Zeroizing::new(vec![u8::try_from(widest).unwrap_or(u8::MAX); 1 << bits]),
            bits,
        };
        for spelling in spellings {
            let blocks = spelling
                .get(..window)
                .unwrap_or_default()
                .windows(BLOCK_BYTES);
            for (left, block) in (0..widest).rev().zip(blocks) {
                let place = skip.place(block);
                if let Some(shift) = skip.shifts.get_mut(place) {
                    *shift = (*shift).min(u8::try_from(left).unwrap_or(u8::MAX));
                }
            }
        }
        skip
    }

    /// The first place at or after `at` where a spelling may begin. Near the end of `bytes`, where a window does not fit, that is any.
    pub(crate) fn next(&self, bytes: &[u8], mut at: usize) -> usize {
        if self.window == 0 {
            return bytes.len();
        }
        while let Some(block) = bytes.get(at + self.window - BLOCK_BYTES..at + self.window) {
            let shift = self.shifts.get(self.place(block)).copied();
            match shift.unwrap_or_default() {
                0 => break,
                shift => at += usize::from(shift),
            }
        }
        at
    }

    /// Where the shift of a block is: multiplied by a number without pattern, the upper bits are mixed.
    fn place(&self, block: &[u8]) -> usize {
        let [first, second, third] = *block else {
            return 0;
        };
        let block = u32::from_le_bytes([first, second, third, 0]);
        (block.wrapping_mul(0x9E37_79B1) >> (u32::BITS - self.bits)) as usize
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    proptest! {
        /// No place where a spelling begins is passed over.
        #[test]
        fn no_beginning_is_left_out(
            spellings in vec("[ab]{8,12}", 1..30),
            text in "[ab]{0,60}|[a-c]{0,60}",
            at in 0..20_usize,
        ) {
            let spellings: Vec<_> = spellings.into_iter().map(|text| Spelling::new(text.into_bytes())).collect();
            let text = text.as_bytes();
            let at = at.min(text.len());
            let next = Skip::new(&spellings).next(text, at);
            prop_assert!(at <= next && next <= text.len());
            for place in at..next {
                for spelling in &spellings {
                    prop_assert!(!text[place..].starts_with(spelling));
                }
            }
        }
    }
}
