//! A file as the body of a request.

use std::{
    fs::File,
    io::{self, Read as _},
    pin::Pin,
    task::{Context, Poll},
    thread,
};

use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::sync::mpsc;

/// How much of the file is read at once.
const CHUNK_BYTES: usize = 64 << 10;
/// How many pieces wait for the connection.
const QUEUE: usize = 4;

/// The content of a file. If it cannot be read to its end, the request is cut off.
pub(super) struct Upload(mpsc::Receiver<io::Result<Bytes>>);

impl Upload {
    pub(super) fn of(mut file: File) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE);
        thread::spawn(move || {
            let mut buffer = vec![0; CHUNK_BYTES];
            loop {
                let piece = match file.read(&mut buffer) {
                    Ok(0) => return,
                    Ok(count) => Ok(Bytes::copy_from_slice(
                        buffer.get(..count).unwrap_or_default(),
                    )),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => Err(error),
                };
                let failed = piece.is_err();
                if sender.blocking_send(piece).is_err() || failed {
                    return;
                }
            }
        });
        Self(receiver)
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let piece = self.0.poll_recv(context);
        piece.map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}
