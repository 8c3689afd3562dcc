//! Recipes: what an image is made of, locked.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use casemate_model::Digest;
use serde::{Deserialize, Serialize};

use crate::{BuildError, ImageName, dir};

/// The largest recipe.
pub const MAX_RECIPE_BYTES: u64 = 1024 * 1024;

const MAX_PACKAGES: usize = 2_000;
const MAX_WHEELS: usize = 64;
const MAX_PRELOAD: usize = 64;
const MAX_VARIABLES: usize = 64;
const MAX_WORD_BYTES: usize = 200;
const MAX_VALUE_BYTES: usize = 4_096;

/// Variables that a sandbox sets itself, and those that change which code is loaded.
const RESERVED: [&str; 6] = ["PATH", "HOME", "USER", "LANG", "TERM", "TMPDIR"];
const RESERVED_STARTS: [&str; 4] = ["LD_", "GLIBC_", "CASEMATE_", "PYTHON"];

/// What an image is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// The name to build under.
    pub name: ImageName,
    /// The interpreter, on this host.
    pub python: PathBuf,
    /// Its major and minor version.
    pub python_version: String,
    /// The modules that a warm interpreter imports.
    #[serde(default)]
    pub preload: Vec<String>,
    /// Variables of programs that set no others.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Every package: those that are wanted and those that they need.
    #[serde(rename = "package")]
    pub packages: Vec<Locked>,
}

/// A package of which only certain files are taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Locked {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The SHA-256 of each wheel that may be installed: one for each kind of machine.
    pub wheels: Vec<Digest>,
}

impl Recipe {
    /// Reads and checks the recipe in `file`.
    ///
    /// # Errors
    /// When it cannot be read, or something in it cannot be followed.
    pub fn read(file: &Path) -> Result<Self, BuildError> {
        let failed = || file.to_owned();
        let bytes = dir::read(file, MAX_RECIPE_BYTES).map_err(|source| BuildError::ReadRecipe {
            path: failed(),
            source,
        })?;
        let text = String::from_utf8(bytes).map_err(|_| BuildError::Recipe {
            path: failed(),
            what: "it is not UTF-8".to_owned(),
        })?;
        let recipe: Self = toml::from_str(&text).map_err(|source| BuildError::Syntax {
            path: failed(),
            source: Box::new(source),
        })?;
        match recipe.flaw() {
            None => Ok(recipe),
            Some(what) => Err(BuildError::Recipe {
                path: failed(),
                what,
            }),
        }
    }

    /// The digest of what it says, however it is laid out.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    pub fn digest(&self) -> Result<Digest, BuildError> {
        serde_json::to_vec(self)
            .map(|bytes| Digest::of(&bytes))
            .map_err(|source| BuildError::Json { source })
    }

    /// The first thing in it that cannot be followed.
    fn flaw(&self) -> Option<String> {
        self.flaw_of_python()
            .or_else(|| {
                self.preload
                    .iter()
                    .find_map(|module| flaw_of_module(module))
            })
            .or_else(|| {
                self.env
                    .iter()
                    .find_map(|(name, value)| flaw_of_variable(name, value))
            })
            .or_else(|| self.flaw_of_packages())
    }

    fn flaw_of_python(&self) -> Option<String> {
        let python = &self.python;
        let mut parts = self.python_version.split('.');
        let is_number = |part: &str| {
            (1..=3).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit())
        };
        let is_version = parts
            .by_ref()
            .take(2)
            .filter(|part| is_number(part))
            .count()
            == 2
            && parts.next().is_none();
        if !python.is_absolute() {
            Some(format!("python = {python:?} is not an absolute path"))
        } else if !is_version {
            let version = &self.python_version;
            Some(format!(
                "python_version = {version:?} is not of the form \"3.11\""
            ))
        } else if self.preload.len() > MAX_PRELOAD {
            Some(format!("preload names more than {MAX_PRELOAD} modules"))
        } else if self.env.len() > MAX_VARIABLES {
            Some(format!("env sets more than {MAX_VARIABLES} variables"))
        } else {
            None
        }
    }

    fn flaw_of_packages(&self) -> Option<String> {
        if self.packages.is_empty() {
            return Some("it has no [[package]]".to_owned());
        }
        if self.packages.len() > MAX_PACKAGES {
            return Some(format!("it has more than {MAX_PACKAGES} packages"));
        }
        let mut names = BTreeSet::new();
        self.packages.iter().find_map(|package| {
            package.flaw().or_else(|| {
                (!names.insert(normal(&package.name)))
                    .then(|| format!("package {:?} is there twice", package.name))
            })
        })
    }
}

impl Locked {
    fn flaw(&self) -> Option<String> {
        let Self {
            name,
            version,
            wheels,
        } = self;
        let is_end = |char: Option<char>| char.is_some_and(|char| char.is_ascii_alphanumeric());
        let is_name =
            is_word(name, "-_.") && is_end(name.chars().next()) && is_end(name.chars().last());
        if !is_name {
            Some(format!("{name:?} is not the name of a package"))
        } else if !(is_word(version, ".+!_-") && is_end(version.chars().next())) {
            Some(format!("{version:?} is not a version of {name}"))
        } else if wheels.is_empty() {
            Some(format!(
                "package {name} names no wheel: give the SHA-256 of each that may be installed"
            ))
        } else if wheels.len() > MAX_WHEELS {
            Some(format!(
                "package {name} names more than {MAX_WHEELS} wheels"
            ))
        } else {
            None
        }
    }
}

fn is_word(text: &str, others: &str) -> bool {
    (1..=MAX_WORD_BYTES).contains(&text.len())
        && text
            .chars()
            .all(|char| char.is_ascii_alphanumeric() || others.contains(char))
}

fn flaw_of_module(module: &str) -> Option<String> {
    let is_identifier =
        |part: &str| is_word(part, "_") && !part.starts_with(|first: char| first.is_ascii_digit());
    let is_module = module.len() <= MAX_WORD_BYTES && module.split('.').all(is_identifier);
    (!is_module).then(|| format!("{module:?} in preload is not the name of a module"))
}

fn flaw_of_variable(name: &str, value: &str) -> Option<String> {
    let is_name = is_word(name, "_") && !name.starts_with(|first: char| first.is_ascii_digit());
    let is_reserved =
        RESERVED.contains(&name) || RESERVED_STARTS.iter().any(|start| name.starts_with(start));
    if !is_name {
        Some(format!("{name:?} in env is not the name of a variable"))
    } else if is_reserved {
        Some(format!("{name} in env is not a recipe's to set"))
    } else if value.len() > MAX_VALUE_BYTES || value.chars().any(char::is_control) {
        Some(format!(
            "the value of {name} in env is too long or has control characters"
        ))
    } else {
        None
    }
}

/// The name of a package as indexes compare it.
pub(crate) fn normal(name: &str) -> String {
    let mut normal = String::new();
    for char in name.chars() {
        if !matches!(char, '-' | '_' | '.') {
            normal.push(char.to_ascii_lowercase());
        } else if !normal.ends_with('-') {
            normal.push('-');
        }
    }
    normal
}

#[cfg(test)]
mod tests;
