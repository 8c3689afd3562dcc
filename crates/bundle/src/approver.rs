//! Who may approve calls: people and services, what for, and by which keys.

use std::{collections::BTreeSet, fmt, str::FromStr};

use casemate_answers::{AssertionError, MessageError, SignedAnswer};

use crate::{
    ApproverKey, ApproverKeyError, NoteError,
    limits::{MAX_APPROVERS_BYTES, MAX_TRUSTED_KEYS},
    note,
};

/// The most bytes of a user's name, or of all roles of one.
const MAX_WORD_BYTES: usize = 255;

/// A person, or a service, who may approve calls, by one key. Who has a key of another kind too is there once more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approver {
    /// Who, as callers are named: without spaces.
    pub user: String,
    /// What for, if it is by this key.
    pub roles: BTreeSet<String>,
    /// By which key.
    pub key: ApproverKey,
}

/// Who may approve calls: lines of a user, roles with commas or `-`, and a key. Lines that begin with `#` are comments.
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
        source: ApproverKeyError,
    },
    /// A key twice, or two keys of a kind for one user.
    #[error(
        "line {line} has a key, or a user with a key of the same kind, that an earlier line has"
    )]
    Twice {
        /// Which, from 1 on.
        line: usize,
    },
    /// A name that cannot stand in the list.
    #[error(
        "`{0}` cannot stand in the list: use 1 to {MAX_WORD_BYTES} printable characters without spaces and commas"
    )]
    Word(String),
    /// Too many keys.
    #[error("it holds more than {MAX_TRUSTED_KEYS} keys")]
    TooMany,
    /// Too many bytes.
    #[error("it would have more than {MAX_APPROVERS_BYTES} bytes")]
    TooLarge,
}

/// Why an answer is of nobody in the list.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum OpenError {
    /// The note does not count.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// The assertion does not count.
    #[error(transparent)]
    Assertion(#[from] AssertionError),
    /// A passkey that nobody has enlisted.
    #[error("the passkey is not one of an approver")]
    UnknownPasskey,
    /// The message does not count.
    #[error(transparent)]
    Message(#[from] MessageError),
}

/// What an answer says, and whose it is.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) text: String,
    pub(crate) approver: Approver,
    /// With a passkey: its credential, and its counter.
    pub(crate) counter: Option<(String, u32)>,
}

impl Approver {
    /// An approver that can stand in the list.
    ///
    /// # Errors
    /// [`ApproverError::Word`].
    pub fn new(
        user: &str,
        roles: impl IntoIterator<Item = String>,
        key: ApproverKey,
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

    /// Whether only one of both can be in a list.
    fn stands_for(&self, other: &Self) -> bool {
        self.key.is_same(&other.key) || self.user == other.user && self.key.is_like(&other.key)
    }
}

impl ApproverList {
    /// Everybody, in the order of the file.
    #[must_use]
    pub fn all(&self) -> &[Approver] {
        &self.0
    }

    pub(crate) fn has_credential(&self, credential: &str) -> bool {
        self.0.iter().any(
            |approver| matches!(&approver.key, ApproverKey::Passkey(key) if key.credential() == credential),
        )
    }

    /// What an answer says, and whose it is.
    pub(crate) fn open(&self, answer: &SignedAnswer, now_ms: u64) -> Result<Opened, OpenError> {
        let opened = |text: &str, approver: &Approver, counter| Opened {
            text: text.to_owned(),
            approver: approver.clone(),
            counter,
        };
        match answer {
            SignedAnswer::Note { note } => {
                let keys = self.0.iter().filter_map(|approver| match &approver.key {
                    ApproverKey::Note(key) => Some(key.clone()),
                    _ => None,
                });
                let (text, key) = note::open_of(note, &keys.collect::<Vec<_>>())?;
                let key = ApproverKey::Note(key);
                let found = self.0.iter().find(|approver| approver.key == key);
                let approver = found.ok_or(NoteError::Malformed)?;
                Ok(opened(&text, approver, None))
            }
            SignedAnswer::Passkey {
                statement,
                assertion,
            } => {
                let found = self.0.iter().find_map(|approver| match &approver.key {
                    ApproverKey::Passkey(key) if key.credential() == assertion.id => {
                        Some((approver, key))
                    }
                    _ => None,
                });
                let (approver, key) = found.ok_or(OpenError::UnknownPasskey)?;
                let count = key.verify(statement, assertion)?;
                let counter = Some((key.credential(), count));
                Ok(opened(statement, approver, counter))
            }
            SignedAnswer::Webhook { webhook } => {
                let message = webhook.check(now_ms)?;
                let found = self.0.iter().find_map(|approver| match &approver.key {
                    ApproverKey::Webhook(key) => Some((approver, message.by(key)?)),
                    _ => None,
                });
                let (approver, text) = found.ok_or(MessageError::Signature)?;
                Ok(opened(text, approver, None))
            }
        }
    }

    /// With another; whoever has the same key, or the same name and a key of the same kind, is replaced.
    pub(crate) fn with(mut self, new: Approver) -> Self {
        self.0.retain(|old| !old.stands_for(&new));
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
            if all.iter().any(|old| old.stands_for(&new)) {
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
    use base64::{
        Engine as _,
        prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
    };
    use casemate_answers::SigningKey;

    use super::*;
    use crate::PolicyKey;

    fn note() -> String {
        let key = PolicyKey::generate("key").unwrap();
        key.public().to_string()
    }

    fn passkey(credential: &str, origin: &str) -> String {
        let key = Ed25519KeyPair::generate().unwrap();
        let key = BASE64_URL_SAFE_NO_PAD.encode(key.public_key().as_ref());
        format!("passkey:EdDSA:localhost:{credential}:{key}:{origin}")
    }

    fn service() -> String {
        let key = SigningKey::generate().unwrap();
        key.public().unwrap().to_string()
    }

    fn list(lines: &[(&str, &str)]) -> Result<ApproverList, ApproverError> {
        let lines = lines.iter();
        let lines: Vec<_> = lines
            .map(|(user, key)| format!("{user} - {key}\n"))
            .collect();
        lines.concat().parse()
    }

    /// A key of each kind for one user, and no key twice: one credential is one key, from wherever it is used.
    #[test]
    fn a_user_has_a_key_of_each_kind_and_a_key_one_user() {
        let (note_key, service_key) = (note(), service());
        let one = passkey("AAAA", "https://localhost");
        let kinds = [
            ("alice", note_key.as_str()),
            ("alice", one.as_str()),
            ("alice", service_key.as_str()),
        ];
        let found = list(&kinds).unwrap();
        assert_eq!(found.all().len(), 3);
        assert_eq!(found.to_string().parse::<ApproverList>().unwrap(), found);
        let same = passkey("AAAA", "https://localhost:8443");
        let other = passkey("BBBB", "https://localhost");
        for (user, key) in [
            ("alice", note()),
            ("alice", other.clone()),
            ("alice", service()),
            ("bob", note_key.clone()),
            ("bob", same.clone()),
            ("bob", service_key.clone()),
        ] {
            let mut lines = kinds.to_vec();
            lines.push((user, &key));
            let refused = list(&lines);
            assert!(
                matches!(refused, Err(ApproverError::Twice { line: 4 })),
                "{user} {key}"
            );
        }
        // Whoever is enlisted anew takes the place of what was.
        let enlist = |list: ApproverList, user: &str, key: &str| {
            list.with(Approver::new(user, [], key.parse().unwrap()).unwrap())
        };
        let found = enlist(enlist(found, "alice", &other), "bob", &service_key);
        assert_eq!(found.all().len(), 3);
        assert!(found.has_credential("BBBB") && !found.has_credential("AAAA"));
        let (left, was) = found.without("alice");
        assert!(was && left.all().len() == 1 && !left.has_credential("BBBB"));
    }

    /// One key has one user, by whatever name and in whatever form it comes.
    #[test]
    fn a_key_is_one_key_in_every_form() {
        let seed = [9; 32];
        let key = Ed25519KeyPair::from_seed_unchecked(&seed).unwrap();
        let bytes = key.public_key().as_ref();
        let note = |name: &str| {
            PolicyKey::from_seed(&seed, name)
                .unwrap()
                .public()
                .to_string()
        };
        let passkey = |credential: &str| {
            let key = BASE64_URL_SAFE_NO_PAD.encode(bytes);
            format!("passkey:EdDSA:localhost:{credential}:{key}:https://localhost")
        };
        let service = format!("whpk_{}", BASE64_STANDARD.encode(bytes));
        let forms = [
            note("one"),
            note("other"),
            passkey("AAAA"),
            passkey("BBBB"),
            service,
        ];
        for one in &forms {
            for other in &forms {
                for user in ["alice", "bob"] {
                    let refused = list(&[("alice", one), (user, other)]);
                    let twice = matches!(refused, Err(ApproverError::Twice { line: 2 }));
                    assert!(twice, "{one} {user} {other}");
                }
                let enlisted =
                    |user, key: &str| Approver::new(user, [], key.parse().unwrap()).unwrap();
                let found = ApproverList::default()
                    .with(enlisted("alice", one))
                    .with(enlisted("bob", other));
                let users: Vec<_> = found.all().iter().map(|approver| &approver.user).collect();
                assert_eq!(users, ["bob"], "{one} {other}");
            }
        }
    }

    #[test]
    fn what_is_no_key_of_any_kind_is_not_in_the_list() {
        for key in [
            "",
            "whpk_",
            "whpk_AAAA",
            "passkey:",
            "passkey:x+00000000+AQ==",
            "x",
        ] {
            assert!(list(&[("alice", key)]).is_err(), "{key}");
        }
    }
}
