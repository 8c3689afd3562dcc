//! Bytes of a client on their way to a program that may not read them.

use tokio::sync::mpsc;

/// One direction. While something waits in it, nothing more is to be read from the client.
pub(crate) struct Pipe {
    to: Option<mpsc::Sender<Vec<u8>>>,
    waiting: Option<Vec<u8>>,
}

impl Pipe {
    pub(crate) const fn new(to: mpsc::Sender<Vec<u8>>) -> Self {
        Self {
            to: Some(to),
            waiting: None,
        }
    }

    pub(crate) const fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }

    pub(crate) fn put(&mut self, bytes: Vec<u8>) {
        self.waiting = Some(bytes);
    }

    /// Ends this direction.
    pub(crate) fn close(&mut self) {
        self.to = None;
        self.waiting = None;
    }

    /// Passes on what waits. Loses nothing when it is cancelled.
    pub(crate) async fn pass(&mut self) {
        if let Some(to) = &self.to
            && let Ok(permit) = to.reserve().await
        {
            if let Some(bytes) = self.waiting.take() {
                permit.send(bytes);
            }
            return;
        }
        // Nobody reads it any more.
        self.close();
    }
}
