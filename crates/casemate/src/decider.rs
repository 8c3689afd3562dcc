//! The operator's own program, if there is one, that is asked about each request on the way out.
//!
//! The file `egress/decider.toml` of the state directory names it: whoever writes profiles can neither choose it nor leave it out.

mod link;

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
    time::Duration,
};

use casemate_decider::{ANSWER_MS, Answer, Decider as Asker, Denial, Question, QuestionBody};
use casemate_files::{FileError, Privacy, read_file};
use casemate_model::is_hidden;
use casemate_ports::{Advice, AdviceCode, ConsultedBody, ConsultedRequest, Decider, Pending, Said};
use serde::Deserialize;
use tokio::time::{Instant, timeout_at};

use self::link::Link;

/// The most bytes of the file.
const MAX_FILE_BYTES: u64 = 64 * 1024;
/// The most bytes of a name.
const MAX_NAME_BYTES: usize = 64;
/// The most words of a command.
const MAX_WORDS: usize = 64;

/// A decider as the file names it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    name: String,
    command: Option<Vec<String>>,
    socket: Option<PathBuf>,
}

/// How it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Reached {
    /// It is started: a program and its arguments. It reads standard input, and answers on standard output.
    Command(PathBuf, Vec<String>),
    /// It listens on this Unix socket.
    Socket(PathBuf),
}

/// Why there is no decider although there is a file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DeciderFileError {
    /// It cannot be read.
    #[error("the file that names the decider cannot be read")]
    File(#[from] FileError),
    /// It is not text.
    #[error("`{0}` is not UTF-8")]
    NotText(String),
    /// It is not what is expected.
    #[error("`{path}` does not name a decider")]
    Toml {
        path: String,
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A name that records cannot have.
    #[error(
        "`{0}`: the `name` of a decider has up to {MAX_NAME_BYTES} letters, digits, `_`, `-` and `.`"
    )]
    Name(String),
    /// Nothing or two things to be reached by.
    #[error(
        "`{0}`: a decider has either a `command`, with up to {MAX_WORDS} words, or a `socket`, and either begins with an absolute path"
    )]
    Way(String),
}

/// A decider, with a connection that is made when it is needed, and again when it was lost.
#[derive(Debug)]
pub(crate) struct LinkedDecider {
    name: String,
    link: Link,
}

impl LinkedDecider {
    /// That of the state directory at `root`, if it has one.
    ///
    /// # Errors
    /// When there is one that cannot be used.
    pub(crate) fn in_state(root: &Path) -> Result<Option<Self>, DeciderFileError> {
        let path = root.join("egress").join("decider.toml");
        // A link that leads nowhere is there.
        if path
            .symlink_metadata()
            .is_err_and(|error| error.kind() == ErrorKind::NotFound)
        {
            return Ok(None);
        }
        // What cannot be looked at is said by who reads it.
        let bytes = read_file(&path, MAX_FILE_BYTES, Privacy::Configured)?;
        let (name, reached) = read(&path, bytes)?;
        Ok(Some(Self {
            name,
            link: Link::new(reached, root),
        }))
    }

    async fn ask(&self, request: &ConsultedRequest) -> Said {
        // Of all its steps: that of reaching it, and that of showing the body.
        let end = Instant::now() + Duration::from_millis(ANSWER_MS);
        let Some(linked) = self.link.get().await else {
            return Said::nothing(AdviceCode::Unavailable);
        };
        let answer = timeout_at(end, ask(&linked.decider, request)).await;
        let answer = answer.unwrap_or(Answer::Deny(Denial::TimedOut));
        match &answer {
            Answer::Deny(Denial::TimedOut) => linked.unheard(),
            // It was not asked, or is gone.
            Answer::Deny(Denial::NotListed | Denial::Inexpressible | Denial::Unavailable) => {}
            _ => linked.heard(),
        }
        said(answer)
    }
}

impl Decider for LinkedDecider {
    fn name(&self) -> &str {
        &self.name
    }

    fn consult(&self, request: ConsultedRequest) -> Pending<'_, Said> {
        Box::pin(async move { self.ask(&request).await })
    }
}

fn read(path: &Path, bytes: Vec<u8>) -> Result<(String, Reached), DeciderFileError> {
    let path = path.display().to_string();
    let text = String::from_utf8(bytes).map_err(|_| DeciderFileError::NotText(path.clone()))?;
    let named: Named = match toml::from_str(&text) {
        Ok(named) => named,
        Err(source) => {
            let source = Box::new(source);
            return Err(DeciderFileError::Toml { path, source });
        }
    };
    let fits = |char: char| char.is_ascii_alphanumeric() || "_-.".contains(char);
    if !(1..=MAX_NAME_BYTES).contains(&named.name.len()) || !named.name.chars().all(fits) {
        return Err(DeciderFileError::Name(path));
    }
    let reached = match (named.command, named.socket) {
        (Some(command), None) if command.len() <= MAX_WORDS => {
            let mut words = command.into_iter();
            words
                .next()
                .map(|program| Reached::Command(program.into(), words.collect()))
        }
        (None, Some(socket)) => Some(Reached::Socket(socket)),
        _ => None,
    };
    let is_absolute = |reached: &Reached| match reached {
        Reached::Command(path, _) | Reached::Socket(path) => path.is_absolute(),
    };
    let reached = reached.filter(is_absolute);
    Ok((named.name, reached.ok_or(DeciderFileError::Way(path))?))
}

async fn ask(asker: &Asker, request: &ConsultedRequest) -> Answer {
    let fields = request.fields.iter();
    let headers: Vec<_> = fields
        .map(|(name, value)| (name.as_str(), value.as_bytes()))
        .collect();
    let question = Question {
        method: &request.method,
        host: &request.host,
        port: request.port,
        server_name: request.server_name.as_deref(),
        path: &request.path,
        query: request.query.as_deref().unwrap_or_default(),
        headers: &headers,
        body: match &request.body {
            ConsultedBody::Whole(body) => QuestionBody::Whole(body.as_bytes()),
            ConsultedBody::Beginning(body) => QuestionBody::Beginning(body.as_bytes()),
            ConsultedBody::Stream => QuestionBody::Stream,
        },
    };
    asker.ask(&question).await
}

fn said(answer: Answer) -> Said {
    let denial = match answer {
        Answer::Pass { remove_headers } => {
            return Said {
                advice: Advice::Pass {
                    without: remove_headers,
                },
                reason: None,
            };
        }
        Answer::Deny(denial) => denial,
    };
    let code = match &denial {
        Denial::Decider { .. } => AdviceCode::Denied,
        Denial::NotListed => AdviceCode::NotListed,
        Denial::Widens => AdviceCode::Widens,
        Denial::Body => AdviceCode::Body,
        Denial::TimedOut => AdviceCode::TimedOut,
        Denial::Unavailable => AdviceCode::Unavailable,
        Denial::Inexpressible => AdviceCode::Inexpressible,
    };
    let Denial::Decider { status, reason } = denial else {
        return Said::nothing(code);
    };
    // It goes into the record, and perhaps to a terminal.
    let plain = |char: &char| !char.is_control() && !is_hidden(*char);
    Said {
        advice: Advice::Deny {
            code,
            status: Some(status),
        },
        reason: reason.map(|reason| reason.chars().filter(plain).collect()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<(String, Reached), DeciderFileError> {
        read(Path::new("/state/egress/decider.toml"), text.into())
    }

    /// Whatever could be meant in two ways names no decider, and then nothing is sent at all.
    #[test]
    fn a_decider_is_named_in_one_way() {
        let command = of("name = \"dlp\"\ncommand = [\"/bin/dlp\", \"-x\"]").unwrap();
        let reached = Reached::Command("/bin/dlp".into(), vec!["-x".to_owned()]);
        assert_eq!(command, ("dlp".to_owned(), reached));
        let socket = of("name = \"dlp\"\nsocket = \"/run/dlp.sock\"").unwrap();
        assert_eq!(socket.1, Reached::Socket("/run/dlp.sock".into()));
        for bad in [
            "",
            "name = \"dlp\"",
            "name = \"dlp\"\ncommand = []",
            "name = \"dlp\"\ncommand = [\"dlp\"]",
            "name = \"dlp\"\nsocket = \"dlp.sock\"",
            "name = \"dlp\"\nsocket = \"/a\"\ncommand = [\"/b\"]",
            "name = \"\"\nsocket = \"/a\"",
            "name = \"d\\u001b\"\nsocket = \"/a\"",
            "name = \"dlp\"\nsocket = \"/a\"\nmode = \"audit\"",
        ] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }

    /// I1: a link to where nothing is, is not the same as no file.
    #[test]
    fn a_link_that_leads_nowhere_is_not_left_out() {
        let state = tempfile::tempdir().unwrap();
        assert!(matches!(LinkedDecider::in_state(state.path()), Ok(None)));
        let egress = state.path().join("egress");
        std::fs::create_dir(&egress).unwrap();
        assert!(matches!(LinkedDecider::in_state(state.path()), Ok(None)));
        std::os::unix::fs::symlink("nowhere", egress.join("decider.toml")).unwrap();
        assert!(LinkedDecider::in_state(state.path()).is_err());
    }

    /// What a decider tells people moves no cursor.
    #[test]
    fn a_reason_is_one_line() {
        let denial = Denial::Decider {
            status: 451,
            reason: Some("a\u{202e}b\tc".to_owned()),
        };
        let said = said(Answer::Deny(denial));
        assert_eq!(said.reason.as_deref(), Some("abc"));
        let code = AdviceCode::Denied;
        let status = Some(451);
        assert_eq!(said.advice, Advice::Deny { code, status });
    }
}
