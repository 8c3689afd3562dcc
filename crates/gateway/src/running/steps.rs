//! When a call had done which step, for whoever measures.

use std::{
    fmt::Write as _,
    sync::{Mutex, PoisonError},
    time::Instant,
};

/// The most steps that are kept of one call.
const MAX_STEPS: usize = 32;

/// The steps of one call.
#[derive(Debug)]
pub(super) struct Steps {
    start: Instant,
    done: Mutex<Vec<(&'static str, Instant)>>,
}

impl Steps {
    pub(super) fn start() -> Self {
        Self {
            start: Instant::now(),
            done: Mutex::default(),
        }
    }

    pub(super) fn done(&self, step: &'static str) {
        let now = Instant::now();
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        if done.len() < MAX_STEPS {
            done.push((step, now));
        }
    }

    /// As `step;dur=milliseconds`, each from the step before it.
    pub(super) fn header(&self) -> String {
        let done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        let mut done = done.clone();
        // Two threads may have noted them.
        done.sort_by_key(|(_, at)| *at);
        let (mut header, mut before) = (String::new(), self.start);
        for (step, at) in done {
            let ms = at.duration_since(before).as_secs_f64() * 1_000.0;
            let comma = if header.is_empty() { "" } else { ", " };
            // A string takes everything.
            let _ = write!(header, "{comma}{step};dur={ms:.3}");
            before = at;
        }
        header
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_told_in_their_order_and_bounded() {
        let steps = Steps::start();
        assert_eq!(steps.header(), "");
        steps.done("line");
        for _ in 0..MAX_STEPS {
            steps.done("run");
        }
        let header = steps.header();
        assert!(header.starts_with("line;dur="), "{header}");
        assert_eq!(header.matches(";dur=").count(), MAX_STEPS);
    }
}
