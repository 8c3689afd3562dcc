//! A command that runs: one loop between its streams and its caller's.

use std::{collections::VecDeque, pin::pin};

use bytes::Bytes;
use casemate_ports::{CHANNEL_CAPACITY, CallIo, Command, Control, Ended, Event, Sandbox};
use tokio::sync::mpsc::{self, OwnedPermit};

use crate::{
    body::Outbox,
    fault::Fault,
    from_keeper::FromKeeper,
    inbox::Inbox,
    limits::MAX_DATA_BYTES,
    server::{inflow::Inflow, request::unexpected},
    to_keeper::ToKeeper,
};

/// The caller's ends of a command's streams.
struct Streams {
    stdin: Inflow,
    /// Closed when the caller is gone.
    control: Option<mpsc::Sender<Control>>,
    events: mpsc::Receiver<Event>,
    /// A control for which the keeper has no room yet; nothing more is heard until it has.
    waiting: Option<Control>,
    /// What is to be told, in order: a piece of output, or news of standard input.
    due: VecDeque<FromKeeper>,
}

/// What happened next.
enum Step {
    /// Something waiting went on its way.
    Done,
    Event(Event),
    Heard(Option<ToKeeper>),
    Room(Option<OwnedPermit<Vec<u8>>>),
}

/// Runs `command` to its end.
///
/// What the caller says is always heard: it sends standard input only where there is room for it, so that a program that
/// does not read cannot hold up the word that stops it.
pub(super) async fn run<P: Sandbox>(
    place: &mut P,
    command: Command,
    inbox: &mut Inbox<ToKeeper>,
    outbox: &Outbox,
) -> Result<Ended, Fault> {
    let (mut streams, io) = Streams::new();
    let mut running = pin!(place.run(command, io));
    let ended = loop {
        let step = tokio::select! {
            ended = &mut running => break ended,
            step = streams.next(inbox, outbox) => step?,
        };
        streams.apply(step)?;
    };
    // Everything that the program wrote is in the channel by now.
    while let Ok(event) = streams.events.try_recv() {
        streams.event(event);
    }
    for frame in streams.due {
        let sent = outbox.send(&frame).await;
        sent.map_err(|error| Fault::Protocol(error.to_string()))?;
    }
    Ok(ended?)
}

impl Streams {
    fn new() -> (Self, CallIo) {
        let (stdin_sender, stdin) = mpsc::channel(CHANNEL_CAPACITY);
        let (control_sender, control) = mpsc::channel(CHANNEL_CAPACITY);
        let (events, events_receiver) = mpsc::channel(CHANNEL_CAPACITY);
        let streams = Self {
            stdin: Inflow::new(stdin_sender),
            control: Some(control_sender),
            events: events_receiver,
            waiting: None,
            due: VecDeque::new(),
        };
        let io = CallIo {
            stdin,
            control,
            events,
        };
        (streams, io)
    }

    /// Waits for what happens next. Cancel-safe: whatever was taken is in the step.
    async fn next(&mut self, inbox: &mut Inbox<ToKeeper>, outbox: &Outbox) -> Result<Step, Fault> {
        let Self {
            stdin,
            control,
            events,
            waiting,
            due,
        } = self;
        let hears = control.is_some() && waiting.is_none();
        Ok(tokio::select! {
            room = outbox.room(), if !due.is_empty() => {
                let room = room.map_err(|error| Fault::Protocol(error.to_string()))?;
                if let Some(frame) = due.pop_front() {
                    room.send(&frame)?;
                }
                Step::Done
            }
            Some(event) = events.recv(), if due.is_empty() => Step::Event(event),
            frame = inbox.next(), if hears => Step::Heard(frame?),
            room = reserve(control.as_ref()), if waiting.is_some() => {
                // A keeper that hears no controls any more is about to end the run.
                if let (Some(room), Some(control)) = (room, waiting.take()) {
                    room.send(control);
                }
                Step::Done
            }
            permit = stdin.more_room() => Step::Room(permit),
        })
    }

    fn apply(&mut self, step: Step) -> Result<(), Fault> {
        match step {
            Step::Done => {}
            Step::Event(event) => self.event(event),
            Step::Heard(frame) => self.hear(frame)?,
            Step::Room(permit) => self.room(permit),
        }
        Ok(())
    }

    fn event(&mut self, event: Event) {
        let Event::Output(stream, bytes) = event;
        let mut rest = Bytes::from(bytes);
        while !rest.is_empty() {
            let piece = rest.split_to(rest.len().min(MAX_DATA_BYTES));
            self.due.push_back(FromKeeper::Output(stream, piece));
        }
    }

    fn hear(&mut self, frame: Option<ToKeeper>) -> Result<(), Fault> {
        match frame {
            // The caller is gone; the keeper sees it by the closed channel, and says how the run ended.
            None => self.control = None,
            Some(ToKeeper::Control(control)) => self.waiting = Some(control),
            Some(ToKeeper::End) => self.stdin.close(),
            Some(ToKeeper::Data(bytes)) => self.stdin.take(bytes)?,
            Some(_) => return Err(unexpected()),
        }
        Ok(())
    }

    fn room(&mut self, permit: Option<OwnedPermit<Vec<u8>>>) {
        match permit {
            Some(permit) => {
                self.stdin.add(permit);
                self.due.push_back(FromKeeper::Room);
            }
            None => {
                self.stdin.close();
                self.due.push_back(FromKeeper::StdinClosed);
            }
        }
    }
}

async fn reserve(control: Option<&mpsc::Sender<Control>>) -> Option<mpsc::Permit<'_, Control>> {
    match control {
        Some(control) => control.reserve().await.ok(),
        None => None,
    }
}
