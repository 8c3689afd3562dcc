//! Which form of the protocol a request speaks, and which session it names.

use serde::{Deserialize, Deserializer, de::Error as _};

use crate::{
    Fault,
    limits::{MAX_IDENTIFIER_BYTES, MIN_IDENTIFIER_BYTES},
};

/// The two forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generation {
    /// `code/execute` and `properties` in everything.
    First,
    /// `executions`, and plain objects.
    Second,
}

/// A version, as requests name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    name: &'static str,
    /// Its form.
    pub generation: Generation,
}

const fn version(name: &'static str, generation: Generation) -> Version {
    Version { name, generation }
}

const VERSIONS: [Version; 4] = [
    version("2024-02-02-preview", Generation::First),
    version("2024-10-02-preview", Generation::Second),
    version("2025-02-02-preview", Generation::Second),
    version("2025-10-02-preview", Generation::Second),
];

impl Version {
    /// As requests name it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.name
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let found = VERSIONS.iter().find(|version| version.name == name);
        found.copied().ok_or_else(|| {
            let names = VERSIONS.map(Version::name).join(", ");
            D::Error::custom(format!(
                "`api-version` is none that is spoken here: {names}"
            ))
        })
    }
}

/// What the query of every request says.
#[derive(Clone, Debug, Deserialize)]
pub struct Query {
    /// The version of the protocol.
    #[serde(rename = "api-version")]
    pub version: Version,
    identifier: Option<String>,
    /// A directory.
    pub path: Option<String>,
    /// Whether what is in directories is listed too.
    #[serde(default)]
    pub recursive: Flag,
}

/// A flag of a query, in any spelling of Azure's clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flag(pub bool);

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match String::deserialize(deserializer)?
            .to_ascii_lowercase()
            .as_str()
        {
            "true" | "1" => Ok(Self(true)),
            "false" | "0" | "" => Ok(Self(false)),
            _ => Err(D::Error::custom("a flag is `true` or `false`")),
        }
    }
}

impl Query {
    /// The name of the session.
    ///
    /// # Errors
    /// When there is none, or it cannot be one.
    pub fn identifier(&self) -> Result<&str, Fault> {
        let missing = || Fault::invalid("the query has to name a session with `identifier`");
        let name = self.identifier.as_deref().ok_or_else(missing)?;
        let fits = (MIN_IDENTIFIER_BYTES..=MAX_IDENTIFIER_BYTES).contains(&name.len());
        match fits && !name.chars().any(char::is_control) {
            true => Ok(name),
            false => Err(Fault::invalid(format!(
                "an `identifier` has {MIN_IDENTIFIER_BYTES} to {MAX_IDENTIFIER_BYTES} bytes and no control characters"
            ))),
        }
    }
}
