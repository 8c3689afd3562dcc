//! What idle threads and attached streams take.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
};

use super::{
    Sizes,
    calls::{python, ran, timed},
};
use crate::served::{Client, Server, resident_bytes};

/// The gateway, before and with a crowd.
#[derive(Clone, Debug, Default)]
pub(super) struct Crowd {
    /// Bytes of the gateway's memory for each idle thread, and for each stream.
    pub(super) of_thread: f64,
    pub(super) of_stream: f64,
    /// Warm calls before, with the threads, and with the streams too.
    pub(super) before: Vec<Duration>,
    pub(super) with_threads: Vec<Duration>,
    pub(super) with_streams: Vec<Duration>,
}

impl Crowd {
    pub(super) async fn measure(server: &Server, sizes: &Sizes) -> Result<Self> {
        let mut client = Client::new(&server.socket());
        let gateway = gateway(&mut client).await?;
        let mut found = Self {
            before: warm(&mut client, sizes.calls).await?,
            ..Self::default()
        };
        let alone = resident_bytes(gateway)?;
        for number in 0..sizes.threads {
            let body = json!({ "thread": format!("idle{number}") });
            client.post("/v1/sessions", &body).await?.success()?;
        }
        found.with_threads = warm(&mut client, sizes.calls).await?;
        let threads = resident_bytes(gateway)?;
        found.of_thread = each(alone, threads, sizes.threads);
        // A call that lasts, and waits for its input.
        let body = json!({
            "tool": "shell", "argv": ["cat"], "thread": "attached", "wait": false, "attach": true,
        });
        let begun = client.post("/v1/calls", &body).await?.success()?;
        let call = begun.get("decision").and_then(Value::as_str);
        let call = call.context("the call has no name")?.to_owned();
        let mut streams = Vec::new();
        for _ in 0..sizes.streams {
            streams.push(attach(server, &call).await?);
        }
        found.with_streams = warm(&mut client, sizes.calls).await?;
        found.of_stream = each(threads, resident_bytes(gateway)?, sizes.streams);
        // The first of them drives the call, which ends with it.
        drop(streams);
        Ok(found)
    }
}

fn each(before: u64, after: u64, count: usize) -> f64 {
    after.saturating_sub(before) as f64 / count.max(1) as f64
}

async fn warm(client: &mut Client, calls: usize) -> Result<Vec<Duration>> {
    let body = python("crowd");
    for _ in 0..2 {
        ran(&client.post("/v1/calls", &body).await?)?;
    }
    let mut times = Vec::new();
    for _ in 0..calls {
        times.push(timed(client, &body).await?.0);
    }
    Ok(times)
}

async fn gateway(client: &mut Client) -> Result<i32> {
    let told = client.send("GET", "/v1/status", "").await?.success()?;
    let processes = told.get("processes").and_then(Value::as_array);
    let mut processes = processes.into_iter().flatten();
    let gateway = processes.find(|one| one.get("name").and_then(Value::as_str) == Some("gateway"));
    let pid = gateway.and_then(|one| one.get("pid")?.as_i64());
    i32::try_from(pid.context("there is no gateway")?).context("there is no process of that number")
}

/// A WebSocket to a call, of which nothing more is read.
async fn attach(server: &Server, call: &str) -> Result<UnixStream> {
    let mut stream = UnixStream::connect(server.socket()).await?;
    let request = format!(
        "GET /v1/calls/{call}/attach HTTP/1.1\r\nhost: casemate\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await?;
    ensure!(
        answer == *b"HTTP/1.1 101",
        "the call cannot be attached to: {}",
        String::from_utf8_lossy(&answer)
    );
    Ok(stream)
}
