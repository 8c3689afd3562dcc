//! Signals to us, for the program.

use std::{convert::Infallible, io};

use casemate_ports::{Control, Signal};
use tokio::{
    signal::unix::{self, SignalKind},
    sync::mpsc,
};

/// The signals that ask us to stop.
#[derive(Debug)]
pub(crate) struct Signals {
    interrupt: unix::Signal,
    terminate: unix::Signal,
    hangup: unix::Signal,
}

impl Signals {
    /// From now on they no longer end us.
    ///
    /// # Errors
    /// When the system takes no handler.
    pub(crate) fn catch() -> io::Result<Self> {
        Ok(Self {
            interrupt: unix::signal(SignalKind::interrupt())?,
            terminate: unix::signal(SignalKind::terminate())?,
            hangup: unix::signal(SignalKind::hangup())?,
        })
    }

    /// The next one.
    pub(crate) async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::Interrupt,
            _ = self.terminate.recv() => Signal::Terminate,
            _ = self.hangup.recv() => Signal::Terminate,
        }
    }

    /// Passes the first one on; the second kills.
    pub(crate) async fn relay(&mut self, control: mpsc::Sender<Control>) -> Infallible {
        // The keeper reads until the program has ended, and then nobody waits for this.
        let _ = control.send(Control::Interrupt(self.next().await)).await;
        loop {
            self.next().await;
            let _ = control.send(Control::Cancel).await;
        }
    }
}
