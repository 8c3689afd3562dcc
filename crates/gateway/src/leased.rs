//! A call that holds the right to run, once.

use std::{fmt, pin::pin};

use casemate_model::Digest;
use casemate_ports::{CHANNEL_CAPACITY, CallIo, Event, Sandbox, WaySockets};
use tokio::sync::mpsc;
use zeroize::Zeroizing;

use crate::{
    Ended, Facts, Journal, RecordError,
    ended::{End, Leftover},
    mcp::Conversation,
    meter::{Gate, Open},
    open::OpenCall,
    tee::Tee,
};

/// The right to run one call: 256 unpredictable bits whose digest is in its record.
pub(crate) struct Token(Zeroizing<[u8; 32]>);

impl Token {
    pub(crate) fn new(journal: &Journal) -> Result<Self, RecordError> {
        let mut secret = Zeroizing::new([0; 32]);
        journal.fill(secret.as_mut_slice())?;
        Ok(Self(secret))
    }

    pub(crate) fn digest(&self) -> Digest {
        Digest::of(self.0.as_slice())
    }
}

/// A recorded call with its action token. Running uses it up.
///
/// A lease cannot be copied:
///
/// ```compile_fail,E0599
/// use casemate_gateway::Leased;
///
/// fn copy<'j, S, I>(lease: &Leased<'j, S, I>) -> Leased<'j, S, I> {
///     lease.clone()
/// }
/// ```
///
/// nor used twice:
///
/// ```compile_fail,E0382
/// use casemate_gateway::Leased;
/// use casemate_ports::{CallIo, Sandbox};
///
/// async fn twice<S: Sandbox, I>(lease: Leased<'_, S, I>, first: CallIo, second: CallIo) {
///     lease.run(first).await;
///     lease.run(second).await;
/// }
/// ```
///
/// and once is what compiles:
///
/// ```
/// use casemate_gateway::Leased;
/// use casemate_ports::{CallIo, Sandbox};
///
/// async fn once<S: Sandbox, I>(lease: Leased<'_, S, I>, io: CallIo) {
///     lease.run(io).await;
/// }
/// ```
pub struct Leased<'j, S, I> {
    open: OpenCall<'j>,
    token: Token,
    expires_at_ms: u64,
    sandbox: S,
    store: Option<I>,
}

impl<'j, S, I> Leased<'j, S, I> {
    pub(crate) const fn new(
        open: OpenCall<'j>,
        token: Token,
        expires_at_ms: u64,
        sandbox: S,
        store: Option<I>,
    ) -> Self {
        Self {
            open,
            token,
            expires_at_ms,
            sandbox,
            store,
        }
    }

    /// What is known of the call.
    #[must_use]
    pub const fn facts(&self) -> &Facts {
        &self.open.facts
    }
}

impl<'j, S: Sandbox, I> Leased<'j, S, I> {
    /// The sockets of the sandbox's way out, once. Whoever connects to them belongs to this call, whose decision is on
    /// disk.
    pub fn take_way_out(&mut self) -> Option<WaySockets> {
        self.sandbox.take_way_out()
    }

    /// Runs the call's program until every process of it is dead. The only way to run anything.
    ///
    /// `io.events` gets its output as it comes. A consumer that stalls stops the output, not the call's
    /// end: what is left over is handed out by [`Ended::release`].
    pub async fn run(self, io: CallIo) -> Ended<'j, S, I> {
        self.run_through(&mut Open, None, io).await
    }

    /// Gives the right to run back, unused; `why` is one line for people.
    pub fn give_up(self, why: String, io: CallIo) -> Ended<'j, S, I> {
        let leftover = Leftover::new(io.events);
        let end = End::NotStarted(Some(why));
        let tee = Tee::hashing();
        Ended::new(self.open, end, tee, leftover, self.sandbox, self.store)
    }

    /// As [`Leased::run`]; its output passes through `gate`, and what is said to a server is said.
    pub(crate) async fn run_through(
        mut self,
        gate: &mut impl Gate,
        said: Option<Conversation>,
        io: CallIo,
    ) -> Ended<'j, S, I> {
        let mut tee = match self.store {
            Some(_) => Tee::keeping(),
            None => Tee::hashing(),
        };
        let (inner, mut output) = mpsc::channel(CHANNEL_CAPACITY);
        let mut leftover = Leftover::new(io.events);
        let mut wrong = None;
        let end = if self.open.journal.clock.now_ms() < self.expires_at_ms {
            drop(self.token);
            let command = self.open.facts.ask.command.clone();
            let io = CallIo {
                stdin: io.stdin,
                control: io.control,
                events: inner,
            };
            let sandbox = &mut self.sandbox;
            let running = async {
                match &said {
                    None => sandbox.run(command, io).await,
                    Some(said) => {
                        let run = move |io| sandbox.run(command, io);
                        let (ended, why) = Box::pin(said.through(io, run)).await;
                        wrong = why;
                        ended
                    }
                }
            };
            let ended = relay(running, &mut output, &leftover.events, &mut tee, gate).await;
            output.close();
            while let Some(event) = output.recv().await {
                if let Some(event) = gate.pass(event) {
                    tee.see(&event);
                    leftover.rest.push(event);
                }
            }
            let cut = gate.cut();
            let truncated = cut.is_some();
            self.open.facts.quota = cut;
            match ended {
                Ok(mut ended) => {
                    ended.output_truncated |= truncated;
                    End::Ran(ended)
                }
                Err(error) => End::Lost(error),
            }
        } else {
            End::NotStarted(None)
        };
        Ended::new(self.open, end, tee, leftover, self.sandbox, self.store).wrong(wrong)
    }
}

/// Passes output on while the program runs. Without a consumer the keeper's channel closes, and the keeper
/// kills the program.
async fn relay<F: Future>(
    running: F,
    output: &mut mpsc::Receiver<Event>,
    events: &mpsc::Sender<Event>,
    tee: &mut Tee,
    gate: &mut impl Gate,
) -> F::Output {
    let mut running = pin!(running);
    let mut flowing = true;
    loop {
        tokio::select! {
            ended = &mut running => return ended,
            next = next(output, events), if flowing => match next {
                Some((permit, event)) => {
                    if let Some(event) = gate.pass(event) {
                        tee.see(&event);
                        permit.send(event);
                    }
                }
                None => {
                    output.close();
                    flowing = false;
                }
            }
        }
    }
}

/// The next event and a place for it; nothing when one side is closed. Loses no event when it is dropped.
async fn next<'e>(
    output: &mut mpsc::Receiver<Event>,
    events: &'e mpsc::Sender<Event>,
) -> Option<(mpsc::Permit<'e, Event>, Event)> {
    let permit = events.reserve().await.ok()?;
    tokio::select! {
        event = output.recv() => Some((permit, event?)),
        () = events.closed() => None,
    }
}

impl<S, I> fmt::Debug for Leased<'_, S, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Leased").field(&self.open.facts).finish()
    }
}
