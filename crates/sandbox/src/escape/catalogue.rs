//! Every attempt there is.

use serde::Deserialize;

use super::{Attempt, EscapeError};

macro_rules! files {
    ($($name:literal),+ $(,)?) => {
        &[$(($name, include_str!(concat!("../../tests/escape/", $name, ".toml")))),+]
    };
}

/// One file for each theme.
const FILES: &[(&str, &str)] = files![
    "network",
    "filesystem",
    "mounts",
    "processes",
    "privileges",
    "syscalls",
    "resources",
    "output",
    "artefacts",
    "inputs",
    "sessions",
    "interpreter",
    "ways",
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    attempt: Vec<Attempt>,
}

/// Every attempt, by theme.
///
/// # Errors
/// When a file of the catalogue is not one; a test reads them all.
pub fn catalogue() -> Result<Vec<Attempt>, EscapeError> {
    let mut attempts = Vec::new();
    for (theme, text) in FILES {
        let file: File = toml::from_str(text).map_err(|source| EscapeError::Catalogue {
            theme,
            source: Box::new(source),
        })?;
        attempts.extend(file.attempt);
    }
    Ok(attempts)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::escape::attempt::Program;

    #[test]
    fn every_attempt_is_complete_and_has_a_name_of_its_own() {
        let mut names = BTreeSet::new();
        for (theme, text) in FILES {
            let file: File = toml::from_str(text).unwrap();
            for attempt in file.attempt {
                let name = attempt.name();
                let what = name.strip_prefix(&format!("{theme}/")).unwrap();
                assert!(
                    what.bytes()
                        .all(|byte| byte == b'_' || byte.is_ascii_alphanumeric()),
                    "{name}"
                );
                assert!(names.insert(name.to_owned()), "{name} is there twice");
                assert!(!attempt.requirements().is_empty(), "{name} shows nothing");
                assert!(
                    (10..=120).contains(&attempt.why().len()),
                    "{name}: {}",
                    attempt.why()
                );
                let interpreted = attempt.program != Program::Argv;
                assert_eq!(interpreted, !attempt.code.is_empty(), "{name}: code");
                assert!(!interpreted || attempt.argv.is_empty(), "{name}: argv");
                assert!(attempt.ways().next().is_some(), "{name} is never run");
                for differs in &attempt.differs {
                    assert!(!differs.ways.is_empty(), "{name}: differs nowhere");
                    assert!(differs.why.len() >= 10, "{name}: {}", differs.why);
                }
            }
        }
        assert!(names.len() >= 60, "only {} attempts", names.len());
    }
}
