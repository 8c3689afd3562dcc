//! What the caller of a stream tells the keeper.

use std::collections::BTreeMap;

use bytes::Bytes;
use casemate_model::Text;
use casemate_ports::{Cell, Command, Control, Echo, TerminalSize};
use serde::{Deserialize, Serialize};

use crate::{
    frame::{FrameError, Message, empty, of_json, to_json},
    limits::{
        MAX_COMMAND_BYTES, MAX_CONTROL_BYTES, MAX_DATA_BYTES, MAX_HEAD_BYTES, MAX_INPUT_NAME_BYTES,
        MAX_SOURCE_BYTES,
    },
};

/// What the caller of a stream tells the keeper.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ToKeeper {
    /// What the stream is about, in JSON. Always the first frame.
    Head(Bytes),
    /// The name of an input; its content follows.
    Input(Bytes),
    /// Bytes of an input, an upload, standard input or a connection.
    Data(Bytes),
    /// The end of those.
    End,
    /// The source of the cell that the next frame runs.
    Source(Bytes),
    /// The command.
    Run(Run),
    /// What the caller wants of what runs.
    Control(Control),
}

/// A command without the source of its cell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Run {
    argv: Vec<Text>,
    env: BTreeMap<String, Text>,
    /// There is a cell, and its last expression counts for this.
    echo: Option<Echo>,
    terminal: Option<TerminalSize>,
}

impl Run {
    /// The command's frames.
    pub(crate) fn frames(command: Command) -> (Option<ToKeeper>, ToKeeper) {
        let echo = command.cell.as_ref().map(|cell| cell.echo);
        let source = command
            .cell
            .map(|cell| ToKeeper::Source(cell.source.into()));
        let run = Self {
            argv: command.argv,
            env: command.env,
            echo,
            terminal: command.terminal,
        };
        (source, ToKeeper::Run(run))
    }

    /// The command, with its cell's source if it has one.
    pub(crate) fn command(self, source: Bytes) -> Command {
        Command {
            argv: self.argv,
            env: self.env,
            cell: self.echo.map(|echo| Cell {
                source: source.into(),
                echo,
            }),
            terminal: self.terminal,
        }
    }
}

impl Message for ToKeeper {
    fn max_bytes(kind: u8) -> Option<usize> {
        match kind {
            1 => Some(MAX_HEAD_BYTES),
            2 => Some(MAX_INPUT_NAME_BYTES),
            3 => Some(MAX_DATA_BYTES),
            4 => Some(0),
            5 => Some(MAX_SOURCE_BYTES),
            6 => Some(MAX_COMMAND_BYTES),
            7 => Some(MAX_CONTROL_BYTES),
            _ => None,
        }
    }

    fn parse(kind: u8, payload: Bytes) -> Result<Self, FrameError> {
        match kind {
            1 => Ok(Self::Head(payload)),
            2 => Ok(Self::Input(payload)),
            3 => Ok(Self::Data(payload)),
            4 => empty(kind, &payload).map(|()| Self::End),
            5 => Ok(Self::Source(payload)),
            6 => of_json(kind, &payload).map(Self::Run),
            7 => of_json(kind, &payload).map(Self::Control),
            other => Err(FrameError::Kind(other)),
        }
    }

    fn form(&self) -> Result<(u8, Bytes), FrameError> {
        match self {
            Self::Head(head) => Ok((1, head.clone())),
            Self::Input(name) => Ok((2, name.clone())),
            Self::Data(bytes) => Ok((3, bytes.clone())),
            Self::End => Ok((4, Bytes::new())),
            Self::Source(source) => Ok((5, source.clone())),
            Self::Run(run) => to_json(6, run),
            Self::Control(control) => to_json(7, control),
        }
    }
}
