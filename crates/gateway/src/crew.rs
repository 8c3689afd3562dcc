//! Threads for what blocks: the life of a call writes to disk, and nothing that others wait for may.
//!
//! A job stays on the thread that it began on. More threads than cores are no waste: appends that wait for
//! the disk at one time share its flush.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
};

use tokio::{
    runtime::Builder,
    sync::{mpsc, oneshot},
    task::LocalSet,
};

type Task = Pin<Box<dyn Future<Output = ()>>>;
type Job = Box<dyn FnOnce() -> Task + Send>;

/// The threads.
#[derive(Debug)]
pub struct Crew {
    members: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    /// As many as there are calls and requests, whose number is bounded where they come in.
    jobs: mpsc::UnboundedSender<Job>,
    busy: Arc<AtomicUsize>,
    thread: JoinHandle<()>,
}

/// The job did not end: its thread is gone.
#[derive(Debug, thiserror::Error)]
#[error("the thread of this job ended before it")]
pub struct Stopped;

/// Counts a job until it has ended, however it ends.
struct Busy(Arc<AtomicUsize>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Crew {
    /// Starts so many threads.
    ///
    /// # Errors
    /// When the system gives none.
    pub fn start(threads: usize) -> io::Result<Self> {
        let members = (0..threads.max(1)).map(Member::start);
        Ok(Self {
            members: members.collect::<io::Result<_>>()?,
        })
    }

    /// Runs a job to its end, also if nobody waits for that any more.
    ///
    /// # Errors
    /// When its thread ends before it.
    pub async fn run<T, F>(&self, job: impl FnOnce() -> F + Send + 'static) -> Result<T, Stopped>
    where
        T: Send + 'static,
        F: Future<Output = T> + 'static,
    {
        let (answer, answered) = oneshot::channel();
        self.send(move || async move {
            // Whoever does not wait any more has no need of it.
            drop(answer.send(job().await));
        })?;
        answered.await.map_err(|_| Stopped)
    }

    /// Has a job run to its end, and does not wait for it.
    ///
    /// # Errors
    /// When its thread has ended.
    pub fn send<F>(&self, job: impl FnOnce() -> F + Send + 'static) -> Result<(), Stopped>
    where
        F: Future<Output = ()> + 'static,
    {
        let idle = self
            .members
            .iter()
            .min_by_key(|member| member.busy.load(Ordering::Relaxed));
        let member = idle.ok_or(Stopped)?;
        member.busy.fetch_add(1, Ordering::Relaxed);
        let busy = Busy(Arc::clone(&member.busy));
        let job: Job = Box::new(move || {
            Box::pin(async move {
                let _busy = busy;
                job().await;
            })
        });
        member.jobs.send(job).map_err(|_| Stopped)
    }

    /// Waits until every job has ended. Blocks.
    pub fn finish(self) {
        for Member { jobs, thread, .. } in self.members {
            drop(jobs);
            // A thread that panicked has said so.
            drop(thread.join());
        }
    }
}

impl Member {
    fn start(number: usize) -> io::Result<Self> {
        let (sender, mut jobs) = mpsc::unbounded_channel::<Job>();
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let thread = thread::Builder::new().name(format!("calls-{number}"));
        let thread = thread.spawn(move || {
            let local = LocalSet::new();
            local.block_on(&runtime, async {
                while let Some(job) = jobs.recv().await {
                    tokio::task::spawn_local(job());
                }
            });
            runtime.block_on(local);
        })?;
        Ok(Self {
            jobs: sender,
            busy: Arc::default(),
            thread,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::{rc::Rc, time::Duration};

    use super::*;

    #[tokio::test]
    async fn jobs_run_beside_each_other_and_end_though_nobody_waits() {
        let crew = Crew::start(2).unwrap();
        let (sender, receiver) = oneshot::channel::<u8>();
        let ended = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&ended);
        let waiting = crew.run(move || async move {
            let not_send = Rc::new(receiver.await);
            count.fetch_add(1, Ordering::SeqCst);
            drop(not_send);
        });
        let left = tokio::time::timeout(Duration::from_millis(20), waiting).await;
        assert!(left.is_err(), "it waits");
        assert_eq!(crew.run(|| async { 7 }).await.unwrap(), 7);
        sender.send(1).unwrap();
        tokio::task::spawn_blocking(move || crew.finish())
            .await
            .unwrap();
        assert_eq!(ended.load(Ordering::SeqCst), 1);
    }
}
