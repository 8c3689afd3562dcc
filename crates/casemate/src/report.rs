//! What people are told on standard error, and the one place that prints an error with its causes.

use std::{
    fmt,
    io::{self, Write as _},
};

use casemate_model::one_line;

use crate::exit::Exit;

/// Why a command did not do what it was asked to, before or beside any call.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    error: anyhow::Error,
    hint: Option<String>,
}

impl Failure {
    /// The command line cannot be followed; nothing happened.
    pub(crate) fn usage(error: impl Into<anyhow::Error>) -> Self {
        Self {
            exit: Exit::Usage,
            error: error.into(),
            hint: None,
        }
    }

    /// Something did not work.
    pub(crate) fn failed(error: impl Into<anyhow::Error>) -> Self {
        Self {
            exit: Exit::Failed,
            error: error.into(),
            hint: None,
        }
    }

    /// What was looked at is not valid.
    pub(crate) fn invalid(error: impl Into<anyhow::Error>) -> Self {
        Self {
            exit: Exit::Invalid,
            error: error.into(),
            hint: None,
        }
    }

    /// The gateway refused.
    pub(crate) fn refused(error: impl Into<anyhow::Error>) -> Self {
        Self {
            exit: Exit::Refused,
            error: error.into(),
            hint: None,
        }
    }

    /// With another way to exit.
    pub(crate) fn exits(self, exit: Exit) -> Self {
        Self { exit, ..self }
    }

    /// With advice.
    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }

    /// What went wrong, and what can be done, in one line.
    pub(crate) fn in_full(&self) -> String {
        match &self.hint {
            Some(hint) => format!("{self}: {hint}"),
            None => self.to_string(),
        }
    }

    /// Prints it and says how to exit.
    pub(crate) fn report(&self) -> Exit {
        line(&one_line(self.error.as_ref()));
        if let Some(text) = &self.hint {
            hint(text);
        }
        self.exit
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&one_line(self.error.as_ref()))
    }
}

/// Prints `casemate: text` on standard error. If nobody can read it, there is nobody to tell.
pub(crate) fn line(text: &str) {
    write(format_args!("casemate: {}\n", Visible(text)));
}

/// Prints advice.
pub(crate) fn hint(text: &str) {
    write(format_args!("hint: {}\n", Visible(text)));
}

/// Prints text that is safe as it is, on standard error, in one write.
pub(crate) fn write(text: fmt::Arguments<'_>) {
    drop(io::stderr().lock().write_all(text.to_string().as_bytes()));
}

/// Whether somebody still reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// As far as one can know.
    Delivered,
    /// The reader has gone: it has what it wanted.
    Unwanted,
}

/// Prints to standard output.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn deliver(text: fmt::Arguments<'_>) -> Result<Delivery, Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_fmt(text).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(Delivery::Delivered),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Delivery::Unwanted),
        Err(error) => Err(Failure::failed(error).context("cannot write standard output")),
    }
}

/// Prints to standard output, for whoever reads it.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn print(text: fmt::Arguments<'_>) -> Result<(), Failure> {
    deliver(text).map(|_| ())
}

impl Failure {
    /// Says what was being done.
    pub(crate) fn context(self, doing: impl fmt::Display + Send + Sync + 'static) -> Self {
        Self {
            error: self.error.context(doing),
            ..self
        }
    }
}

/// Text for a terminal: control characters cannot drive it.
struct Visible<'a>(&'a str);

impl fmt::Display for Visible<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|char| {
            if char.is_control() {
                write!(f, "{}", char.escape_default())
            } else {
                write!(f, "{char}")
            }
        })
    }
}
