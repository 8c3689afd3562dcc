//! What it costs to pause, resume and copy a session with files.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::{
    super::sample::Summary,
    house::{House, Route, open_body, session_path},
};

/// The files of the session: so many, of so many bytes each.
const FILES: usize = 100;
const FILE_BYTES: usize = 1_000_000;

/// What each took.
#[derive(Debug, Default)]
pub(super) struct States {
    pub(super) pause: Vec<Duration>,
    pub(super) resume: Vec<Duration>,
    pub(super) copy: Vec<Duration>,
}

/// Pauses, resumes and copies one session again and again.
pub(super) fn measure(house: &House, rounds: usize) -> Result<States> {
    let thread = house.thread();
    let opened = house.ask("POST", "/v1/sessions", &open_body(Route::Plain, &thread))?;
    let path = session_path(&opened)?;
    let fill = format!(
        "for n in $(seq {FILES}); do head -c {FILE_BYTES} /dev/urandom > f$n; done; cat f* | wc -c"
    );
    let filled = run(house, &thread, &fill)?;
    ensure!(
        filled == format!("{}\n", FILES * FILE_BYTES),
        "the session holds {filled}"
    );
    let mut states = States::default();
    // The first of each does not count.
    for round in 0..=rounds {
        let times = [
            timed(house, &format!("{path}/pause"))?.0,
            timed(house, &format!("{path}/resume"))?.0,
        ];
        let (copy, copied) = timed(house, &format!("{path}/copy"))?;
        house.close(&copied)?;
        if round > 0 {
            let [pause, resume] = times;
            states.pause.push(pause);
            states.resume.push(resume);
            states.copy.push(copy);
        }
    }
    let left = run(house, &thread, "cat f* | wc -c")?;
    ensure!(left == filled, "the session holds {left}");
    house.close(&opened)?;
    Ok(states)
}

fn run(house: &House, thread: &str, script: &str) -> Result<String> {
    let call = json!({
        "route": Route::Plain.name(), "thread": thread, "tool": "shell", "argv": ["bash", "-c", script],
    });
    let told = house.ask("POST", "/v1/calls", &call)?;
    let printed = told.get("stdout").and_then(Value::as_str);
    Ok(printed.unwrap_or_default().to_owned())
}

fn timed(house: &House, path: &str) -> Result<(Duration, Value)> {
    let start = Instant::now();
    let answer = house.ask("POST", path, &Value::Null)?;
    Ok((start.elapsed(), answer))
}

impl States {
    pub(super) fn table(&self) -> String {
        let mut table = format!(
            "\n## A session with {FILES} files of {} MB\n\n| What | Median ms | p99 |\n|---|---:|---:|\n",
            FILE_BYTES / 1_000_000
        );
        for (what, runs) in [
            ("pause: read, sealed, on disk", &self.pause),
            ("resume: a new sandbox, read, unsealed, in it", &self.resume),
            ("copy: a new sandbox, read, in it", &self.copy),
        ] {
            let row = Summary::of(runs).map_or_else(
                || format!("| {what} | – | – |\n"),
                |one| format!("| {what} | {:.1} | {:.1} |\n", one.median_ms, one.p99_ms),
            );
            table.push_str(&row);
        }
        table
    }
}
