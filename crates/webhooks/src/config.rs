//! To whom messages go: a file in TOML, in which every key is known.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use casemate_answers::{SigningKey, SigningKeyError};
use casemate_files::{FileError, Privacy, read_file};
use serde::Deserialize;
use ureq::http::Uri;
use zeroize::Zeroizing;

use crate::limits::{
    MAX_CONFIG_BYTES, MAX_ENDPOINTS, MAX_KEY_FILE_BYTES, MAX_NAME_BYTES, MAX_URL_BYTES,
};

/// What messages are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub enum Topic {
    /// A call waits for a person.
    #[serde(rename = "approval.waiting")]
    Waiting,
    /// A call waits no more: it may run, or was refused.
    #[serde(rename = "approval.ended")]
    Ended,
    /// Somebody has to look at something.
    #[serde(rename = "alert")]
    Alert,
}

impl Topic {
    /// The word as it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "approval.waiting",
            Self::Ended => "approval.ended",
            Self::Alert => "alert",
        }
    }
}

/// Where messages go.
#[derive(Debug)]
pub struct Webhooks {
    /// The authorities by which receivers are verified, if not those of the host.
    pub authorities: Option<PathBuf>,
    /// The receivers.
    pub endpoints: Vec<Endpoint>,
}

/// A receiver.
#[derive(Debug)]
pub struct Endpoint {
    /// What it is called here. Its cursor has this name.
    pub name: String,
    /// Where it is.
    pub url: String,
    /// What it is told.
    pub events: BTreeSet<Topic>,
    /// By which key its messages are signed.
    pub key: SigningKey,
}

/// Why there are no such receivers.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// It is not text.
    #[error("{0:?} is not UTF-8")]
    NotText(PathBuf),
    /// It is not what is expected.
    #[error("{path:?} does not say to whom messages go")]
    Toml {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// No receivers, or too many.
    #[error("there are 1 to {MAX_ENDPOINTS} endpoints, and not {0}")]
    Number(usize),
    /// A name that no file can have.
    #[error(
        "`{0}` cannot name an endpoint: use up to {MAX_NAME_BYTES} small letters, digits and `-`"
    )]
    Name(String),
    /// Nothing is told.
    #[error("the endpoint `{0}` is told nothing: name its `events`")]
    NoEvents(String),
    /// A URL to which no message goes.
    #[error(
        "the endpoint `{0}` has no URL to which a message could go: `https://…`, or `http://` to 127.0.0.1, [::1] or localhost, \
         without a user and without a fragment"
    )]
    Url(String),
    /// A key that is none.
    #[error("{path:?} holds no key by which messages could be signed")]
    Key {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: SigningKeyError,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    authorities: Option<PathBuf>,
    endpoints: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    url: String,
    events: BTreeSet<Topic>,
    key_file: PathBuf,
}

impl Webhooks {
    /// The receivers that a file names. Paths in it are relative to it.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let bytes = read_file(path, MAX_CONFIG_BYTES, Privacy::Configured)?;
        let text = String::from_utf8(bytes).map_err(|_| ConfigError::NotText(path.to_owned()))?;
        let file: File = toml::from_str(&text).map_err(|source| ConfigError::Toml {
            path: path.to_owned(),
            source: Box::new(source),
        })?;
        if !(1..=MAX_ENDPOINTS).contains(&file.endpoints.len()) {
            return Err(ConfigError::Number(file.endpoints.len()));
        }
        let beside = |other: &Path| {
            path.parent()
                .map_or(other.to_owned(), |dir| dir.join(other))
        };
        let endpoints = file.endpoints.into_iter().map(|(name, entry)| {
            let key = load_key(&beside(&entry.key_file))?;
            Endpoint::new(name, entry.url, entry.events, key)
        });
        Ok(Self {
            authorities: file.authorities.as_deref().map(beside),
            endpoints: endpoints.collect::<Result<_, _>>()?,
        })
    }
}

impl Endpoint {
    /// A receiver.
    ///
    /// # Errors
    /// When its name, its URL or its events cannot be.
    pub fn new(
        name: String,
        url: String,
        events: BTreeSet<Topic>,
        key: SigningKey,
    ) -> Result<Self, ConfigError> {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if !(1..=MAX_NAME_BYTES).contains(&name.len()) || !name.chars().all(fits) {
            let shown = name.chars().take(100).flat_map(char::escape_debug);
            return Err(ConfigError::Name(shown.collect()));
        }
        if events.is_empty() {
            return Err(ConfigError::NoEvents(name));
        }
        match is_receiver(&url) {
            true => Ok(Self {
                name,
                url,
                events,
                key,
            }),
            false => Err(ConfigError::Url(name)),
        }
    }
}

/// Whether messages may go there. A private address is no reason against it: whoever names it means it.
fn is_receiver(url: &str) -> bool {
    let Ok(uri) = url.parse::<Uri>() else {
        return false;
    };
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return false;
    };
    let local = matches!(authority.host(), "127.0.0.1" | "[::1]" | "localhost");
    let spoken = scheme == "https" || scheme == "http" && local;
    spoken && url.len() <= MAX_URL_BYTES && !authority.as_str().contains('@') && !url.contains('#')
}

fn load_key(path: &Path) -> Result<SigningKey, ConfigError> {
    let bytes = Zeroizing::new(read_file(path, MAX_KEY_FILE_BYTES, Privacy::Secret)?);
    let text = std::str::from_utf8(&bytes).map_err(|_| ConfigError::NotText(path.to_owned()))?;
    let key = text.strip_suffix('\n').unwrap_or(text).parse();
    key.map_err(|source| ConfigError::Key {
        path: path.to_owned(),
        source,
    })
}
