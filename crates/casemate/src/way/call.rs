//! The way out of one call, from when it is opened until its last record is written.

#[cfg(test)]
mod tests;

use std::{pin::pin, sync::Arc, time::Duration};

use casemate_egress::{Origin, Proxy};
use casemate_ports::{EgressError, Pending, ServedWay, WaySockets};
use tokio::{
    sync::{oneshot, watch},
    task::{JoinHandle, JoinSet},
};

use super::{credentials::Lent, doors::Doors, judge::Rules, recorder::Watch};

/// How long connections of a program that has ended may take to end too.
const GRACE: Duration = Duration::from_millis(500);
/// How long the log may take to write the last records: longer than it waits for its lock.
const LAST_WRITES: Duration = Duration::from_secs(12);

/// Who serves the way out of one call.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) proxy: Proxy,
    pub(super) rules: Arc<Rules>,
    pub(super) origin: Origin,
    pub(super) watch: Watch,
    pub(super) lent: Arc<Lent>,
}

/// Sockets, and who waits until they are served.
#[derive(Debug)]
pub(super) struct Handed {
    pub(super) sockets: WaySockets,
    pub(super) served: oneshot::Sender<()>,
}

/// A way out that is open.
#[derive(Debug)]
pub(super) struct OpenWay {
    stop: watch::Sender<bool>,
    life: JoinHandle<Result<(), EgressError>>,
    /// How it ended, once that was looked at: a task can be waited for only once.
    ended: Option<Result<(), EgressError>>,
}

impl OpenWay {
    /// Opens `call`, for the sockets that come by `handed`. Needs a tokio runtime, which has to go on until it is closed.
    pub(super) fn start(call: Call, handed: oneshot::Receiver<Handed>) -> Self {
        let (stop, stopped) = watch::channel(false);
        let life = tokio::spawn(call.live(handed, stopped));
        Self {
            stop,
            life,
            ended: None,
        }
    }

    /// Waits until it has ended, and says how, as often as it is asked.
    async fn end(&mut self) -> Result<(), EgressError> {
        if let Some(ended) = &self.ended {
            return ended.clone();
        }
        let ended = (&mut self.life).await;
        let ended = ended.unwrap_or_else(|_| Err(EgressError::Unavailable("it broke".to_owned())));
        self.ended.insert(ended).clone()
    }
}

impl ServedWay for OpenWay {
    fn lost(&mut self) -> Pending<'_, EgressError> {
        Box::pin(async move {
            let closed = || EgressError::Refused("it was closed".to_owned());
            self.end().await.err().unwrap_or_else(closed)
        })
    }

    fn revoke(&self) {
        self.stop.send_replace(true);
    }

    fn close(mut self: Box<Self>) -> Pending<'static, Result<(), EgressError>> {
        Box::pin(async move {
            self.stop.send_replace(true);
            self.end().await
        })
    }
}

impl Call {
    /// Serves until it is stopped, nobody has it any more, or something cannot be recorded.
    async fn live(
        mut self,
        handed: oneshot::Receiver<Handed>,
        mut stopped: watch::Receiver<bool>,
    ) -> Result<(), EgressError> {
        let mut connections = JoinSet::new();
        let over = async {
            tokio::select! {
                // An error is as good: nobody has it any more.
                _ = stopped.wait_for(|stopped| *stopped) => {}
                () = self.watch.broken() => {}
            }
        };
        let looks = tokio::spawn({
            let (lent, rules) = (Arc::clone(&self.lent), Arc::clone(&self.rules));
            let proxy = self.proxy.clone();
            async move {
                lent.watch(|lost| {
                    rules.take_back(lost);
                    proxy.review();
                })
                .await;
            }
        });
        let served = serve(&self.proxy, &self.origin, handed, &mut connections, over).await;
        looks.abort();
        // It is gone when this comes back, and with it what it has of the proxy.
        let _ = looks.await;
        // Nothing more is sent; what is open is cut off, and says so in its record.
        self.rules.close();
        self.proxy.review();
        let ended = async { while connections.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(GRACE, ended).await;
        connections.shutdown().await;
        let Self {
            proxy,
            mut watch,
            lent,
            ..
        } = self;
        drop(proxy);
        lent.end().await;
        let settled = tokio::time::timeout(LAST_WRITES, watch.settled()).await;
        served?;
        if watch.is_broken() || settled.is_err() {
            let why = "not every request could be recorded, and so it was closed";
            return Err(EgressError::Refused(why.to_owned()));
        }
        Ok(())
    }
}

/// Waits for the sockets, and serves whoever connects to them, until it is `over`.
async fn serve(
    proxy: &Proxy,
    origin: &Origin,
    handed: oneshot::Receiver<Handed>,
    connections: &mut JoinSet<()>,
    over: impl Future<Output = ()>,
) -> Result<(), EgressError> {
    let mut over = pin!(over);
    let handed = tokio::select! {
        biased;
        () = &mut over => return Ok(()),
        handed = handed => handed,
    };
    let Ok(Handed { sockets, served }) = handed else {
        // They come no more; it is still to be closed.
        over.await;
        return Ok(());
    };
    let doors = Doors::new(sockets)
        .map_err(|error| EgressError::Refused(format!("its sockets cannot be served: {error}")))?;
    // Whoever waited for that may have gone: then it is stopped, too.
    let _ = served.send(());
    doors.serve(proxy, origin, connections, over).await;
    Ok(())
}
