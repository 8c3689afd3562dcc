//! Calls from several callers at once.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::Value;

use super::{
    super::{contender::Program, sample::Summary},
    house::{House, Route, call_body, checked, open_body, session_path},
};
use crate::served::Client;

/// What each call begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begin {
    /// A session of its own, which is destroyed after it, outside of the measured time.
    NewSession,
    /// The caller's session, which lives.
    LiveSession,
}

/// When a caller stops.
#[derive(Clone, Copy, Debug)]
pub(super) enum Until {
    Calls(usize),
    Elapsed(Duration),
}

/// What callers did.
#[derive(Clone, Debug)]
pub(super) struct Load {
    pub(super) calls: Vec<Duration>,
    pub(super) elapsed: Duration,
}

impl Load {
    pub(super) fn rate(&self) -> f64 {
        self.calls.len() as f64 / self.elapsed.as_secs_f64()
    }

    pub(super) fn summary(&self) -> Option<Summary> {
        Summary::of(&self.calls)
    }
}

/// Sends calls of `program` from as many callers as there are `threads`, all at once; every caller has its thread, which
/// names sessions of `route`.
pub(super) fn load(
    house: &House,
    program: &'static Program,
    (route, begin): (Route, Begin),
    threads: &[String],
    until: Until,
) -> Result<Load> {
    house.runtime.block_on(async {
        let mut callers = Vec::new();
        for thread in threads {
            let mut client = house.client();
            client.connect().await?;
            callers.push((client, thread.clone()));
        }
        let start = Instant::now();
        let tasks: Vec<_> = callers
            .into_iter()
            .map(|(client, thread)| {
                let caller = Caller {
                    client,
                    program,
                    route,
                    begin,
                    until,
                };
                tokio::spawn(caller.calls(thread, start))
            })
            .collect();
        let (mut calls, mut sessions, mut end) = (Vec::new(), Vec::new(), start);
        for task in tasks {
            let done = task.await.context("a caller died")??;
            calls.extend(done.calls);
            sessions.extend(done.sessions);
            end = end.max(done.end);
        }
        let elapsed = end.duration_since(start);
        let mut client = house.client();
        for session in sessions {
            client.send("DELETE", &session, "").await?.success()?;
        }
        Ok(Load { calls, elapsed })
    })
}

struct Caller {
    client: Client,
    program: &'static Program,
    route: Route,
    begin: Begin,
    until: Until,
}

struct Done {
    calls: Vec<Duration>,
    /// New ones that are still there.
    sessions: Vec<String>,
    end: Instant,
}

impl Caller {
    async fn calls(mut self, thread: String, start: Instant) -> Result<Done> {
        let (mut calls, mut sessions) = (Vec::new(), Vec::new());
        let mut end = start;
        loop {
            let over = match self.until {
                Until::Calls(most) => calls.len() >= most,
                Until::Elapsed(time) => start.elapsed() >= time,
            };
            if over {
                break;
            }
            let thread = match self.begin {
                Begin::NewSession => format!("{thread}-{}", calls.len()),
                Begin::LiveSession => thread.clone(),
            };
            let body = call_body(self.program, self.route, &thread).to_string();
            let sent = Instant::now();
            let answer = self.client.send("POST", "/v1/calls", body).await?;
            end = Instant::now();
            calls.push(end.duration_since(sent));
            let told = checked(&answer, self.program)?;
            if self.begin == Begin::NewSession {
                let session = session_path(&told)?;
                if matches!(self.until, Until::Calls(1)) {
                    // All begin at once: none is destroyed meanwhile.
                    sessions.push(session);
                } else {
                    self.client.send("DELETE", &session, "").await?.success()?;
                }
            }
        }
        Ok(Done {
            calls,
            sessions,
            end,
        })
    }
}

/// Opens sessions of `route` for these threads, from several callers at once; returns their paths.
pub(super) fn open(house: &House, route: Route, threads: &[String]) -> Result<Vec<String>> {
    const CALLERS: usize = 8;
    house.runtime.block_on(async {
        let each = threads.len().div_ceil(CALLERS).max(1);
        let tasks: Vec<_> = threads
            .chunks(each)
            .map(|threads| {
                let (mut client, threads) = (house.client(), threads.to_vec());
                tokio::spawn(async move {
                    let mut paths = Vec::new();
                    for thread in threads {
                        let body = open_body(route, &thread);
                        let opened = client.post("/v1/sessions", &body).await?.success()?;
                        paths.push(session_path(&opened)?);
                    }
                    anyhow::Ok(paths)
                })
            })
            .collect();
        let mut paths = Vec::new();
        for task in tasks {
            paths.extend(task.await.context("a caller died")??);
        }
        Ok(paths)
    })
}

/// Destroys sessions.
pub(super) fn close(house: &House, sessions: &[String]) -> Result<()> {
    for session in sessions {
        house.ask("DELETE", session, &Value::Null)?;
    }
    Ok(())
}
