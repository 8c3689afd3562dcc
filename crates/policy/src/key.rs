//! What a table of keys is made of: a reader walks such a table, and a reference page is made from it.

use casemate_model::Limits;

use crate::{
    diagnostic::{Fault, Report},
    tree::{Node, Placed},
};

/// The longest string, in bytes, of a key that says nothing else.
pub(crate) const MAX_TEXT_BYTES: usize = 256;

/// A file of keys: what is read into, and the keys.
pub(crate) trait Subject: Sized + 'static {
    /// Every key, in groups. A section stands before its keys, and a key before those that refer to it.
    const KEYS: &'static [&'static [Key<Self>]];

    /// Told of each key that was left out and reads as what is riskier.
    fn assume(&mut self, _path: &'static str) {}
}

/// One key.
pub(crate) struct Key<T> {
    /// From the root, with dots.
    pub(crate) path: &'static str,
    /// What its value is and where that goes.
    pub(crate) kind: Kind<T>,
    /// What holds if it is not there.
    pub(crate) absent: Absent,
    /// What it means.
    pub(crate) meaning: &'static str,
}

/// What a value is, and where it goes.
pub(crate) enum Kind<T> {
    /// Other keys.
    Section,
    /// One string.
    Text {
        form: Form,
        max_bytes: usize,
        set: fn(&mut T, &str) -> Result<(), Fault>,
    },
    /// A list of strings. The good ones are taken; the bad ones are returned with their index.
    List {
        form: Form,
        set: fn(&mut T, &[&str]) -> Faults,
    },
    /// A section whose keys are free and whose values are strings.
    Pairs {
        form: Form,
        set: fn(&mut T, &[(&str, &str)]) -> Faults,
    },
    /// A number from 1 to what [`MAX_LIMITS`](casemate_model::MAX_LIMITS) gives.
    Limit {
        unit: &'static str,
        of: fn(&mut T) -> &mut Limits,
        at: fn(&mut Limits) -> &mut u64,
    },
    /// A whole number of this range.
    Number {
        unit: &'static str,
        least: u64,
        most: u64,
        standard: u64,
        set: fn(&mut T, u64) -> Result<(), Fault>,
    },
    /// `true`, which the file has to say; `false` is refused because of `why`.
    Always { why: &'static str },
    /// A list of whole numbers of this range.
    Numbers {
        unit: &'static str,
        least: u64,
        most: u64,
        set: fn(&mut T, &[u64]),
    },
    /// A list of sections, each of which has the keys of another table.
    Each {
        form: &'static str,
        most: usize,
        read: fn(&mut T, &Node, &mut Report<'_>),
    },
    /// Anything, with rules of its own.
    Tree {
        form: &'static str,
        set: fn(&mut T, &Node) -> Vec<Placed>,
    },
}

/// What a string may be.
pub(crate) enum Form {
    /// One of these.
    Words(fn() -> Vec<&'static str>),
    /// As described.
    Free(&'static str),
}

/// What holds for a key that is not there.
pub(crate) enum Absent {
    /// It must be there.
    Refused,
    /// As if these were written.
    Words(&'static [&'static str]),
    /// What [`Limits::default`] gives, or a number's own standard; a section without keys.
    Standard,
    /// As described: what a blank file has.
    Open(&'static str),
    /// As described: what a blank file has, which is what risks more.
    Riskier(&'static str),
}

/// The wrong entries of a list, by index.
pub(crate) type Faults = Vec<(usize, Fault)>;

pub(crate) const fn key<T>(
    path: &'static str,
    kind: Kind<T>,
    absent: Absent,
    meaning: &'static str,
) -> Key<T> {
    Key {
        path,
        kind,
        absent,
        meaning,
    }
}

pub(crate) const fn section<T>(path: &'static str, meaning: &'static str) -> Key<T> {
    key(path, Kind::Section, Absent::Refused, meaning)
}

/// A section that need not be there.
pub(crate) const fn optional<T>(path: &'static str, meaning: &'static str) -> Key<T> {
    key(path, Kind::Section, Absent::Standard, meaning)
}

/// A number with its range and standard.
pub(crate) const fn number<T>(
    path: &'static str,
    unit: &'static str,
    (least, standard, most): (u64, u64, u64),
    set: fn(&mut T, u64) -> Result<(), Fault>,
    meaning: &'static str,
) -> Key<T> {
    let kind = Kind::Number {
        unit,
        least,
        most,
        standard,
        set,
    };
    key(path, kind, Absent::Standard, meaning)
}

pub(crate) const fn list<T>(
    path: &'static str,
    form: Form,
    set: fn(&mut T, &[&str]) -> Faults,
    absent: Absent,
    meaning: &'static str,
) -> Key<T> {
    key(path, Kind::List { form, set }, absent, meaning)
}

pub(crate) const fn text<T>(
    path: &'static str,
    form: Form,
    set: fn(&mut T, &str) -> Result<(), Fault>,
    absent: Absent,
    meaning: &'static str,
) -> Key<T> {
    let kind = Kind::Text {
        form,
        max_bytes: MAX_TEXT_BYTES,
        set,
    };
    key(path, kind, absent, meaning)
}

/// The key of one word of a closed set: its path, the set, the field that it goes to, what holds without it, and what it means.
macro_rules! one_word {
    ($path:expr, $words:ty, $($field:ident).+, $absent:expr, $meaning:expr $(,)?) => {
        $crate::key::text(
            $path,
            $crate::key::Form::Words(|| $crate::key::names(<$words>::ALL, <$words>::as_str)),
            |subject, text| {
                $crate::rules::word(text, <$words>::ALL, <$words>::as_str)
                    .map(|word| subject.$($field).+ = word)
            },
            $absent,
            $meaning,
        )
    };
}
pub(crate) use one_word;

impl<T> Key<T> {
    /// Its last word.
    pub(crate) fn name(&self) -> &'static str {
        self.path.rsplit('.').next().unwrap_or(self.path)
    }

    /// The section it is in; empty for the root.
    pub(crate) fn parent(&self) -> &'static str {
        self.path.rsplit_once('.').map_or("", |(parent, _)| parent)
    }
}

/// Every key, in order.
pub(crate) fn all_keys<T: Subject>() -> impl Iterator<Item = &'static Key<T>> {
    T::KEYS.iter().copied().flatten()
}

/// The keys of a section.
pub(crate) fn keys_of<T: Subject>(section: &str) -> impl Iterator<Item = &'static Key<T>> {
    all_keys::<T>().filter(move |key| key.parent() == section)
}

pub(crate) fn names<T: Copy>(all: &[T], name: fn(T) -> &'static str) -> Vec<&'static str> {
    all.iter().map(|word| name(*word)).collect()
}

pub(crate) fn put(into: &mut u64, number: u64) -> Result<(), Fault> {
    *into = number;
    Ok(())
}

/// Puts every entry that follows `rule` in `into`.
pub(crate) fn each<T>(
    entries: &[&str],
    rule: impl Fn(&str) -> Result<T, Fault>,
    into: &mut Vec<T>,
) -> Faults {
    let mut faults = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        match rule(entry) {
            Ok(value) => into.push(value),
            Err(fault) => faults.push((index, fault)),
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{egress::EgressRule, manifest::Manifest, profile::Profile};

    fn check<T: Subject>() {
        let mut paths = BTreeSet::new();
        let mut sections = BTreeSet::from([""]);
        for key in all_keys::<T>() {
            assert!(paths.insert(key.path), "{} twice", key.path);
            assert!(
                sections.contains(key.parent()),
                "{} before its section",
                key.path
            );
            if matches!(key.kind, Kind::Section) {
                sections.insert(key.path);
            }
            let fits = match (&key.absent, &key.kind) {
                (Absent::Refused, _) => true,
                (Absent::Words(words), Kind::Text { .. }) => words.len() == 1,
                (Absent::Words(_), Kind::List { .. }) => true,
                (Absent::Standard, Kind::Limit { .. }) => true,
                (
                    Absent::Standard,
                    Kind::Number {
                        least,
                        standard,
                        most,
                        ..
                    },
                ) => least <= standard && standard <= most,
                // Nothing in a section that need not be there may be needed.
                (Absent::Standard, Kind::Section) => {
                    keys_of::<T>(key.path).all(|key| !matches!(key.absent, Absent::Refused))
                }
                (
                    Absent::Open(_) | Absent::Riskier(_),
                    Kind::Text { .. }
                    | Kind::List { .. }
                    | Kind::Pairs { .. }
                    | Kind::Numbers { .. }
                    | Kind::Each { .. }
                    | Kind::Tree { .. },
                ) => true,
                _ => false,
            };
            assert!(fits, "{}", key.path);
        }
    }

    #[test]
    fn every_key_has_its_section_before_it_and_an_absence_that_fits_its_kind() {
        check::<Profile>();
        check::<Manifest>();
        check::<EgressRule>();
    }
}
