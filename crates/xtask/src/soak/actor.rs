//! A client that does what comes into its mind.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use fastrand::Rng;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::{
    check::{Verdict, is_excused, judge},
    deeds,
    world::{Known, Victim, World, gist},
};
use crate::served::{Answer, Client};

/// No answer takes so long: calls are short, and a gateway starts in a second.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long to wait for a gateway that was killed.
const REST: Duration = Duration::from_millis(100);

/// A client, with agents and threads of its own.
pub(super) struct Actor {
    pub(super) number: u64,
    pub(super) random: Rng,
    pub(super) world: Arc<World>,
    pub(super) client: Client,
    /// Counts what it did, for words that are used once.
    pub(super) step: u64,
}

/// What came of a request.
pub(super) enum Came {
    Good(Value),
    Problem,
    /// A death took the answer.
    Nothing,
}

impl Actor {
    pub(super) fn new(number: u64, random: Rng, world: Arc<World>) -> Self {
        let client = Client::new(world.socket());
        Self {
            number,
            random,
            world,
            client,
            step: 0,
        }
    }

    pub(super) async fn act_until(mut self, deadline: Instant) {
        while Instant::now() < deadline {
            self.step += 1;
            deeds::any(&mut self).await;
            let pause = self.random.u64(0..30);
            sleep(Duration::from_millis(pause)).await;
        }
    }

    /// The agent that this actor is: two of them share one.
    pub(super) fn agent(&self) -> String {
        format!("agent{}", self.number / 2)
    }

    /// One of its threads on a route: few, so that they live for some calls.
    pub(super) fn thread(&mut self, route: &str) -> String {
        format!("{route}-{}-{}", self.number, self.random.u64(0..3))
    }

    /// A word that nobody has used.
    pub(super) fn word(&self) -> String {
        format!("w{}x{}", self.number, self.step)
    }

    /// Sends a request whose problem may be any of `expected`, or whatever a death excuses.
    pub(super) async fn ask(
        &mut self,
        deed: &'static str,
        (method, path): (&str, &str),
        body: impl Into<Bytes>,
        expected: &[&str],
    ) -> Came {
        let began = Instant::now();
        let sent = timeout(PATIENCE, self.client.send(method, path, body)).await;
        let what = || format!("{deed}: {method} {path}");
        match sent {
            Err(_) => {
                // The connection may yet answer: it is of no use any more.
                self.client = Client::new(self.world.socket());
                self.fault(format!("{}: no answer in {} s", what(), PATIENCE.as_secs()));
                self.world.count(deed, "no answer");
                Came::Nothing
            }
            Ok(Err(error)) => {
                let deaths = self.world.deaths(began);
                // A file comes from its sandbox, and ends when that does.
                let of_file = path.contains("/files/");
                let died = deaths.contains(&Victim::Gateway) || of_file && !deaths.is_empty();
                if !died && !self.world.was_destroyed(path) {
                    self.fault(format!("{}: {error:#}", what()));
                }
                self.world.count(deed, "cut off");
                sleep(REST).await;
                Came::Nothing
            }
            Ok(Ok(answer)) => self.weigh(deed, &what(), began, &answer, expected),
        }
    }

    fn weigh(
        &self,
        deed: &'static str,
        what: &str,
        began: Instant,
        answer: &Answer,
        expected: &[&str],
    ) -> Came {
        match judge(answer) {
            Verdict::Good(body) => Came::Good(body),
            Verdict::Problem(code, body) => {
                let deaths = self.world.deaths(began);
                let detail = body.get("detail").and_then(Value::as_str);
                let taken = code == "session_gone"
                    && self.world.took_sessions()
                    && detail.is_some_and(|detail| {
                        ["its keeper ended", "its sandbox died", "idle for too long"]
                            .iter()
                            .any(|why| detail.ends_with(why))
                    });
                if !taken && !expected.contains(&code.as_str()) && !is_excused(&code, &deaths) {
                    let detail = body.get("detail").and_then(Value::as_str);
                    let detail = detail.unwrap_or_default();
                    self.fault(format!(
                        "{what}: unexpected {code}: {detail} ({deaths:?} died)"
                    ));
                }
                if matches!(
                    code.as_str(),
                    "isolation_unavailable" | "failed" | "file_failed"
                ) {
                    let detail = body.get("detail").and_then(Value::as_str);
                    self.world
                        .count("excused", gist(detail.unwrap_or_default()));
                }
                self.world.count(deed, code);
                Came::Problem
            }
            Verdict::Undocumented(shown) => {
                self.fault(format!("{what}: not documented: {shown}"));
                self.world.count(deed, "undocumented");
                Came::Nothing
            }
        }
    }

    /// Makes a call. Its session may be gone: that is told once.
    pub(super) async fn call(
        &mut self,
        deed: &'static str,
        mut call: Value,
        expected: &[&str],
    ) -> Option<Told> {
        if let Some(call) = call.as_object_mut()
            && !call.contains_key("agent")
        {
            call.insert("agent".to_owned(), json!(self.agent()));
        }
        let began = Instant::now();
        let came = self
            .ask(deed, ("POST", "/v1/calls"), call.to_string(), expected)
            .await;
        let Came::Good(answer) = came else {
            return None;
        };
        let session = answer.get("session").and_then(Value::as_str);
        let of = |key: &str| call.get(key).and_then(Value::as_str);
        if let (Some(session), Some(agent), Some(route)) = (session, of("agent"), of("route")) {
            let known = Known {
                agent: agent.to_owned(),
                session: session.to_owned(),
                route: route.to_owned(),
            };
            let chance = self.random.usize(..);
            self.world.know(known, chance);
        }
        let destroyed = session.is_some_and(|session| self.world.was_destroyed(session));
        let told = Told {
            deed,
            began,
            answer,
        };
        let cause = told.text("cause");
        self.world.count(deed, cause.to_owned());
        if cause == "sandbox_lost" && !destroyed && self.world.deaths(began).is_empty() {
            self.fault(format!("{deed}: lost without a death: {}", told.short()));
        }
        Some(told)
    }

    pub(super) fn fault(&self, fault: String) {
        self.world.fault(fault);
    }

    /// The call must have ended so, unless somebody died.
    pub(super) fn expect(&self, told: &Told, holds: bool, what: &str) {
        if !holds && self.world.deaths(told.began).is_empty() {
            self.fault(format!("{}: not {what}: {}", told.deed, told.short()));
        }
    }
}

/// The answer of a call that ran.
pub(super) struct Told {
    pub(super) deed: &'static str,
    pub(super) began: Instant,
    pub(super) answer: Value,
}

impl Told {
    pub(super) fn text(&self, key: &str) -> &str {
        self.answer
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    pub(super) fn number(&self, key: &str) -> Option<u64> {
        self.answer.get(key).and_then(Value::as_u64)
    }

    pub(super) fn is(&self, key: &str) -> bool {
        self.answer.get(key) == Some(&Value::Bool(true))
    }

    /// Whether it ended by itself with this exit code and printed this.
    pub(super) fn did(&self, exit: u64, stdout: &str) -> bool {
        self.text("cause") == "completed"
            && self.number("exit_code") == Some(exit)
            && self.text("stdout") == stdout
    }

    fn short(&self) -> String {
        let keys = [
            "cause",
            "exit_code",
            "signal",
            "error",
            "stdout",
            "stderr",
            "new_session",
            "output_truncated",
            "session",
            "decision",
        ];
        let shown: Vec<_> = keys
            .iter()
            .filter_map(|key| Some((key, self.answer.get(key)?)))
            .map(|(key, value)| format!("{key} {value}"))
            .collect();
        let shown = shown.join(", ");
        shown.chars().take(600).collect()
    }
}
