//! What can prevent an attempt.

use std::io;

use casemate_ports::KeeperError;

/// Why nothing is known about an attempt.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EscapeError {
    /// A file of the catalogue cannot be read.
    #[error("the attempts in `{theme}` cannot be read")]
    Catalogue {
        /// The theme, which is the file's name.
        theme: &'static str,
        /// The first mistake.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A trap cannot be laid, or not be looked at.
    #[error("cannot {step}")]
    Host {
        /// The step.
        step: &'static str,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// There is no sandbox to attack.
    #[error("no sandbox to attack")]
    Sandbox(#[source] KeeperError),
}

/// Names the step of an error.
pub(super) trait During<T> {
    fn during(self, step: &'static str) -> Result<T, EscapeError>;
}

impl<T, E: Into<io::Error>> During<T> for Result<T, E> {
    fn during(self, step: &'static str) -> Result<T, EscapeError> {
        self.map_err(|source| EscapeError::Host {
            step,
            source: source.into(),
        })
    }
}
