//! Being told of a throw, so that what runs can be stopped.

use std::{
    mem::MaybeUninit,
    os::fd::OwnedFd,
    path::PathBuf,
    sync::Arc,
    thread::{self, JoinHandle},
};

use rustix::{
    event::{EventfdFlags, PollFd, PollFlags, Timespec},
    fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags},
    io::Errno,
};

use crate::{
    Board, Epoch, Switches, Unreadable, WatchError, board::Readable, board_file::BOARD,
    limits::WATCH_CHECK_MS,
};

/// What may mean that another board is there, or that the directory is not ours any more.
const EVENTS: WatchFlags = WatchFlags::MOVED_TO
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::CREATE)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::ONLYDIR)
    .union(WatchFlags::DONT_FOLLOW);
const GONE: ReadFlags = ReadFlags::DELETE_SELF
    .union(ReadFlags::MOVE_SELF)
    .union(ReadFlags::UNMOUNT)
    .union(ReadFlags::IGNORED);
/// Room for a few events; the kernel keeps the others.
const EVENT_BYTES: usize = 4_096;

const CHECK: Timespec = Timespec {
    tv_sec: (WATCH_CHECK_MS / 1_000).cast_signed(),
    tv_nsec: (WATCH_CHECK_MS % 1_000 * 1_000_000).cast_signed(),
};

/// A thread that watches a board until this value is dropped.
#[derive(Debug)]
pub struct BoardWatch {
    stop: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Board {
    /// Calls `callback` with the switches now, and again at each change: with the new switches, or with the reason why
    /// they cannot be read or watched any more. The callback then asks [`Switches::check_held`] for everything that
    /// runs or waits, and stops what it refuses; if the board is unreadable, all of it.
    ///
    /// Nothing happens while nothing changes, but for one look each [`WATCH_CHECK_MS`].
    ///
    /// # Errors
    /// The watch cannot be set up. Nothing may run without one.
    pub fn watch<F>(self: &Arc<Self>, callback: F) -> Result<BoardWatch, WatchError>
    where
        F: FnMut(Result<&Switches, &Unreadable>) + Send + 'static,
    {
        let path = || self.dir().to_owned();
        let stop = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(io("make an event", path()))?;
        let stop = Arc::new(stop);
        let watcher = Watcher {
            events: Some(events(self)?),
            board: Arc::clone(self),
            stop: Arc::clone(&stop),
            told: None,
            callback,
        };
        let thread = thread::Builder::new()
            .name("switchboard".to_owned())
            .spawn(move || watcher.run())
            .map_err(io("start a thread", path()))?;
        Ok(BoardWatch {
            stop,
            thread: Some(thread),
        })
    }
}

impl BoardWatch {
    /// Whether the callback will be called again. It will not after it has panicked: nothing may run then.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.thread
            .as_ref()
            .is_some_and(|thread| !thread.is_finished())
    }
}

impl Drop for BoardWatch {
    fn drop(&mut self) {
        let woken = rustix::io::write(&*self.stop, &1_u64.to_ne_bytes());
        if let (Ok(_), Some(thread)) = (woken, self.thread.take()) {
            // The callback may itself drop the watch.
            if thread.thread().id() != thread::current().id() {
                // It says how it ended to nobody else.
                let _ = thread.join();
            }
        }
    }
}

struct Watcher<F> {
    board: Arc<Board>,
    stop: Arc<OwnedFd>,
    /// Nothing while the directory is not watched.
    events: Option<OwnedFd>,
    told: Option<Told>,
    callback: F,
}

/// What the callback was told last. A board that can be read has one content for each epoch.
#[derive(PartialEq, Eq)]
enum Told {
    Epoch(Epoch),
    Unreadable(String),
}

/// What woke the thread.
enum Woken {
    Stop,
    Time,
    /// By what is none of the board's business.
    Nothing,
    Change,
    Lost(WatchError),
}

impl<F: FnMut(Result<&Switches, &Unreadable>)> Watcher<F> {
    fn run(mut self) {
        self.tell(&self.board.read_again());
        loop {
            match self.wait() {
                Woken::Stop => return,
                Woken::Nothing => continue,
                Woken::Time if self.events.is_some() => self.tell(&self.board.switches()),
                Woken::Time => {}
                Woken::Change => self.tell(&self.board.read_again()),
                Woken::Lost(error) => {
                    self.events = None;
                    self.tell(&Err(Arc::new(error.into())));
                }
            }
            if self.events.is_none() {
                match events(&self.board) {
                    // What happened meanwhile is read after the new watch is set.
                    Ok(events) => {
                        self.events = Some(events);
                        self.tell(&self.board.read_again());
                    }
                    Err(error) => self.tell(&Err(Arc::new(error.into()))),
                }
            }
        }
    }

    fn tell(&mut self, now: &Readable) {
        let told = match now {
            Ok(switches) => Told::Epoch(switches.epoch()),
            Err(why) => Told::Unreadable(why.to_string()),
        };
        if self.told.as_ref() != Some(&told) {
            self.told = Some(told);
            (self.callback)(now.as_deref().map_err(|why| &**why));
        }
    }

    fn wait(&self) -> Woken {
        let lost = |step| {
            let failed = io(step, self.board.dir().to_owned());
            move |error: Errno| Woken::Lost(failed(error))
        };
        let mut descriptors = vec![PollFd::new(&*self.stop, PollFlags::IN)];
        if let Some(events) = &self.events {
            descriptors.push(PollFd::new(events, PollFlags::IN));
        }
        match rustix::event::poll(&mut descriptors, Some(&CHECK)) {
            Ok(0) | Err(Errno::INTR) => return Woken::Time,
            Ok(_) => {}
            Err(error) => return lost("wait")(error),
        }
        let ready = |fd: &PollFd<'_>| !fd.revents().is_empty();
        if descriptors.first().is_some_and(ready) {
            return Woken::Stop;
        }
        let Some(events) = &self.events else {
            return Woken::Time;
        };
        match changed(events) {
            Ok(Some(woken)) => woken,
            Ok(None) => Woken::Lost(WatchError::Lost {
                path: self.board.dir().to_owned(),
            }),
            Err(error) => lost("read events")(error),
        }
    }
}

/// Reads all events that there are. Nothing if the directory itself is gone.
fn changed(events: &OwnedFd) -> Result<Option<Woken>, Errno> {
    let mut woken = Woken::Nothing;
    let mut buffer = [MaybeUninit::uninit(); EVENT_BYTES];
    let mut reader = inotify::Reader::new(events, &mut buffer);
    loop {
        let event = match reader.next() {
            Ok(event) => event,
            Err(Errno::AGAIN) => return Ok(Some(woken)),
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error),
        };
        if event.events().intersects(GONE) {
            return Ok(None);
        }
        // Without a name it is of the directory, or of events that were dropped.
        let name = event.file_name();
        if name.is_none_or(|name| name.to_bytes() == BOARD.as_bytes()) {
            woken = Woken::Change;
        }
    }
}

/// Asks for the events of a board's directory.
fn events(board: &Board) -> Result<OwnedFd, WatchError> {
    let failed = |step| io(step, board.dir().to_owned());
    let events = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)
        .map_err(failed("ask for events"))?;
    inotify::add_watch(&events, board.dir(), EVENTS).map_err(failed("ask for events"))?;
    Ok(events)
}

fn io<E: Into<std::io::Error>>(step: &'static str, path: PathBuf) -> impl FnOnce(E) -> WatchError {
    move |source| WatchError::Io {
        step,
        path,
        source: source.into(),
    }
}
