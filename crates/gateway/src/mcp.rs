//! A call of a tool of a server of the Model Context Protocol: its program is the server, and what is said to it is said here.
//!
//! Invariants:
//! - The server is hostile: whatever it says is bounded before it is kept, and what is not the protocol ends the call.
//! - It is asked to run a tool only after it said of that tool what was pinned, in the same process.
//! - What is given back is its answer to that request, and nothing else of its output.

mod talk;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests;

use std::{convert::Infallible, fmt};

use casemate_model::{Cause, Exit, Reason, SideEffect, Stream, Text};
use casemate_policy::{Arguments, Descriptor, McpTool, Profile};
use casemate_ports::{CHANNEL_CAPACITY, CallIo, Control, Ended, Event, KeeperError, Signal};
use serde_json::Value;
use tokio::{
    sync::mpsc,
    time::{Duration, sleep},
};

pub use self::talk::{Talk, Trouble};
use crate::{
    Ask, Code, Manifest, Runs,
    limits::{MCP_END_MS, MCP_PIECE_BYTES},
};

/// The input file that holds the arguments of a call.
const ARGUMENTS: &str = "arguments.json";

/// A tool of a server, as the gateway knows tools: what it makes stays in the sandbox, unless its manifest says something else.
pub(crate) const MCP_TOOL: Manifest = Manifest {
    name: "mcp",
    side_effect: SideEffect::Draft,
    runs: Runs::Programs,
};

/// What runs when a tool of a server is called: its command, and the arguments as the call's source.
#[must_use]
pub fn program(tool: &McpTool<'_>, arguments: &Arguments) -> (Vec<Text>, Code) {
    let words = tool.server.command.iter().map(|word| Text::from(&**word));
    let code = Code {
        input: Some(ARGUMENTS.into()),
        source: arguments.canonical().to_vec(),
    };
    (words.collect(), code)
}

/// Which tool of a server a call is of, if it is of one.
///
/// # Errors
/// When the tool is not pinned, or the call is no call of it.
pub(crate) fn tool_of<'p>(
    profile: &'p Profile,
    ask: &Ask,
) -> Result<Option<McpTool<'p>>, (Reason, String)> {
    let name = ask.tool.escape_debug();
    let Some(tool) = profile.mcp_tool(&ask.tool) else {
        let server = ask.tool.split_once('.').map(|(server, _)| server);
        return match server.filter(|server| profile.mcp.iter().any(|one| one.name == *server)) {
            None => Ok(None),
            Some(server) => Err((
                Reason::InvalidCall,
                format!(
                    "the tool `{name}` is not pinned: look at it with `casemate profile pin FILE {server}`"
                ),
            )),
        };
    };
    let command = &ask.command;
    let source = ask
        .source()
        .and_then(|source| Arguments::parse(source).ok());
    let is_call = source.is_some_and(|arguments| {
        let (argv, code) = program(&tool, &arguments);
        let given = ask.code.as_ref();
        command.argv == argv
            && command.cell.is_none()
            && command.terminal.is_none()
            && given.is_some_and(|given| given.input == code.input && given.source == code.source)
    });
    match is_call {
        true => Ok(Some(tool)),
        false => Err((
            Reason::InvalidCall,
            format!("this is no call of the tool `{name}`, which runs its server with arguments"),
        )),
    }
}

/// What is said to a server in one call.
pub(crate) struct Conversation {
    server: String,
    descriptor: Descriptor,
    arguments: Value,
    /// What the server may write, in bytes.
    output_bytes: u64,
}

/// What a server answered.
struct Answered {
    json: Vec<u8>,
    is_error: bool,
}

impl Conversation {
    /// That of a call, if it is of a tool of a server.
    pub(crate) fn of(profile: &Profile, ask: &Ask) -> Option<Self> {
        let tool = profile.mcp_tool(&ask.tool)?;
        Some(Self {
            server: tool.server.name.clone(),
            descriptor: tool.descriptor.clone(),
            arguments: Arguments::parse(ask.source()?).ok()?.value().clone(),
            output_bytes: ask.limits.output_bytes,
        })
    }

    async fn hold(&self, mut talk: Talk) -> Result<Answered, Trouble> {
        talk.begin().await?;
        let name = self.descriptor.name();
        let tools = talk.tools().await?;
        let mut found = tools.iter().filter(|tool| tool["name"] == name);
        let said = match (found.next(), found.next()) {
            (Some(said), None) => Descriptor::of(said),
            (None, _) => return Err(Trouble::NoTool(name.to_owned())),
            (Some(_), Some(_)) => return Err(Trouble::SeveralTools(name.to_owned())),
        };
        match said {
            Ok(said) if said == self.descriptor => {}
            Ok(said) => {
                return Err(Trouble::Changed {
                    tool: name.to_owned(),
                    pinned: self.descriptor.digest(),
                    said: said.digest(),
                });
            }
            Err(fault) => return Err(Trouble::Descriptor(name.to_owned(), fault)),
        }
        let result = talk.call(name, &self.arguments).await?;
        Ok(Answered {
            is_error: result
                .get("isError")
                .is_some_and(|is_error| *is_error == true),
            json: result.to_string().into_bytes(),
        })
    }

    /// Runs the server, and says to it what is to be said. With its end comes what it did wrong, if it did something wrong.
    pub(crate) async fn through<F: Future<Output = Result<Ended, KeeperError>>>(
        &self,
        io: CallIo,
        run: impl FnOnce(CallIo) -> F,
    ) -> (F::Output, Option<String>) {
        let CallIo {
            stdin: _,
            mut control,
            events,
        } = io;
        let (to, stdin) = mpsc::channel(CHANNEL_CAPACITY);
        let (wants, of_server) = mpsc::channel(CHANNEL_CAPACITY);
        let (written, mut output) = mpsc::channel(CHANNEL_CAPACITY);
        let (said, from) = mpsc::channel(CHANNEL_CAPACITY);
        let running = run(CallIo {
            stdin,
            control: of_server,
            events: written,
        });
        let answers = events.clone();
        // When nobody takes output any more the keeper's channel closes with this, and the keeper kills the server.
        // At its limit the server is heard no more: the keeper gives nothing on of what it writes, and it would run on for nothing.
        let passing = async move {
            let (mut left, mut said) = (self.output_bytes, Some(said));
            loop {
                let event = tokio::select! {
                    event = output.recv() => event,
                    () = events.closed() => None,
                };
                let Some(Event::Output(stream, bytes)) = event else {
                    return said.is_none();
                };
                left = left.saturating_sub(bytes.len() as u64);
                match (stream, &said) {
                    // What comes after its answer is nothing to anybody.
                    (Stream::Stdout, Some(said)) => drop(said.send(bytes).await),
                    (Stream::Stdout, None) => {}
                    _ => drop(events.send(Event::Output(stream, bytes)).await),
                }
                if left == 0 {
                    said = None;
                }
            }
        };
        let kill = wants.clone();
        let talking = async move {
            let told = self.hold(Talk::new(to, from)).await;
            match told {
                Ok(answer) => {
                    // In pieces, as programs write: of a large one the newest are kept for whoever asks later.
                    for piece in answer.json.chunks(MCP_PIECE_BYTES) {
                        let event = Event::Output(Stream::Stdout, piece.to_vec());
                        drop(answers.send(event).await);
                    }
                    // Its input has ended: it may end by itself.
                    tokio::select! {
                        () = sleep(Duration::from_millis(MCP_END_MS)) => {}
                        () = kill.closed() => return Ok(answer.is_error),
                    }
                    let term = Control::Interrupt(Signal::Terminate);
                    kill.send(term).await.unwrap_or_default();
                    Ok(answer.is_error)
                }
                Err(trouble) => {
                    kill.send(Control::Cancel).await.unwrap_or_default();
                    Err(trouble)
                }
            }
        };
        let controlling = async move {
            while let Some(wanted) = control.recv().await {
                if wants.send(wanted).await.is_err() {
                    break;
                }
            }
            // Whoever called has gone.
            wants.send(Control::Cancel).await.unwrap_or_default();
            std::future::pending::<Infallible>().await
        };
        let all = async { tokio::join!(running, passing, talking) };
        let (mut ended, full, told) = tokio::select! {
            all = all => all,
            never = controlling => match never {},
        };
        let told = match told {
            Err(Trouble::Ended) if full => Err(Trouble::Output(self.output_bytes)),
            told => told,
        };
        let why = told
            .as_ref()
            .err()
            .map(|trouble| format!("the server `{}`: {trouble}", self.server));
        if let Ok(ended) = &mut ended {
            settle(ended, told.as_ref().ok().copied());
        }
        (ended, why)
    }
}

/// What counts as the end of the call: that it has an answer, and not how its server went.
fn settle(ended: &mut Ended, is_error: Option<bool>) {
    let by_itself = matches!(
        ended.cause,
        Cause::Completed | Cause::Cancelled | Cause::TimedOut
    );
    match is_error {
        Some(is_error) if by_itself => {
            ended.cause = Cause::Completed;
            ended.exit = Some(Exit::Code(u8::from(is_error)));
        }
        None if ended.exit == Some(Exit::Code(0)) => ended.exit = Some(Exit::Code(1)),
        _ => {}
    }
}

impl fmt::Debug for Conversation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Arguments are not for logs.
        f.debug_struct("Conversation")
            .field("server", &self.server)
            .field("tool", &self.descriptor.name())
            .finish_non_exhaustive()
    }
}
