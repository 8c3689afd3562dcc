//! What is said between a client and a server: JSON-RPC, a line for each message.

use casemate_model::{Digest, JsonBounds, strict_json};
use casemate_policy::{DescriptorFault, MAX_MCP_TOOLS};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::limits::{MAX_MCP_MESSAGE_BYTES, MAX_MCP_MESSAGES, MAX_MCP_PAGES, MCP_PIECE_BYTES};

/// The revision that is offered, and those that are taken.
const OFFERED: &str = "2025-11-25";
const TAKEN: [&str; 4] = ["2024-11-05", "2025-03-26", "2025-06-18", OFFERED];

const BOUNDS: JsonBounds = JsonBounds {
    depth: 64,
    members: 100_000,
};

/// The most characters of a server's own words that are passed on.
const MAX_SAID_CHARS: usize = 200;

/// What a server did wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// It is there no more.
    #[error("it ended before it answered")]
    Ended,
    /// It says too much at once.
    #[error("it sent a message of more than {MAX_MCP_MESSAGE_BYTES} bytes")]
    TooLarge,
    /// It says more than a program may.
    #[error(
        "it wrote more than the {0} bytes that the call may, before it answered: raise `sandbox.limits.max_output_bytes` of the profile"
    )]
    Output(u64),
    /// It says too much.
    #[error("it sent more than {MAX_MCP_MESSAGES} messages without an answer")]
    TooMany,
    /// It says something else.
    #[error("it sent what is no message of the protocol: its standard output is for messages only")]
    Garbage,
    /// It answers what nobody asked.
    #[error("it answered a request that nobody made")]
    Forged,
    /// It speaks another revision.
    #[error("it speaks a revision of the protocol that is not taken here: {0}")]
    Version(String),
    /// It refuses.
    #[error("it refused `{0}`: {1}")]
    Refused(String, String),
    /// Its answer is none.
    #[error("its answer to `{0}` is none")]
    Answer(String),
    /// Its list of tools has no end.
    #[error("it lists more than {MAX_MCP_TOOLS} tools, or on more than {MAX_MCP_PAGES} pages")]
    Endless,
    /// It does not have the tool.
    #[error("it has no tool `{0}` any more: look at it with `casemate profile pin`")]
    NoTool(String),
    /// It has the tool twice.
    #[error("it has several tools that are called `{0}`")]
    SeveralTools(String),
    /// What it says of the tool cannot be shown to anybody.
    #[error("it says of `{0}` what nobody can be shown: {1}")]
    Descriptor(String, DescriptorFault),
    /// It says something else of the tool.
    #[error(
        "descriptor_changed: it says something else of `{tool}` than what was pinned ({said}, and not {pinned}); nothing was called: \
         look at it with `casemate profile pin`, and pin it anew if it is right"
    )]
    Changed {
        /// The tool.
        tool: String,
        /// The digest of what was pinned.
        pinned: Digest,
        /// That of what it says.
        said: Digest,
    },
}

/// A conversation with a server, over its standard input and output.
#[derive(Debug)]
pub struct Talk {
    to: mpsc::Sender<Vec<u8>>,
    from: mpsc::Receiver<Vec<u8>>,
    /// What came after the last whole line, up to here without an end of one.
    rest: Vec<u8>,
    looked_at: usize,
    messages: usize,
    asked: u64,
}

impl Talk {
    /// One that begins.
    #[must_use]
    pub const fn new(to: mpsc::Sender<Vec<u8>>, from: mpsc::Receiver<Vec<u8>>) -> Self {
        Self {
            to,
            from,
            rest: Vec::new(),
            looked_at: 0,
            messages: 0,
            asked: 0,
        }
    }

    /// Says who speaks, and which revision.
    ///
    /// # Errors
    /// What the server does wrong.
    pub async fn begin(&mut self) -> Result<(), Trouble> {
        let client = json!({ "name": "casemate", "version": env!("CARGO_PKG_VERSION") });
        let params = json!({
            "protocolVersion": OFFERED,
            "capabilities": {},
            "clientInfo": client,
        });
        let said = self.ask("initialize", &params).await?;
        let version = said
            .get("protocolVersion")
            .and_then(Value::as_str)
            .unwrap_or_default();
        if !TAKEN.contains(&version) {
            return Err(Trouble::Version(shown(version)));
        }
        let begun = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        self.send(&begun).await
    }

    /// Every tool that the server lists, as it lists it.
    ///
    /// # Errors
    /// What the server does wrong.
    pub async fn tools(&mut self) -> Result<Vec<Value>, Trouble> {
        let (mut tools, mut cursor) = (Vec::new(), None);
        for _ in 0..MAX_MCP_PAGES {
            let params = cursor.map_or_else(|| json!({}), |cursor| json!({ "cursor": cursor }));
            let mut page = self.ask("tools/list", &params).await?;
            let Some(Value::Array(listed)) = page.get_mut("tools").map(Value::take) else {
                return Err(Trouble::Answer("tools/list".to_owned()));
            };
            tools.extend(listed);
            if tools.len() > MAX_MCP_TOOLS {
                return Err(Trouble::Endless);
            }
            match page.get_mut("nextCursor").map(Value::take) {
                Some(next @ Value::String(_)) => cursor = Some(next),
                _ => return Ok(tools),
            }
        }
        Err(Trouble::Endless)
    }

    /// Calls a tool. Says what the server answers, which has content.
    ///
    /// # Errors
    /// What the server does wrong.
    pub async fn call(&mut self, tool: &str, arguments: &Value) -> Result<Value, Trouble> {
        let params = json!({ "name": tool, "arguments": arguments });
        let result = self.ask("tools/call", &params).await?;
        match result.get("content").is_some_and(Value::is_array) {
            true => Ok(result),
            false => Err(Trouble::Answer("tools/call".to_owned())),
        }
    }

    /// Asks for something, and waits for its answer.
    async fn ask(&mut self, method: &str, params: &Value) -> Result<Value, Trouble> {
        self.asked += 1;
        let id = Value::from(self.asked);
        let request = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        self.send(&request).await?;
        loop {
            let mut said = self.message().await?;
            if said.get("method").is_some() {
                self.reply(&said).await?;
                continue;
            }
            if said.get("id") != Some(&id) {
                return Err(Trouble::Forged);
            }
            if let Some(error) = said.get("error") {
                let why = error["message"].as_str().unwrap_or_default();
                return Err(Trouble::Refused(method.to_owned(), shown(why)));
            }
            return match said.get_mut("result").map(Value::take) {
                Some(result @ Value::Object(_)) => Ok(result),
                _ => Err(Trouble::Answer(method.to_owned())),
            };
        }
    }

    /// Answers what a server asks: that there is nothing to be had. A notification needs no answer.
    async fn reply(&mut self, asked: &Value) -> Result<(), Trouble> {
        let Some(id) = asked.get("id").filter(|id| !id.is_null()) else {
            return Ok(());
        };
        let reply = match asked["method"] == "ping" {
            true => json!({ "jsonrpc": "2.0", "id": id, "result": {} }),
            false => json!({
                "jsonrpc": "2.0",
                "id": id,
                "error": { "code": -32_601, "message": "this client answers nothing but pings" },
            }),
        };
        self.send(&reply).await
    }

    async fn send(&self, message: &Value) -> Result<(), Trouble> {
        let line = format!("{message}\n").into_bytes();
        for piece in line.chunks(MCP_PIECE_BYTES) {
            let sent = self.to.send(piece.to_vec()).await;
            sent.map_err(|_| Trouble::Ended)?;
        }
        Ok(())
    }

    /// The next message, which is an object of JSON-RPC.
    async fn message(&mut self) -> Result<Value, Trouble> {
        self.messages += 1;
        if self.messages > MAX_MCP_MESSAGES {
            return Err(Trouble::TooMany);
        }
        let line = self.line().await?;
        let message = strict_json(&line, BOUNDS).map_err(|_| Trouble::Garbage)?;
        match message
            .get("jsonrpc")
            .is_some_and(|version| version == "2.0")
        {
            true => Ok(message),
            false => Err(Trouble::Garbage),
        }
    }

    async fn line(&mut self) -> Result<Vec<u8>, Trouble> {
        loop {
            let unseen = self.rest.get(self.looked_at..).unwrap_or_default();
            if let Some(end) = unseen.iter().position(|byte| *byte == b'\n') {
                let rest = self.rest.split_off(self.looked_at + end + 1);
                let line = std::mem::replace(&mut self.rest, rest);
                self.looked_at = 0;
                return match line.len() > MAX_MCP_MESSAGE_BYTES {
                    true => Err(Trouble::TooLarge),
                    false => Ok(line),
                };
            }
            self.looked_at = self.rest.len();
            if self.rest.len() > MAX_MCP_MESSAGE_BYTES {
                return Err(Trouble::TooLarge);
            }
            let bytes = self.from.recv().await.ok_or(Trouble::Ended)?;
            self.rest.extend(bytes);
        }
    }
}

/// Foreign words, on one line and not too many.
fn shown(text: &str) -> String {
    let text: String = text.chars().take(MAX_SAID_CHARS).collect();
    text.escape_debug().to_string()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    /// What comes of a conversation with a server that says these lines, whatever it is asked.
    async fn told(lines: &[&str]) -> Result<Value, Trouble> {
        let (to, _input) = mpsc::channel(64);
        let (said, from) = mpsc::channel(64);
        let all = lines.join("\n") + "\n";
        tokio::spawn(async move {
            // In pieces that are no lines.
            for piece in all.into_bytes().chunks(7) {
                if said.send(piece.to_vec()).await.is_err() {
                    return;
                }
            }
        });
        let mut talk = Talk::new(to, from);
        talk.begin().await?;
        let tools = talk.tools().await?;
        let result = talk.call("t", &json!({})).await?;
        Ok(json!({ "tools": tools, "result": result }))
    }

    const BEGUN: &str = r#"{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-06-18"}}"#;
    const LISTED: &str = r#"{"jsonrpc":"2.0","id":2,"result":{"tools":[{"name":"t"}]}}"#;
    const RAN: &str = r#"{"jsonrpc":"2.0","id":3,"result":{"content":[]}}"#;

    #[tokio::test]
    async fn a_server_is_heard_to_its_answer() {
        let asks = r#"{"jsonrpc":"2.0","id":"x","method":"sampling/createMessage"}"#;
        let says = r#"{"jsonrpc":"2.0","method":"notifications/message"}"#;
        let heard = told(&[says, BEGUN, asks, LISTED, says, RAN]).await.unwrap();
        assert_eq!(heard["tools"][0]["name"], "t");
        assert_eq!(heard["result"]["content"], json!([]));
    }

    #[tokio::test]
    async fn what_is_not_the_protocol_is_the_end() {
        let many = vec![r#"{"jsonrpc":"2.0","method":"n"}"#; MAX_MCP_MESSAGES + 1];
        let large = format!("\"{}\"", "a".repeat(MAX_MCP_MESSAGE_BYTES + 1));
        let next = r#"{"jsonrpc":"2.0","id":2,"result":{"tools":[],"nextCursor":"c"}}"#;
        let refused = r#"{"jsonrpc":"2.0","id":3,"error":{"code":1,"message":"a\u001bb"}}"#;
        for (lines, trouble) in [
            (vec![BEGUN], Trouble::Ended),
            (vec![""], Trouble::Garbage),
            (vec!["hello"], Trouble::Garbage),
            (vec!["[]"], Trouble::Garbage),
            (vec!["{}"], Trouble::Garbage),
            (vec![RAN], Trouble::Forged),
            (vec![BEGUN, BEGUN], Trouble::Forged),
            (vec![BEGUN, next, next], Trouble::Forged),
            (
                vec![r#"{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"1999-01-01"}}"#],
                Trouble::Version("1999-01-01".to_owned()),
            ),
            (
                vec![r#"{"jsonrpc":"2.0","id":1,"result":7}"#],
                Trouble::Answer("initialize".to_owned()),
            ),
            (
                vec![BEGUN, LISTED, refused],
                Trouble::Refused("tools/call".to_owned(), "a\\u{1b}b".to_owned()),
            ),
            (
                vec![BEGUN, LISTED, r#"{"jsonrpc":"2.0","id":3,"result":{}}"#],
                Trouble::Answer("tools/call".to_owned()),
            ),
            (many, Trouble::TooMany),
            (vec![&large], Trouble::TooLarge),
        ] {
            assert_eq!(told(&lines).await.unwrap_err(), trouble);
        }
    }
}
