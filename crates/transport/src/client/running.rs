//! A command that runs in another process: one loop between its streams and the stream to the keeper.

use bytes::Bytes;
use casemate_ports::{CHANNEL_CAPACITY, CallIo, Command, Control, Ended, Event, KeeperError};

use super::{place::out_of_turn, unavailable};
use crate::{
    body::{Outbox, OutboxError},
    from_keeper::FromKeeper,
    inbox::Inbox,
    limits::MAX_DATA_BYTES,
    to_keeper::{Run, ToKeeper},
};

/// What is on its way between a caller and the keeper.
struct Running {
    io: CallIo,
    /// Whether the caller is there: listens to events and may say more.
    caller: Caller,
    keeper: Keeper,
    stdin: Outflow,
    /// A control that is to be sent.
    control: Option<Control>,
    /// An event for which the caller has no room yet; nothing more is heard until it has.
    event: Option<Event>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Caller {
    There,
    Gone,
}

/// Whether the keeper takes anything more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keeper {
    Hears,
    Deaf,
}

/// What happened next.
enum Step {
    /// Something waiting went on its way.
    Done,
    Heard(FromKeeper),
    Word(Option<Control>),
    Stdin(Option<Vec<u8>>),
    CallerGone,
    Deaf,
}

/// Bytes for somebody who says how much room there is.
#[derive(Debug)]
pub(super) struct Outflow {
    rest: Bytes,
    room: usize,
    state: OutflowState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OutflowState {
    Open,
    /// The end is to be said.
    Ending,
    Ended,
}

/// Runs `command` to its end. The caller's going away is a word to the keeper, which says how it ended.
pub(super) async fn run(
    outbox: &Outbox,
    inbox: &mut Inbox<FromKeeper>,
    command: Command,
    io: CallIo,
) -> Result<Ended, KeeperError> {
    let (source, run) = Run::frames(command);
    for frame in source.iter().chain([&run]) {
        outbox.send(frame).await.map_err(refused)?;
    }
    let mut running = Running {
        io,
        caller: Caller::There,
        keeper: Keeper::Hears,
        stdin: Outflow::default(),
        control: None,
        event: None,
    };
    loop {
        match running.next(inbox, outbox).await? {
            Step::Done => {}
            Step::Heard(FromKeeper::Ended(ended)) => return Ok(ended),
            Step::Heard(frame) => running.hear(frame)?,
            Step::Word(Some(control)) => running.control = Some(control),
            Step::Word(None) | Step::CallerGone => running.leave(),
            Step::Stdin(bytes) => running.stdin.put(bytes),
            // A keeper that takes no more has ended the run, and its last word is on the way.
            Step::Deaf => {
                running.stdin.close();
                running.keeper = Keeper::Deaf;
            }
        }
    }
}

fn refused(error: OutboxError) -> KeeperError {
    match error {
        OutboxError::Frame(error) => KeeperError::Spec(error.to_string()),
        closed => unavailable(&closed),
    }
}

impl Running {
    /// Waits for what happens next. Cancel-safe: whatever was taken is in the step.
    async fn next(
        &mut self,
        inbox: &mut Inbox<FromKeeper>,
        outbox: &Outbox,
    ) -> Result<Step, KeeperError> {
        let Self {
            io,
            caller,
            keeper,
            stdin,
            control,
            event,
        } = self;
        let there = *caller == Caller::There;
        let hears = *keeper == Keeper::Hears;
        let due = control.is_some() || stdin.is_due();
        // What a caller said first is passed on first: a new size of a terminal before what is typed into it. Nothing starves: what goes
        // to the keeper needs the room that the keeper gives.
        Ok(tokio::select! {
            biased;
            word = io.control.recv(), if there && control.is_none() => Step::Word(word),
            room = outbox.room(), if hears && due => match room {
                Ok(room) => {
                    let word = control.take().map(ToKeeper::Control);
                    if let Some(frame) = word.or_else(|| stdin.frame()) {
                        room.send(&frame).map_err(|error| unavailable(&error))?;
                    }
                    Step::Done
                }
                Err(_) => Step::Deaf,
            },
            bytes = io.stdin.recv(), if stdin.wants() => match bytes {
                // It was not ended, it broke off: no program is to take it for whole.
                None if there && io.events.is_closed() => Step::CallerGone,
                bytes => Step::Stdin(bytes),
            },
            room = io.events.reserve(), if event.is_some() => match (room, event.take()) {
                (Ok(room), Some(event)) => {
                    room.send(event);
                    Step::Done
                }
                _ => Step::CallerGone,
            },
            () = io.events.closed(), if there => Step::CallerGone,
            frame = inbox.next(), if event.is_none() => match frame? {
                Some(frame) => Step::Heard(frame),
                None => return Err(KeeperError::Unavailable("it ended the place".into())),
            },
        })
    }

    fn hear(&mut self, frame: FromKeeper) -> Result<(), KeeperError> {
        match frame {
            FromKeeper::Output(stream, bytes) if self.caller == Caller::There => {
                self.event = Some(Event::Output(stream, bytes.into()));
            }
            // Nobody wants it any more, or nobody waited for it before.
            FromKeeper::Output(..) | FromKeeper::Ready(_) => {}
            FromKeeper::Room => self.stdin.more_room(),
            FromKeeper::StdinClosed => {
                self.stdin.close();
                self.io.stdin.close();
            }
            frame => return Err(out_of_turn(frame)),
        }
        Ok(())
    }

    /// The caller went away: what runs is killed.
    fn leave(&mut self) {
        self.caller = Caller::Gone;
        self.event = None;
        self.control = Some(Control::Cancel);
        self.stdin.close();
    }
}

impl Default for Outflow {
    fn default() -> Self {
        Self {
            rest: Bytes::new(),
            room: CHANNEL_CAPACITY,
            state: OutflowState::Open,
        }
    }
}

impl Outflow {
    /// Whether it takes more bytes.
    pub(super) fn wants(&self) -> bool {
        self.state == OutflowState::Open && self.rest.is_empty()
    }

    /// Takes bytes, or their end.
    pub(super) fn put(&mut self, bytes: Option<Vec<u8>>) {
        match bytes {
            Some(bytes) => self.rest = bytes.into(),
            None => self.state = OutflowState::Ending,
        }
    }

    /// Whether there is something that may be sent.
    pub(super) fn is_due(&self) -> bool {
        match self.state {
            OutflowState::Open => !self.rest.is_empty() && self.room > 0,
            OutflowState::Ending => true,
            OutflowState::Ended => false,
        }
    }

    /// The next frame.
    pub(super) fn frame(&mut self) -> Option<ToKeeper> {
        match self.state {
            OutflowState::Open => {
                self.room = self.room.checked_sub(1)?;
                let len = self.rest.len().min(MAX_DATA_BYTES);
                Some(ToKeeper::Data(self.rest.split_to(len)))
            }
            OutflowState::Ending => {
                self.state = OutflowState::Ended;
                Some(ToKeeper::End)
            }
            OutflowState::Ended => None,
        }
    }

    pub(super) const fn more_room(&mut self) {
        self.room += 1;
    }

    /// Nobody reads it any more.
    pub(super) fn close(&mut self) {
        self.state = OutflowState::Ended;
        self.rest = Bytes::new();
    }

    pub(super) fn is_ended(&self) -> bool {
        self.state == OutflowState::Ended
    }
}
