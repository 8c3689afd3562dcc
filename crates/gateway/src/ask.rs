//! What a caller asks for. Nothing here is believed.

use std::fmt;

use casemate_model::{DecisionId, Limits, Text, Within};
use casemate_ports::Command;
use serde::{Deserialize, Serialize};

use crate::limits::MAX_NAME_BYTES;

/// A call as it was asked for, without its files.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The agent that asks.
    pub agent: String,
    /// The tool, by name.
    pub tool: String,
    /// The program with its arguments and its whole environment.
    pub command: Command,
    /// The source that an interpreter in `command` runs, if there is one.
    pub code: Option<Code>,
    /// What it may use.
    pub limits: Limits,
    /// Where it runs, if not in a fresh sandbox of its own.
    pub within: Option<Within>,
    /// Where it would send something, if anywhere.
    pub destination: Option<String>,
    /// What makes a repeat a repeat.
    pub key: Key,
    /// The trace this call is part of; one is made when there is none.
    pub trace_id: Option<String>,
}

/// What makes a repeat of a call a repeat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Key {
    /// Nothing. A profile takes such a call only if it changes nothing.
    Absent,
    /// Calls with this key and the same content are one call, which runs once.
    Given(String),
    /// The call's own name, which no other call can have: its caller, such as a person at a terminal, means
    /// every call anew.
    Own,
}

impl Ask {
    /// The key under which `decision` is the only call.
    pub(crate) fn key_of(&self, decision: DecisionId) -> Option<String> {
        match &self.key {
            Key::Absent => None,
            Key::Given(key) => Some(key.clone()),
            Key::Own => Some(decision.to_string()),
        }
    }

    /// The key that the caller chose, under which there may have been a call before.
    pub(crate) fn given_key(&self) -> Option<&String> {
        match &self.key {
            Key::Given(key) => Some(key),
            Key::Absent | Key::Own => None,
        }
    }

    /// The source that an interpreter would run, if there is one.
    pub(crate) fn source(&self) -> Option<&[u8]> {
        self.code.as_ref().map(|code| code.source.as_slice())
    }

    /// What is wrong with a name that the caller chose, if anything is.
    pub(crate) fn bad_name(&self) -> Option<String> {
        let key = self.given_key();
        if key.is_some_and(|key| key.parse::<DecisionId>().is_ok()) {
            return Some("the idempotency key is the name of a call: choose another".to_owned());
        }
        let thread = self
            .within
            .as_ref()
            .and_then(|within| within.thread.as_ref());
        let names = [
            ("the thread's name", thread),
            ("the agent's name", Some(&self.agent)),
            ("the tool's name", Some(&self.tool)),
            ("the trace's name", self.trace_id.as_ref()),
            ("the idempotency key", key),
        ];
        names
            .into_iter()
            .find(|(_, name)| name.is_some_and(|name| is_bad(name)))
            .map(|(what, _)| {
                format!("{what} must have 1 to {MAX_NAME_BYTES} bytes and no control characters")
            })
    }

    /// Cuts names that are too long to be recorded with the refusal that they cause.
    pub(crate) fn cut_names(&mut self) {
        let given = match &mut self.key {
            Key::Given(key) => Some(key),
            Key::Absent | Key::Own => None,
        };
        let thread = self
            .within
            .as_mut()
            .and_then(|within| within.thread.as_mut());
        let names = [
            thread,
            Some(&mut self.agent),
            Some(&mut self.tool),
            self.trace_id.as_mut(),
            given,
        ];
        for name in names.into_iter().flatten() {
            let end = name.floor_char_boundary(MAX_NAME_BYTES);
            name.truncate(end);
        }
    }
}

fn is_bad(name: &str) -> bool {
    name.is_empty() || name.len() > MAX_NAME_BYTES || name.chars().any(char::is_control)
}

/// A program's source: the command's cell, or one of the call's input files.
#[derive(Clone)]
pub struct Code {
    /// The name of the input file; none for the command's cell.
    pub input: Option<Text>,
    /// Its content. A call that holds anything else there is refused.
    pub source: Vec<u8>,
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Code")
            .field("input", &self.input)
            .field("bytes", &self.source.len())
            .finish()
    }
}
