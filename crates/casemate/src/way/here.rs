//! Egress in this process: a thread of its own, which begins with the first way out and ends with this value.

use std::{
    io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use casemate_model::one_line;
use casemate_ports::{
    Egress, EgressError, NewWay, Owner, Pending, ServedWay, WayAuthority, WayRules, WaySockets,
    Witness,
};
use tokio::{
    runtime::{Builder, Handle},
    sync::oneshot,
};

use super::Service;

/// How long what is still being done in the thread may take when it ends.
const LAST_WRITES: Duration = Duration::from_secs(12);

/// Egress in this process.
#[derive(Debug)]
pub(crate) struct Here {
    service: Service,
    /// The state directory, whose credentials calls may use.
    root: PathBuf,
    thread: Mutex<Option<Thread>>,
}

#[derive(Debug)]
struct Thread {
    handle: Handle,
    /// Dropped, it ends.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Here {
    /// With this service, and the credentials of the state directory at `root`. There is no thread yet: until there is one, this
    /// process may still be cloned.
    pub(crate) const fn new(service: Service, root: PathBuf) -> Self {
        Self {
            service,
            root,
            thread: Mutex::new(None),
        }
    }

    fn handle(&self) -> io::Result<Handle> {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = thread.as_ref() {
            return Ok(thread.handle.clone());
        }
        let started = Thread::start()?;
        let handle = started.handle.clone();
        *thread = Some(started);
        Ok(handle)
    }
}

impl Thread {
    fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = thread::Builder::new().name("egress".into());
        let thread = thread.spawn(move || {
            // An error is as good: whoever would say it is gone.
            let _ = runtime.block_on(stopped);
            runtime.shutdown_timeout(LAST_WRITES);
        })?;
        Ok(Self {
            handle,
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // One that panicked has said so.
            let _ = thread.join();
        }
    }
}

impl Egress for Here {
    fn authority<'a>(
        &'a self,
        _: &'a Owner,
        rules: &'a WayRules,
    ) -> Pending<'a, Result<WayAuthority, EgressError>> {
        let made = self.service.authority(rules).map(|pem| WayAuthority {
            pem,
            handover: None,
        });
        Box::pin(std::future::ready(made))
    }

    fn open<'a>(
        &'a self,
        _: &'a Owner,
        way: NewWay,
        sockets: Option<WaySockets>,
        witness: Arc<dyn Witness>,
    ) -> Pending<'a, Result<Box<dyn ServedWay>, EgressError>> {
        Box::pin(async move {
            let unavailable =
                |error: &dyn std::error::Error| EgressError::Unavailable(one_line(error));
            let handle = self.handle().map_err(|error| unavailable(&error))?;
            let (service, root) = (self.service.clone(), self.root.clone());
            let opened = handle.spawn(async move {
                let lent = service.lend(&root, &way).await?;
                let witness = lent.told(witness);
                service.open(way, sockets, witness, lent)
            });
            opened.await.map_err(|error| unavailable(&error))?
        })
    }
}
