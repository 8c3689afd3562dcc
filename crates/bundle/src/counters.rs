//! How often each passkey has signed: a counter that goes back is of a copy.

use std::{collections::BTreeMap, fmt, str::FromStr};

use casemate_answers::AssertionError;
use casemate_model::Digest;

/// The counters of passkeys: lines of a credential, its counter, and the hash of the answer that had it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters(BTreeMap<String, (u32, Digest)>);

impl Counters {
    /// Notes that an answer with this hash came with this counter (WebAuthn §7.2, step 22). Says whether that is news.
    pub(crate) fn advance(
        &mut self,
        credential: &str,
        count: u32,
        answer: Digest,
    ) -> Result<bool, AssertionError> {
        let known = self.0.get(credential).copied();
        match known {
            // Many passkeys never count.
            None if count == 0 => return Ok(false),
            // One answer is about several calls, and comes for each.
            Some(same) if same == (count, answer) => return Ok(false),
            Some((before, _)) if count <= before => return Err(AssertionError::Counter),
            _ => {}
        }
        self.0.insert(credential.to_owned(), (count, answer));
        Ok(true)
    }

    /// Only those of these credentials.
    pub(crate) fn retain(&mut self, is_enlisted: impl Fn(&str) -> bool) {
        self.0.retain(|credential, _| is_enlisted(credential));
    }
}

impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (credential, (count, answer)) in &self.0 {
            writeln!(f, "{credential} {count} {answer}")?;
        }
        Ok(())
    }
}

impl FromStr for Counters {
    /// The line that is none, from 1 on.
    type Err = usize;

    fn from_str(text: &str) -> Result<Self, usize> {
        let line = |(nth, line): (usize, &str)| {
            let mut words = line.split(' ');
            let (Some(credential), Some(count), Some(answer), None) =
                (words.next(), words.next(), words.next(), words.next())
            else {
                return Err(nth + 1);
            };
            let count = count.parse().map_err(|_| nth + 1)?;
            let answer = answer.parse().map_err(|_| nth + 1)?;
            Ok((credential.to_owned(), (count, answer)))
        };
        text.lines()
            .enumerate()
            .map(line)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_counter_only_rises_but_one_answer_may_come_again() {
        let (one, other) = (Digest::of(b"one"), Digest::of(b"other"));
        let mut counters = Counters::default();
        assert_eq!(counters.advance("never-counts", 0, one), Ok(false));
        assert_eq!(counters.advance("never-counts", 0, other), Ok(false));
        assert_eq!(counters.advance("c", 7, one), Ok(true));
        assert_eq!(counters.advance("c", 7, one), Ok(false));
        for count in [7, 6, 0] {
            let refused = counters.advance("c", count, other);
            assert_eq!(refused, Err(AssertionError::Counter), "{count}");
        }
        assert_eq!(counters.advance("c", 9, other), Ok(true));
        assert_eq!(counters.to_string().parse(), Ok(counters));
        assert_eq!("c 1\n".parse::<Counters>(), Err(1));
        assert_eq!("c x sha256:1\n".parse::<Counters>(), Err(1));
    }
}
