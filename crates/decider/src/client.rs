//! The two ends of the link: who asks, and who reads and writes.

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _},
    sync::mpsc,
    time::timeout,
};

use crate::{
    Answer, DeciderError, Denial, Question, QuestionBody, frame,
    link::{Link, Waiting},
    listed::Listed,
    question::MAX_SHOWN_BYTES,
    wire::{self, Verdict},
};

/// How long an answer may take, in milliseconds. The protocol says it.
pub const ANSWER_MS: u64 = 5_000;
const ANSWER: Duration = Duration::from_millis(ANSWER_MS);
/// Frames that wait to be written.
const QUEUE: usize = 16;

/// Asks. It can be cloned, and asks about any number of requests at once.
#[derive(Clone, Debug)]
pub struct Decider {
    link: Arc<Link>,
    listed: Arc<Listed>,
    frames: mpsc::Sender<Vec<u8>>,
}

/// Reads and writes. Somebody has to run it; when it ends or is dropped, every request is denied.
#[derive(Debug)]
pub struct Driver<R, W> {
    reader: R,
    writer: W,
    frames: mpsc::Receiver<Vec<u8>>,
    end: End,
}

#[derive(Debug)]
struct End(Arc<Link>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.die();
    }
}

impl Decider {
    /// Says hello to a decider at the other end, and waits for its own.
    ///
    /// # Errors
    /// When it does not come, or is none.
    pub async fn connect<R, W>(
        mut reader: R,
        mut writer: W,
    ) -> Result<(Self, Driver<R, W>), DeciderError>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let hello = async {
            let message = frame::write(br#"{"t":"hello","proto":1}"#);
            write(&mut writer, &message).await?;
            wire::hello(frame::read(&mut reader).await?)
        };
        let listed = timeout(ANSWER, hello)
            .await
            .map_err(|_| DeciderError::NoHello)??;
        let link = Arc::new(Link::default());
        let (sender, frames) = mpsc::channel(QUEUE);
        let decider = Self {
            link: Arc::clone(&link),
            listed: Arc::new(listed),
            frames: sender,
        };
        let end = End(link);
        Ok((
            decider,
            Driver {
                reader,
                writer,
                frames,
                end,
            },
        ))
    }

    /// What the decider says of a request that the rules let through.
    pub async fn ask(&self, question: &Question<'_>) -> Answer {
        match self.answer(question).await {
            Ok(remove_headers) => Answer::Pass { remove_headers },
            Err(denial) => Answer::Deny(denial),
        }
    }

    async fn answer(&self, question: &Question<'_>) -> Result<Vec<String>, Denial> {
        let message = question.message().ok_or(Denial::Inexpressible)?;
        if !self.listed.permits(question.host, question.port) {
            return Err(Denial::NotListed);
        }
        let permit = timeout(ANSWER, self.frames.reserve())
            .await
            .map_err(|_| Denial::TimedOut)?
            .map_err(|_| Denial::Unavailable)?;
        let mut waiting = self
            .link
            .ask(|id| {
                permit.send(frame::write(&message(id)?));
                Some(())
            })
            .ok_or(Denial::Unavailable)?;
        let verdict = match next(&mut waiting).await? {
            Verdict::NeedBody { max } => {
                self.show(&mut waiting, question.body, max).await?;
                next(&mut waiting).await?
            }
            verdict => verdict,
        };
        match verdict {
            Verdict::Allow { remove_headers } => Ok(remove_headers),
            Verdict::Widen => Err(Denial::Widens),
            Verdict::Deny { status, reason } => Err(Denial::Decider { status, reason }),
            // The link does not let a second one through.
            Verdict::NeedBody { .. } => Err(Denial::Unavailable),
        }
    }

    async fn show(
        &self,
        waiting: &mut Waiting,
        body: QuestionBody<'_>,
        max: u64,
    ) -> Result<(), Denial> {
        let (body, more) = match body {
            QuestionBody::Whole(body) => (body, false),
            QuestionBody::Beginning(body) => (body, true),
            QuestionBody::Stream => return Err(Denial::Body),
        };
        let most = usize::try_from(max)
            .unwrap_or(usize::MAX)
            .min(MAX_SHOWN_BYTES);
        let shown = body.get(..most).unwrap_or(body);
        let cut = if more || shown.len() < body.len() {
            r#","cut":true"#
        } else {
            ""
        };
        let (id, data) = (waiting.id(), STANDARD.encode(shown));
        let message = format!(r#"{{"t":"body","id":{id},"data":"{data}"{cut}}}"#);
        let permit = timeout(ANSWER, self.frames.reserve())
            .await
            .map_err(|_| Denial::TimedOut)?
            .map_err(|_| Denial::Unavailable)?;
        waiting.show(|| {
            permit.send(frame::write(message.as_bytes()));
        });
        Ok(())
    }
}

async fn next(waiting: &mut Waiting) -> Result<Verdict, Denial> {
    timeout(ANSWER, waiting.next())
        .await
        .map_err(|_| Denial::TimedOut)?
        .ok_or(Denial::Unavailable)
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Driver<R, W> {
    /// Reads and writes until something goes wrong, and says what that was.
    pub async fn run(self) -> DeciderError {
        let Self {
            mut reader,
            mut writer,
            mut frames,
            end,
        } = self;
        let reading = async {
            loop {
                let frame = frame::read(&mut reader).await?;
                let (id, verdict) = wire::verdict(frame)?;
                end.0.answer(id, verdict)?;
            }
        };
        let writing = async {
            while let Some(frame) = frames.recv().await {
                write(&mut writer, &frame).await?;
            }
            Err(DeciderError::Unused)
        };
        let ended: Result<(), DeciderError> = tokio::select! {
            ended = reading => ended,
            ended = writing => ended,
        };
        ended.err().unwrap_or(DeciderError::Unused)
    }
}

async fn write(writer: &mut (impl AsyncWrite + Unpin), frame: &[u8]) -> Result<(), DeciderError> {
    writer.write_all(frame).await.map_err(DeciderError::Write)?;
    writer.flush().await.map_err(DeciderError::Write)
}
