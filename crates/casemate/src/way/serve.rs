//! The thread that serves a way out. It ends with its call, and with it every connection.

use std::{
    io,
    net::TcpListener as StdTcpListener,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use casemate_egress::{Origin, Proxy};
use casemate_model::DeniedAttempt;
use tokio::{
    net::TcpListener,
    runtime::{Builder, Handle},
    sync::oneshot,
    task::JoinSet,
};

use super::{
    credentials::Lent,
    judge::Rules,
    recorder::{Records, Unwritten},
};

/// How long nothing is accepted when this process has no more descriptors.
const BREATH: Duration = Duration::from_millis(50);
/// How long connections of a program that has ended may take to end too.
const GRACE: Duration = Duration::from_millis(500);
/// How often it is looked whether all is written down.
const TICK: Duration = Duration::from_millis(1);
/// How long connections may take to say the last of them to their records.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// How long the log may take to write it: longer than it waits for its lock.
const LAST_WRITES: Duration = Duration::from_secs(12);

/// Who serves a way out.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) proxy: Proxy,
    pub(super) rules: Arc<Rules>,
    pub(super) origin: Origin,
    pub(super) records: Arc<Records>,
    pub(super) lent: Arc<Lent>,
}

/// A way out that is served. When this is dropped, it ends.
#[derive(Debug)]
pub(crate) struct OpenWay {
    stop: oneshot::Sender<()>,
    ended: oneshot::Receiver<()>,
    thread: JoinHandle<()>,
    records: Arc<Records>,
    lent: Arc<Lent>,
}

impl OpenWay {
    /// Serves `listener` in a thread of its own, until it is closed or something cannot be recorded.
    ///
    /// # Errors
    /// When there is no thread, or nothing to serve with.
    pub(super) async fn start(listener: StdTcpListener, service: Service) -> io::Result<Self> {
        let (stop, stopped) = oneshot::channel();
        let (ending, ended) = oneshot::channel();
        let (starting, started) = oneshot::channel();
        let (records, lent) = (Arc::clone(&service.records), Arc::clone(&service.lent));
        let thread = thread::Builder::new()
            .name("egress".into())
            .spawn(move || {
                let runtime = Builder::new_current_thread().enable_all().build();
                let serving = runtime.and_then(|runtime| {
                    let inside = runtime.enter();
                    let listener = TcpListener::from_std(listener)?;
                    drop(inside);
                    Ok((runtime, listener))
                });
                match serving {
                    Ok((runtime, listener)) => {
                        // Whoever waits for it may have gone: then it has been stopped, too.
                        let _ = starting.send(Ok(()));
                        runtime.block_on(service.serve(listener, stopped));
                        // A resolver that does not answer is left behind: nobody listens to it any more.
                        runtime.shutdown_timeout(LAST_WRITES);
                    }
                    Err(error) => drop(starting.send(Err(error))),
                }
                let _ = ending.send(());
            })?;
        started
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()))?;
        Ok(Self {
            stop,
            ended,
            thread,
            records,
            lent,
        })
    }

    /// Closes the listener and every connection; says what was refused.
    ///
    /// # Errors
    /// When not all of it is recorded.
    pub(crate) async fn close(self) -> Result<Vec<DeniedAttempt>, Unwritten> {
        let _ = self.stop.send(());
        // It also ends when its thread died.
        let _ = self.ended.await;
        let _ = self.thread.join();
        self.lent.end().await;
        self.records.settled()?;
        Ok(self.records.denied())
    }
}

impl Service {
    async fn serve(self, listener: TcpListener, mut stopped: oneshot::Receiver<()>) {
        let mut connections = JoinSet::new();
        let watch = tokio::spawn({
            let (lent, rules, proxy) = (
                Arc::clone(&self.lent),
                Arc::clone(&self.rules),
                self.proxy.clone(),
            );
            async move {
                lent.watch(|lost| {
                    rules.take_back(lost);
                    proxy.review();
                })
                .await;
            }
        });
        loop {
            tokio::select! {
                biased;
                _ = &mut stopped => break,
                () = self.records.broken() => break,
                Some(_) = connections.join_next() => {}
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        let (proxy, origin) = (self.proxy.clone(), self.origin.clone());
                        connections.spawn(async move { proxy.serve_proxy(stream, origin).await });
                    }
                    Err(_) => tokio::time::sleep(BREATH).await,
                },
            }
        }
        drop(listener);
        watch.abort();
        // Nothing more is sent; what is open is cut off, and says so in its record.
        self.rules.close();
        self.proxy.review();
        let ended = async { while connections.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(GRACE, ended).await;
        connections.shutdown().await;
        let _ = tokio::time::timeout(LAST_WORDS, settled()).await;
    }
}

/// Waits for the last records, which are written by tasks of their own.
async fn settled() {
    while Handle::current().metrics().num_alive_tasks() > 0 {
        tokio::time::sleep(TICK).await;
    }
}
