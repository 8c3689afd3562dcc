//! Calls one after the other, and many at once.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::{
    super::{
        contender::Prefix,
        sample::Summary,
        sandbox::{TRUE, peer_rate},
    },
    Sizes,
};
use crate::{
    process,
    served::{Answer, Client, Server},
};

/// Calls that have no answer yet.
pub(super) const IN_FLIGHT: usize = 32;
/// Bubblewraps at a time beside them: one for each core of the machine that the goals are for.
const FEW_PEERS: usize = 2;

/// A warm Python call, with HTTP and without.
#[derive(Clone, Debug, Default)]
pub(super) struct Warm {
    /// As a client over TCP with an API key has it, its connection kept.
    pub(super) over_network: Vec<Duration>,
    /// As a client on the Unix socket has it.
    pub(super) over_socket: Vec<Duration>,
    /// The life of the call alone, by the gateway's own clock: from the request that was understood to the answer that is made.
    pub(super) alone: Vec<Duration>,
    /// What HTTP over TCP added to each.
    pub(super) added: Vec<Duration>,
}

impl Warm {
    pub(super) async fn measure(server: &Server, calls: usize) -> Result<Self> {
        let body = python("warm");
        let mut clients = [server.client(), Client::new(&server.socket())];
        for client in &mut clients {
            // The first opens the session, and the second finds everything warm.
            for _ in 0..2 {
                ran(&client.post("/v1/calls", &body).await?)?;
            }
        }
        let mut found = Self::default();
        let [network, socket] = &mut clients;
        for _ in 0..calls {
            let (took, alone) = timed(network, &body).await?;
            found.over_network.push(took);
            found.alone.push(alone);
            found.added.push(took.saturating_sub(alone));
            found.over_socket.push(timed(socket, &body).await?.0);
        }
        Ok(found)
    }
}

/// A call of Python in a thread.
pub(super) fn python(thread: &str) -> Value {
    json!({ "tool": "python", "code": "6 * 7", "thread": thread })
}

/// How long a call took, and how long its life took.
pub(super) async fn timed(client: &mut Client, body: &Value) -> Result<(Duration, Duration)> {
    let sent = Instant::now();
    let answer = client.post("/v1/calls", body).await?;
    let took = sent.elapsed();
    ran(&answer)?;
    let timings = answer
        .timings
        .context("the server does not tell its steps")?;
    let alone = sum(&timings).with_context(|| format!("`{timings}` is no Server-Timing"))?;
    Ok((took, alone))
}

/// A call that ran.
pub(super) fn ran(answer: &Answer) -> Result<Value> {
    let told = answer.success()?;
    let status = told.get("status").and_then(Value::as_str);
    ensure!(status == Some("succeeded"), "the call did not run: {told}");
    Ok(told)
}

/// All steps of a header `Server-Timing`.
fn sum(timings: &str) -> Option<Duration> {
    let mut all = 0.0;
    for step in timings.split(',') {
        let (_, ms) = step.split_once(";dur=")?;
        all += ms.trim().parse::<f64>().ok()?;
    }
    Some(Duration::from_secs_f64(all / 1_000.0))
}

/// Calls of `true` a second.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rates {
    /// Governed ones, with so many in flight.
    pub(super) governed: f64,
    /// Bubblewraps: two at a time, and so many at once. Nothing if it is not installed.
    pub(super) peer: Option<(f64, f64)>,
}

impl Rates {
    pub(super) fn measure(runtime: &Runtime, server: &Server, sizes: &Sizes) -> Result<Self> {
        let governed = runtime.block_on(governed(server, sizes.rate_for))?;
        let has_peer = process::succeeds(std::process::Command::new("bwrap").arg("--version"));
        let way = Prefix::bubblewrap(None);
        let peer = match has_peer {
            true => Some((
                peer_rate(&way, &TRUE, sizes.peers, FEW_PEERS)?,
                peer_rate(&way, &TRUE, sizes.peers, IN_FLIGHT)?,
            )),
            false => None,
        };
        Ok(Self { governed, peer })
    }

    /// The better of bubblewrap's.
    pub(super) fn best_peer(&self) -> Option<f64> {
        self.peer.map(|(few, many)| few.max(many))
    }
}

async fn governed(server: &Server, time: Duration) -> Result<f64> {
    let mut callers = Vec::new();
    for number in 0..IN_FLIGHT {
        let mut client = server.client();
        let body = json!({ "tool": "shell", "argv": ["true"], "thread": format!("rate{number}") });
        // Opens the session.
        ran(&client.post("/v1/calls", &body).await?)?;
        callers.push((client, body));
    }
    let start = Instant::now();
    let tasks: Vec<_> = callers
        .into_iter()
        .map(|(mut client, body)| {
            tokio::spawn(async move {
                let mut count = 0_u32;
                while start.elapsed() < time {
                    ran(&client.post("/v1/calls", &body).await?)?;
                    count += 1;
                }
                anyhow::Ok(count)
            })
        })
        .collect();
    let mut all = 0;
    for task in tasks {
        all += task.await.context("a caller died")??;
    }
    Ok(f64::from(all) / start.elapsed().as_secs_f64())
}

/// The median of durations, in milliseconds.
pub(super) fn p50(of: &[Duration]) -> f64 {
    Summary::of(of).map_or(f64::NAN, |summary| summary.median_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steps_of_a_call_are_added_up() {
        assert_eq!(
            sum("a;dur=1.500, b;dur=0.25"),
            Some(Duration::from_micros(1_750))
        );
        assert_eq!(sum("a"), None);
    }
}
