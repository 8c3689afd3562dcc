//! Signatures of handshakes, over a connection on which one is asked for after the other: whoever makes a handshake can do nothing else until it has one.

use std::{
    io::{self, Read as _, Write as _},
    os::unix::net::UnixStream,
    sync::{Mutex, PoisonError},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use casemate_model::one_line;
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    time::timeout,
};

use crate::{
    Identity, Secret,
    limits::{MAX_SIGNING_BYTES, PROMPT_TIMEOUT, QUESTION_TIMEOUT},
};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    ticket: Secret,
    scheme: u16,
    message: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Reply {
    Signature(String),
    Refused(String),
}

/// Why there is no signature.
#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    /// Identity is gone, or does not answer.
    #[error("identity does not sign")]
    Io(#[source] io::Error),
    /// What it says cannot be read.
    #[error("what identity says of a signature cannot be read")]
    Answer,
    /// It refused.
    #[error("identity refused: {0}")]
    Refused(String),
}

/// The end of whoever has handshakes signed.
#[derive(Debug)]
pub struct Signatures(Mutex<UnixStream>);

impl Signatures {
    /// Over a connection that was announced as one for signatures.
    ///
    /// # Errors
    /// When the system does not let it wait.
    pub fn over(connection: UnixStream) -> io::Result<Self> {
        connection.set_nonblocking(false)?;
        connection.set_read_timeout(Some(PROMPT_TIMEOUT))?;
        connection.set_write_timeout(Some(PROMPT_TIMEOUT))?;
        Ok(Self(Mutex::new(connection)))
    }

    /// The signature of a handshake. It waits for it, for a bounded time.
    ///
    /// # Errors
    /// When there is none.
    pub fn sign(
        &self,
        ticket: &Secret,
        scheme: u16,
        message: &[u8],
    ) -> Result<Vec<u8>, SigningError> {
        let question = Question {
            ticket: ticket.clone(),
            scheme,
            message: STANDARD.encode(message),
        };
        let question = serde_json::to_vec(&question).map_err(|_| SigningError::Answer)?;
        let length = u32::try_from(question.len()).map_err(|_| SigningError::Answer)?;
        let mut connection = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut exchange = || -> io::Result<Vec<u8>> {
            connection.write_all(&length.to_be_bytes())?;
            connection.write_all(&question)?;
            let mut length = [0; 4];
            connection.read_exact(&mut length)?;
            let mut answer = vec![0; room(u32::from_be_bytes(length))?];
            connection.read_exact(&mut answer)?;
            Ok(answer)
        };
        let answer = exchange();
        if answer.is_err() {
            // What comes later would be taken for the answer to another question.
            let _ = connection.shutdown(std::net::Shutdown::Both);
        }
        let answer = answer.map_err(SigningError::Io)?;
        match serde_json::from_slice(&answer) {
            Ok(Reply::Signature(signature)) => {
                STANDARD.decode(signature).map_err(|_| SigningError::Answer)
            }
            Ok(Reply::Refused(why)) => Err(SigningError::Refused(why)),
            Err(_) => Err(SigningError::Answer),
        }
    }
}

fn room(length: u32) -> io::Result<usize> {
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    match length <= MAX_SIGNING_BYTES {
        true => Ok(length),
        false => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// Answers one question after the other, until there are no more or one cannot be read.
pub(crate) async fn serve(identity: &Identity, stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    while let Ok(length) = stream.read_u32().await {
        let asked = async {
            let mut question = vec![0; room(length)?];
            stream.read_exact(&mut question).await?;
            io::Result::Ok(question)
        };
        let Ok(Ok(question)) = timeout(QUESTION_TIMEOUT, asked).await else {
            return;
        };
        let Some(answer) = answer(identity, &question) else {
            return;
        };
        if timeout(QUESTION_TIMEOUT, stream.write_all(&answer))
            .await
            .is_err()
        {
            return;
        }
    }
}

/// The answer with its length in front; nothing to what cannot be read.
fn answer(identity: &Identity, question: &[u8]) -> Option<Vec<u8>> {
    let asked: Question = serde_json::from_slice(question).ok()?;
    let message = STANDARD.decode(&asked.message).ok()?;
    let reply = match identity.sign(&asked.ticket, asked.scheme, &message) {
        Ok(signature) => Reply::Signature(STANDARD.encode(signature)),
        Err(error) => Reply::Refused(one_line(&error)),
    };
    let reply = serde_json::to_vec(&reply).ok()?;
    let length = u32::try_from(reply.len()).ok()?;
    Some([&length.to_be_bytes()[..], &reply].concat())
}
