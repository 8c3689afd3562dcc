//! The number of a requirement.

use std::{fmt, str::FromStr};

use anyhow::{Context, Error, Result, bail, ensure};

/// The longest range of numbers that one comment can claim.
const LONGEST_RANGE: u16 = 50;

/// The number of a requirement (`R24`) or an invariant (`I12`). Requirements sort before invariants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Id {
    kind: Kind,
    number: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Requirement,
    Invariant,
}

impl Id {
    /// Whether it is the number of an invariant.
    #[must_use]
    pub const fn is_invariant(self) -> bool {
        matches!(self.kind, Kind::Invariant)
    }

    /// The numbers at the start of a test's name: `r24_r26_…`.
    pub(super) fn of_name(name: &str) -> Vec<Self> {
        name.split('_')
            .map_while(|word| {
                word.starts_with(['r', 'i'])
                    .then(|| word.to_ascii_uppercase().parse().ok())
                    .flatten()
            })
            .collect()
    }

    /// The numbers at the start of a doc comment: `R24, R26-R28: …`. None if it starts with none.
    pub(super) fn of_comment(comment: &str) -> Result<Vec<Self>> {
        let mut characters = comment.chars();
        let claims = matches!(characters.next(), Some('R' | 'I'))
            && characters
                .next()
                .is_some_and(|second| second.is_ascii_digit());
        if !claims {
            return Ok(Vec::new());
        }
        let (claimed, _) = comment
            .split_once(':')
            .context("a comment that starts with a requirement's number needs a colon after it")?;
        let mut ids = Vec::new();
        for part in claimed.split(',').map(str::trim) {
            match part.split_once(['-', '–']) {
                None => ids.push(part.parse()?),
                Some((first, last)) => ids.extend(range(first.parse()?, last.parse()?)?),
            }
        }
        Ok(ids)
    }
}

fn range(first: Id, last: Id) -> Result<impl Iterator<Item = Id>> {
    ensure!(
        first.kind == last.kind
            && first.number < last.number
            && last.number - first.number < LONGEST_RANGE,
        "{first}-{last} is no range of requirements"
    );
    Ok((first.number..=last.number).map(move |number| Id { number, ..first }))
}

impl FromStr for Id {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || format!("{text:?} is no requirement's number, such as R24 or I12");
        let (kind, number) = match text.split_at_checked(1) {
            Some(("R", number)) => (Kind::Requirement, number),
            Some(("I", number)) => (Kind::Invariant, number),
            _ => bail!(wrong()),
        };
        let number = number.parse().with_context(wrong)?;
        Ok(Self { kind, number })
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = match self.kind {
            Kind::Requirement => 'R',
            Kind::Invariant => 'I',
        };
        write!(f, "{letter}{}", self.number)
    }
}
