//! The service `process.Process`.

use std::collections::BTreeMap;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use serde_json::{Value, json};

/// A program to start.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Config {
    /// The program.
    pub cmd: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Variables.
    pub envs: BTreeMap<String, String>,
    /// Where it starts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
}

/// The size of a terminal.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Size {
    /// Characters in a line.
    pub cols: u32,
    /// Lines.
    pub rows: u32,
}

/// A terminal.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Pty {
    /// Its size.
    pub size: Option<Size>,
}

/// `Start`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Start {
    /// What is to run.
    pub process: Option<Config>,
    /// On a terminal.
    pub pty: Option<Pty>,
    /// A name that the client chose.
    pub tag: Option<String>,
    /// Whether its standard input stays open. Clients of before did not say, and meant it.
    pub stdin: Option<bool>,
}

/// Which process is meant.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Selector {
    /// By its number.
    pub pid: Option<u32>,
    /// By its name.
    pub tag: Option<String>,
}

/// Input for a process.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Input {
    /// For its standard input.
    pub stdin: Option<Bytes>,
    /// For its terminal.
    pub pty: Option<Bytes>,
}

/// Bytes, in base64.
#[derive(Clone, Debug, Default)]
pub struct Bytes(pub Vec<u8>);

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = BASE64_STANDARD.decode(text);
        bytes
            .map(Self)
            .map_err(|error| D::Error::custom(format!("not base64: {error}")))
    }
}

/// `Connect`, `CloseStdin`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Selected {
    /// Which.
    pub process: Option<Selector>,
}

/// `SendInput`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct SendInput {
    /// Which.
    pub process: Option<Selector>,
    /// What.
    pub input: Option<Input>,
}

/// `SendSignal`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct SendSignal {
    /// Which.
    pub process: Option<Selector>,
    /// Which signal.
    pub signal: Signal,
}

/// A signal: by its name, or by its number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Signal {
    /// None.
    #[default]
    Unspecified,
    /// `SIGTERM`.
    Terminate,
    /// `SIGKILL`.
    Kill,
}

impl<'de> Deserialize<'de> for Signal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(name) if name == "SIGNAL_SIGKILL" => Ok(Self::Kill),
            Value::String(name) if name == "SIGNAL_SIGTERM" => Ok(Self::Terminate),
            Value::String(name) if name == "SIGNAL_UNSPECIFIED" => Ok(Self::Unspecified),
            Value::Number(number) if number.as_u64() == Some(9) => Ok(Self::Kill),
            Value::Number(number) if number.as_u64() == Some(15) => Ok(Self::Terminate),
            Value::Number(number) if number.as_u64() == Some(0) => Ok(Self::Unspecified),
            _ => Err(D::Error::custom(
                "no signal: SIGNAL_SIGKILL or SIGNAL_SIGTERM",
            )),
        }
    }
}

/// `Update`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Update {
    /// Which.
    pub process: Option<Selector>,
    /// Its terminal.
    pub pty: Option<Pty>,
}

/// A message of `StreamInput`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct StreamInput {
    /// The first: which process.
    pub start: Option<Selected>,
    /// The others.
    pub data: Option<StreamData>,
    /// Nothing: the client is still there.
    pub keepalive: Option<Value>,
}

/// Input in a stream.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct StreamData {
    /// What.
    pub input: Option<Input>,
}

/// A process that runs.
#[derive(Debug, Serialize)]
pub struct Running {
    /// What runs.
    pub config: Config,
    /// Its number.
    pub pid: u32,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
}

/// Where output comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// A terminal.
    Pty,
}

/// The first event of a process.
#[must_use]
pub fn started(pid: u32) -> Value {
    json!({ "event": { "start": { "pid": pid } } })
}

/// Output of a process.
#[must_use]
pub fn data(source: Source, bytes: &[u8]) -> Value {
    let name = match source {
        Source::Stdout => "stdout",
        Source::Stderr => "stderr",
        Source::Pty => "pty",
    };
    json!({ "event": { "data": { name: BASE64_STANDARD.encode(bytes) } } })
}

/// Nothing, so that nobody takes the connection for dead.
#[must_use]
pub fn keepalive() -> Value {
    json!({ "event": { "keepalive": {} } })
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With this code.
    Code(u8),
    /// By this signal.
    Signal(u8),
}

/// The last event of a process.
#[must_use]
pub fn ended(end: End, why: Option<&str>) -> Value {
    let (code, exited, status) = match end {
        End::Code(code) => (i32::from(code), true, format!("exit status {code}")),
        End::Signal(9) => (-1, false, "signal: killed".to_owned()),
        End::Signal(15) => (-1, false, "signal: terminated".to_owned()),
        End::Signal(2) => (-1, false, "signal: interrupt".to_owned()),
        End::Signal(number) => (-1, false, format!("signal: {number}")),
    };
    let error = match (end, why) {
        (_, Some(why)) => Some(format!("{status}: {why}")),
        (End::Code(0), None) => None,
        _ => Some(status.clone()),
    };
    json!({ "event": { "end": { "exitCode": code, "exited": exited, "status": status, "error": error } } })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_start_is_read_as_clients_write_it() {
        let start: Start = serde_json::from_value(json!({
            "process": {"cmd": "/bin/bash", "args": ["-l", "-c", "ls"], "envs": {"A": "b"}, "cwd": "/x"},
            "pty": {"size": {"cols": 80, "rows": 24}}, "tag": "t", "new": true
        }))
        .unwrap();
        let config = start.process.unwrap();
        assert_eq!((config.cmd.as_str(), config.args.len()), ("/bin/bash", 3));
        assert_eq!(start.pty.unwrap().size.unwrap().cols, 80);
        assert_eq!(start.stdin, None);
    }

    #[test]
    fn signals_have_names_and_numbers() {
        for (signal, found) in [
            (json!("SIGNAL_SIGKILL"), Signal::Kill),
            (json!(9), Signal::Kill),
            (json!("SIGNAL_SIGTERM"), Signal::Terminate),
            (json!(15), Signal::Terminate),
        ] {
            assert_eq!(serde_json::from_value::<Signal>(signal).unwrap(), found);
        }
        for bad in [json!("SIGKILL"), json!(11), json!(null), json!({})] {
            assert!(serde_json::from_value::<Signal>(bad).is_err());
        }
    }

    #[test]
    fn an_end_says_what_the_sdk_tells_its_caller() {
        let end = |end, why| ended(end, why)["event"]["end"].clone();
        assert_eq!(
            end(End::Code(0), None),
            json!({"exitCode": 0, "exited": true, "status": "exit status 0", "error": null})
        );
        assert_eq!(end(End::Code(3), None)["error"], "exit status 3");
        assert_eq!(end(End::Signal(9), None)["exitCode"], -1);
        assert_eq!(
            end(End::Signal(9), Some("memory_exceeded"))["error"],
            "signal: killed: memory_exceeded"
        );
    }
}
