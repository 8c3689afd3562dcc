//! The people who may approve calls: who they are, what for, and by which key.

use std::{collections::BTreeSet, fmt, str::FromStr};

use crate::{KeyError, NoteError, PublicKey, limits::MAX_TRUSTED_KEYS, note};

/// The most bytes of a user's name, or of all roles of one.
const MAX_WORD_BYTES: usize = 255;

/// A person who may approve calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approver {
    /// Who, as callers are named: without spaces.
    pub user: String,
    /// What for.
    pub roles: BTreeSet<String>,
    /// By which key.
    pub key: PublicKey,
}

/// The people who may approve calls: lines of a user, roles with commas or `-`, and a key. Lines that begin with `#` are comments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApproverList(Vec<Approver>);

/// Why a text is not a list of approvers.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApproverError {
    /// It is not text.
    #[error("it is not UTF-8")]
    NotText,
    /// Not a user, roles and a key.
    #[error("line {line} is not a user, roles with commas (or `-`) and a public key")]
    Line {
        /// Which, from 1 on.
        line: usize,
    },
    /// A line without a key.
    #[error("line {line} holds no public key")]
    Key {
        /// Which, from 1 on.
        line: usize,
        /// What is wrong with it.
        #[source]
        source: KeyError,
    },
    /// A user or a key twice.
    #[error("line {line} has a user or a key that an earlier line has")]
    Twice {
        /// Which, from 1 on.
        line: usize,
    },
    /// A name that cannot stand in the list.
    #[error(
        "`{0}` cannot stand in the list: use 1 to {MAX_WORD_BYTES} printable characters without spaces and commas"
    )]
    Word(String),
    /// Too many people.
    #[error("it holds more than {MAX_TRUSTED_KEYS} people")]
    TooMany,
}

impl Approver {
    /// An approver that can stand in the list.
    ///
    /// # Errors
    /// [`ApproverError::Word`].
    pub fn new(
        user: &str,
        roles: impl IntoIterator<Item = String>,
        key: PublicKey,
    ) -> Result<Self, ApproverError> {
        let roles: BTreeSet<_> = roles.into_iter().collect();
        let odd = |word: &&str| {
            word.is_empty()
                || word.len() > MAX_WORD_BYTES
                || word.starts_with(['#', '-'])
                || word
                    .chars()
                    .any(|c| c.is_control() || c.is_whitespace() || c == ',')
        };
        let bad = roles.iter().map(String::as_str).chain([user]).find(odd);
        match bad.map(str::to_owned) {
            Some(word) => Err(ApproverError::Word(word)),
            None => Ok(Self {
                user: user.to_owned(),
                roles,
                key,
            }),
        }
    }
}

impl ApproverList {
    /// Everybody, in the order of the file.
    #[must_use]
    pub fn all(&self) -> &[Approver] {
        &self.0
    }

    /// What a note says, and whose it is.
    ///
    /// # Errors
    /// When nobody in the list signed it.
    pub fn open(&self, note: &str) -> Result<(String, Approver), NoteError> {
        let keys: Vec<_> = self.0.iter().map(|approver| approver.key.clone()).collect();
        let (text, key) = note::open_of(note, &keys)?;
        let mut all = self.0.iter();
        let found = all.find(|approver| approver.key == key);
        let approver = found.cloned().ok_or(NoteError::Malformed)?;
        Ok((text, approver))
    }

    /// With another person; one of the same name or key is replaced.
    pub(crate) fn with(mut self, new: Approver) -> Self {
        self.0
            .retain(|old| old.user != new.user && old.key != new.key);
        self.0.push(new);
        self
    }

    /// Without a person. Says whether there was one.
    pub(crate) fn without(mut self, user: &str) -> (Self, bool) {
        let before = self.0.len();
        self.0.retain(|old| old.user != user);
        let found = self.0.len() < before;
        (self, found)
    }
}

impl fmt::Display for ApproverList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Approver { user, roles, key } in &self.0 {
            let roles: Vec<_> = roles.iter().map(String::as_str).collect();
            let roles = if roles.is_empty() {
                "-".to_owned()
            } else {
                roles.join(",")
            };
            writeln!(f, "{user} {roles} {key}")?;
        }
        Ok(())
    }
}

impl FromStr for ApproverList {
    type Err = ApproverError;

    fn from_str(text: &str) -> Result<Self, ApproverError> {
        let mut all: Vec<Approver> = Vec::new();
        for (nth, content) in text.lines().enumerate() {
            let line = nth + 1;
            if content.trim().is_empty() || content.starts_with('#') {
                continue;
            }
            let mut words = content.splitn(3, ' ');
            let (Some(user), Some(roles), Some(key)) = (words.next(), words.next(), words.next())
            else {
                return Err(ApproverError::Line { line });
            };
            let roles = roles
                .split(',')
                .filter(|role| *role != "-")
                .map(str::to_owned);
            let key = key
                .parse()
                .map_err(|source| ApproverError::Key { line, source })?;
            let new = Approver::new(user, roles, key)?;
            if all
                .iter()
                .any(|old| old.user == new.user || old.key == new.key)
            {
                return Err(ApproverError::Twice { line });
            }
            all.push(new);
        }
        match all.len() {
            0..=MAX_TRUSTED_KEYS => Ok(Self(all)),
            _ => Err(ApproverError::TooMany),
        }
    }
}
