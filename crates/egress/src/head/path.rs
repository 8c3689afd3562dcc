//! Paths that mean one thing.

use casemate_model::check_path;

use crate::Code;

/// Path and query of a request, both as the destination will get them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Path {
    pub(crate) path: String,
    pub(crate) query: Option<String>,
}

impl Path {
    /// Takes a path that starts with `/` and is in its one spelling ([`check_path`]), and a query. Whether a `/` in it may be escaped
    /// is decided later, with the request.
    ///
    /// # Errors
    /// `path_ambiguous` for what some server reads as another path or query.
    pub(crate) fn parse(text: &str) -> Result<Self, Code> {
        let (path, query) = match text.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (text, None),
        };
        check_path(path).map_err(|_| Code::PathAmbiguous)?;
        if let Some(query) = query {
            check_query(query.as_bytes())?;
        }
        Ok(Self {
            path: path.to_owned(),
            query: query.map(str::to_owned),
        })
    }

    /// Path and query as one text: what was parsed.
    pub(crate) fn joined(&self) -> String {
        match &self.query {
            Some(query) => format!("{}?{query}", self.path),
            None => self.path.clone(),
        }
    }
}

fn check_query(bytes: &[u8]) -> Result<(), Code> {
    let mut rest = bytes;
    while let Some((&byte, more)) = rest.split_first() {
        rest = match (byte, more) {
            (b'%', [high, low, more @ ..])
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                more
            }
            (b'%' | b' ' | b'"' | b'#' | b'<' | b'>' | b'\\' | b'^' | b'`', _) => {
                return Err(Code::PathAmbiguous);
            }
            (b'!'..=b'~', _) => more,
            _ => return Err(Code::PathAmbiguous),
        };
    }
    Ok(())
}
