//! A file as it comes in: its bytes, its text, its tree.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use crate::{
    diagnostic::{Fault, Report},
    profile::Syntax,
    tree::{Node, read_json, read_toml},
};

/// Why there are no bytes to read.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The name of the file does not say its language.
    #[error("cannot tell the language of {path}: call it *.json or *.toml")]
    Syntax {
        /// The file.
        path: PathBuf,
    },
    /// The file could not be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// A directory, a pipe or a device.
    #[error("{path} is not a regular file")]
    NotAFile {
        /// The file.
        path: PathBuf,
    },
}

/// A kind of file.
pub(crate) struct Paper {
    /// What people call it.
    pub(crate) noun: &'static str,
    /// The largest, in bytes.
    pub(crate) max_bytes: usize,
    /// What the least one has.
    pub(crate) needs: &'static str,
}

impl Paper {
    /// The bytes of the file at `path`, or one more than there may be, and its language.
    pub(crate) fn load(&self, path: &Path) -> Result<(Vec<u8>, Syntax), SourceError> {
        let syntax = Syntax::of(path).ok_or_else(|| SourceError::Syntax { path: path.into() })?;
        let unreadable = |source| SourceError::Read {
            path: path.into(),
            source,
        };
        // Asked before it is opened: opening a pipe would wait for its writer.
        if !fs::metadata(path).map_err(unreadable)?.is_file() {
            return Err(SourceError::NotAFile { path: path.into() });
        }
        let mut bytes = Vec::new();
        let most = u64::try_from(self.max_bytes).unwrap_or(u64::MAX);
        File::open(path)
            .and_then(|file| file.take(most.saturating_add(1)).read_to_end(&mut bytes))
            .map_err(unreadable)?;
        Ok((bytes, syntax))
    }

    /// The tree of `source`, or nothing after reporting why it has none.
    pub(crate) fn tree(
        &self,
        source: &[u8],
        syntax: Syntax,
        report: &mut Report<'_>,
    ) -> Option<Node> {
        let text = self.text(source, report)?;
        match syntax {
            Syntax::Json => read_json(text, report),
            Syntax::Toml => read_toml(text, report),
        }
    }

    fn text<'s>(&self, source: &'s [u8], report: &mut Report<'_>) -> Option<&'s str> {
        let mut wrong = |at, message: String, hint: String| {
            report.add(at, "", || Fault::new(message, hint));
            None
        };
        let Self {
            noun,
            max_bytes,
            needs,
        } = self;
        if source.len() > *max_bytes {
            let kib = max_bytes >> 10;
            let hint = format!("a {noun} is a short file");
            return wrong(0, format!("larger than {kib} KiB"), hint);
        }
        if source.starts_with(b"\xef\xbb\xbf") {
            let hint = "save the file as UTF-8 without a byte order mark".to_owned();
            return wrong(0, "begins with a byte order mark".to_owned(), hint);
        }
        let text = match str::from_utf8(source) {
            Ok(text) => text,
            Err(error) => {
                let hint = "save the file as UTF-8".to_owned();
                return wrong(error.valid_up_to(), "not UTF-8".to_owned(), hint);
            }
        };
        let odd = |char: char| char.is_control() && !matches!(char, '\t' | '\r' | '\n');
        if let Some((at, char)) = text.char_indices().find(|(_, char)| odd(*char)) {
            let message = format!("the control character U+{:04X}", u32::from(char));
            return wrong(at, message, format!("a {noun} is a text file"));
        }
        if text.trim_ascii().is_empty() {
            let hint = format!("a {noun} needs {needs}");
            return wrong(0, "the file is empty".to_owned(), hint);
        }
        Some(text)
    }
}
