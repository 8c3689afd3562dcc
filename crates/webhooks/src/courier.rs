//! Who carries messages: a thread for each endpoint, which waits for nobody else's.

use std::{
    fmt, io,
    mem::{Discriminant, discriminant},
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread,
    time::Duration,
};

use casemate_https::{AuthoritiesError, Plain, client};
use casemate_ledger::{Place, read_from};
use casemate_model::one_line;
use ureq::Agent;

use crate::{
    CursorError, Endpoint, Event, PostError, Webhooks,
    cursor::Cursor,
    limits::{FIRST_PAUSE_MS, LOOK_EVERY_MS, MAX_PAUSE_MS, TIMEOUT_MS},
    post::post,
};

/// What couriers need of their surroundings.
pub trait Surroundings: fmt::Debug + Send + Sync {
    /// The time, in milliseconds since 1970.
    fn now_ms(&self) -> u64;

    /// A number below `bound`, which nobody has to be able to foretell; `bound` is not 0.
    fn random_below(&self, bound: u64) -> u64;

    /// Tells people something, in one line.
    fn tell(&self, line: &str);
}

/// Messages on their way, until this is dropped. What is not delivered then is, after the next start.
#[derive(Debug)]
pub struct Couriers {
    _stop: Vec<Sender<()>>,
}

/// Why messages cannot be carried.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Receivers could not be verified.
    #[error(transparent)]
    Authorities(#[from] AuthoritiesError),
    /// Nobody knows how far an endpoint has come.
    #[error("the endpoint `{name}` cannot be told anything")]
    Cursor {
        /// Which.
        name: String,
        /// Why not.
        #[source]
        source: CursorError,
    },
    /// There is no thread.
    #[error("there is no thread for messages")]
    Thread(#[source] io::Error),
}

impl Couriers {
    /// Carries what the ledger in `ledger` says to these receivers. How far each has come is kept in `cursors`.
    ///
    /// # Errors
    /// When an endpoint cannot be served at all.
    pub fn start(
        webhooks: Webhooks,
        ledger: &Path,
        cursors: &Path,
        surroundings: &Arc<dyn Surroundings>,
    ) -> Result<Self, StartError> {
        let timeout = Duration::from_millis(TIMEOUT_MS);
        // Which receivers are on this host was looked at when they were named.
        let agent = client(webhooks.authorities.as_deref(), timeout, Plain::Loopback)?;
        let mut stops = Vec::new();
        for endpoint in webhooks.endpoints {
            let cursor = Cursor::open(cursors, &endpoint.name, ledger);
            let cursor = cursor.map_err(|source| StartError::Cursor {
                name: endpoint.name.clone(),
                source,
            })?;
            let (stop, stopped) = channel();
            let courier = Courier {
                agent: agent.clone(),
                endpoint,
                ledger: ledger.to_owned(),
                cursor,
                surroundings: Arc::clone(surroundings),
                stopped,
                failures: 0,
                said: None,
            };
            let thread = thread::Builder::new().name("webhooks".to_owned());
            thread
                .spawn(move || courier.carry())
                .map_err(StartError::Thread)?;
            stops.push(stop);
        }
        Ok(Self { _stop: stops })
    }
}

struct Courier {
    agent: Agent,
    endpoint: Endpoint,
    ledger: PathBuf,
    cursor: Cursor,
    surroundings: Arc<dyn Surroundings>,
    stopped: Receiver<()>,
    /// Since anything went right.
    failures: u32,
    /// What was said to go wrong, until it goes right.
    said: Option<Discriminant<CarryError>>,
}

/// Why a courier does not get on.
#[derive(Debug, thiserror::Error)]
enum CarryError {
    #[error(transparent)]
    Post(#[from] PostError),
    #[error(transparent)]
    Cursor(#[from] CursorError),
}

impl Courier {
    fn carry(mut self) {
        loop {
            let pause_ms = match self.catch_up() {
                Ok(()) => LOOK_EVERY_MS,
                Err(error) => self.failed(&error),
            };
            match self.stopped.recv_timeout(Duration::from_millis(pause_ms)) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Tells everything that is on record and was not told.
    fn catch_up(&mut self) -> Result<(), CarryError> {
        let mut reader = read_from(&self.ledger, self.cursor.place);
        // An alert that waits for more of its cause, and the place after the last of them.
        let mut waits: Option<(Event, Place)> = None;
        while let Some(record) = reader.next() {
            let record = match record {
                Ok(record) => record,
                Err(error) => {
                    // What was read before it does not wait for it.
                    self.told(waits)?;
                    return Err(CursorError::from(error).into());
                }
            };
            let event = Event::of(&record);
            let event = event.filter(|event| self.endpoint.events.contains(&event.topic));
            let Some(event) = event else {
                match &mut waits {
                    None => self.cursor.pass_over(reader.place())?,
                    // The cursor stays before it.
                    Some((_, place)) => *place = reader.place(),
                }
                continue;
            };
            if let Some((waiting, place)) = &mut waits
                && waiting.take_in(&event)
            {
                *place = reader.place();
                continue;
            }
            let before = waits.replace((event, reader.place()));
            if !self.told(before)? {
                return Ok(());
            }
        }
        if self.told(waits)? {
            self.got_on();
        }
        Ok(())
    }

    /// Tells an event, if there is one, and goes on behind it. Whether it may go on to the next.
    fn told(&mut self, event: Option<(Event, Place)>) -> Result<bool, CarryError> {
        let Some((event, place)) = event else {
            return Ok(true);
        };
        if self.is_stopped() {
            return Ok(false);
        }
        let now_ms = self.surroundings.now_ms();
        post(&self.agent, &self.endpoint, &event, now_ms)?;
        self.cursor.go_on(place)?;
        self.got_on();
        Ok(true)
    }

    /// Says that it goes right again, if it was said that it goes wrong.
    fn got_on(&mut self) {
        self.failures = 0;
        if self.said.take().is_some() {
            let name = &self.endpoint.name;
            self.surroundings
                .tell(&format!("the webhook {name} gets messages again"));
        }
    }

    /// Says once for each time that it goes wrong that it does, and with whom. Gives how long to wait.
    fn failed(&mut self, error: &CarryError) -> u64 {
        let kind = discriminant(error);
        if self.said.replace(kind) != Some(kind) {
            let name = &self.endpoint.name;
            let what = match error {
                CarryError::Post(_) => "does not take messages, which wait for it",
                CarryError::Cursor(_) => "gets no messages, by a fault on this side",
            };
            self.surroundings
                .tell(&format!("the webhook {name} {what}: {}", one_line(error)));
        }
        let most = FIRST_PAUSE_MS.saturating_mul(1 << self.failures.min(16));
        let most = most.min(MAX_PAUSE_MS);
        self.failures = self.failures.saturating_add(1);
        // At least half of it, so that it does become slower.
        most / 2 + self.surroundings.random_below(most / 2 + 1)
    }

    fn is_stopped(&self) -> bool {
        !matches!(
            self.stopped.try_recv(),
            Err(std::sync::mpsc::TryRecvError::Empty)
        )
    }
}
