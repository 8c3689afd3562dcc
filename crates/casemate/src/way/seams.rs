//! What the proxy needs of this machine: addresses, the time, chance.

use std::{
    io,
    net::{IpAddr, ToSocketAddrs as _},
    sync::Arc,
};

use casemate_egress::{Clock, Entropy, Name, Pending, ResolveError, Resolver};

use tokio::sync::Semaphore;

use crate::system::System;

/// Names that are asked for at once. Records are written by the same threads: names that are not answered leave them some.
const MAX_LOOK_UPS: usize = 8;

/// Asks the system's resolver. Whatever it answers is vetted.
#[derive(Debug)]
pub(super) struct Names {
    room: Arc<Semaphore>,
    look_up: fn(&str) -> io::Result<Vec<IpAddr>>,
}

impl Names {
    /// This machine's.
    pub(super) fn new() -> Self {
        Self {
            room: Arc::new(Semaphore::new(MAX_LOOK_UPS)),
            look_up: |name| {
                let found = (name, 0).to_socket_addrs()?;
                Ok(found.map(|address| address.ip()).collect())
            },
        }
    }
}

impl Resolver for Names {
    fn resolve<'a>(&'a self, name: &'a Name) -> Pending<'a, Result<Vec<IpAddr>, ResolveError>> {
        Box::pin(async move {
            let place = Arc::clone(&self.room).acquire_owned().await;
            let place = place.map_err(|_| ResolveError)?;
            let (look_up, name) = (self.look_up, name.to_string());
            let found = tokio::task::spawn_blocking(move || {
                // Whoever asked may have gone; the thread is busy all the same.
                let _place = place;
                look_up(&name)
            });
            let found = found.await.map_err(|_| ResolveError)?;
            let mut addresses = found.map_err(|_| ResolveError)?;
            addresses.sort_unstable();
            addresses.dedup();
            Ok(addresses)
        })
    }
}

impl Clock for System {
    fn now_ms(&self) -> u64 {
        casemate_gateway::Clock::now_ms(self)
    }
}

impl Entropy for System {
    fn fill(&self, bytes: &mut [u8]) -> io::Result<()> {
        casemate_gateway::Entropy::fill(self, bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// However many names are not answered, what has to be recorded finds a thread.
    #[test]
    fn names_leave_room_for_records() {
        let (answer, never) = mpsc::channel::<()>();
        static SILENCE: std::sync::Mutex<Option<mpsc::Receiver<()>>> = std::sync::Mutex::new(None);
        *SILENCE.lock().unwrap() = Some(never);
        let names = Arc::new(Names {
            look_up: |_| {
                let _ = SILENCE
                    .lock()
                    .map(|never| never.as_ref().map(mpsc::Receiver::recv));
                Err(io::ErrorKind::TimedOut.into())
            },
            ..Names::new()
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .max_blocking_threads(MAX_LOOK_UPS + 1)
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut asked = tokio::task::JoinSet::new();
            for number in 0..2 * MAX_LOOK_UPS {
                let names = Arc::clone(&names);
                asked.spawn(async move {
                    let name = Name::parse(&format!("n{number}.example")).unwrap();
                    names.resolve(&name).await
                });
            }
            while names.room.available_permits() > 0 {
                tokio::task::yield_now().await;
            }
            // Nobody waits for them any more.
            asked.shutdown().await;
            let name = Name::parse("last.example").unwrap();
            let one_more = names.resolve(&name);
            assert!(
                futures_util::future::poll_immediate(one_more)
                    .await
                    .is_none()
            );
            assert_eq!(names.room.available_permits(), 0);
            tokio::task::spawn_blocking(|| ()).await.unwrap();
            drop(answer);
        });
    }
}
