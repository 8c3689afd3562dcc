//! The ways of Casemate that are measured beside the others: a session for each call, and one that lives.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use serde_json::Value;

use super::{
    super::contender::{Contender, Program},
    house::{House, Route, call_body, checked},
    steps::Steps,
};

/// The way that opens a session for each call.
pub(super) const NEW_SESSION: &str = "casemate, new session";
/// The way that has one.
pub(super) const LIVE_SESSION: &str = "casemate, live session";

/// Steps of the calls, by way and program.
pub(super) type Breakdown = Rc<RefCell<BTreeMap<(&'static str, &'static str), Vec<Steps>>>>;

/// A new thread for each call.
pub(super) struct NewSession {
    pub(super) house: Rc<House>,
    pub(super) breakdown: Breakdown,
}

/// One thread for all calls of a route.
pub(super) struct LiveSession {
    pub(super) house: Rc<House>,
    pub(super) breakdown: Breakdown,
}

impl Contender for NewSession {
    fn name(&self) -> &'static str {
        NEW_SESSION
    }

    fn time(&mut self, program: &Program) -> Result<Duration> {
        let thread = self.house.thread();
        let (answer, elapsed) = timed(
            &self.house,
            program,
            &thread,
            (self.name(), &self.breakdown),
        )?;
        ensure!(
            answer.get("new_session") == Some(&Value::Bool(true)),
            "the session is not new: {answer}"
        );
        self.house.close(&answer)?;
        Ok(elapsed)
    }
}

impl Contender for LiveSession {
    fn name(&self) -> &'static str {
        LIVE_SESSION
    }

    fn time(&mut self, program: &Program) -> Result<Duration> {
        // A thread has one session, of one route.
        let thread = format!("live-{}", Route::of(program.needs).name());
        let (_, elapsed) = timed(
            &self.house,
            program,
            &thread,
            (self.name(), &self.breakdown),
        )?;
        Ok(elapsed)
    }
}

/// From the request sent to the answer read.
fn timed(
    house: &House,
    program: &Program,
    thread: &str,
    (way, breakdown): (&'static str, &Breakdown),
) -> Result<(Value, Duration)> {
    let body = call_body(program, Route::of(program.needs), thread).to_string();
    let start = Instant::now();
    let answer = house.send("POST", "/v1/calls", body)?;
    let elapsed = start.elapsed();
    let told = checked(&answer, program)?;
    if let Some(timings) = &answer.timings {
        let mut breakdown = breakdown.borrow_mut();
        let of = breakdown.entry((program.name, way)).or_default();
        of.push(Steps::parse(timings, elapsed));
    }
    Ok((told, elapsed))
}
