//! How much is measured.

use std::time::Duration;

use super::super::RunOptions;

/// How to measure.
#[derive(Clone, Copy, Debug)]
pub struct SandboxOptions {
    /// How each run is made.
    pub run: RunOptions,
    /// How much of the rest.
    pub extent: Extent,
}

/// How much is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Everything.
    Full,
    /// A little of everything, to see that it works.
    Quick,
}

/// The numbers behind an extent.
#[derive(Clone, Debug)]
pub(super) struct Sizes {
    /// Sessions that begin at once.
    pub(super) at_once: u32,
    /// Rounds of the rates.
    pub(super) rounds: usize,
    /// How long a rate is sustained.
    pub(super) sustained: Duration,
    /// Peers' processes that import numpy and pandas.
    pub(super) peers: usize,
    /// Sessions that live at once, step by step.
    pub(super) crowd: Vec<usize>,
    /// Calls of each caller.
    pub(super) calls: usize,
    /// Runs after idle time.
    pub(super) idle_runs: usize,
    /// After so long without a call a session takes less memory.
    pub(super) settle: Duration,
    /// First calls of sessions that have waited.
    pub(super) waited: usize,
    /// Pauses, resumptions, copies and violations.
    pub(super) states: usize,
}

impl Extent {
    pub(super) fn sizes(self) -> Sizes {
        match self {
            Self::Full => Sizes {
                at_once: 100,
                rounds: 5,
                sustained: Duration::from_secs(4),
                peers: 16,
                crowd: vec![1, 100, 1_000],
                calls: 60,
                idle_runs: 40,
                settle: Duration::from_secs(90),
                waited: 10,
                states: 20,
            },
            Self::Quick => Sizes {
                at_once: 20,
                rounds: 1,
                sustained: Duration::from_millis(500),
                peers: 4,
                crowd: vec![1, 50],
                calls: 5,
                idle_runs: 3,
                settle: Duration::from_secs(2),
                waited: 0,
                states: 2,
            },
        }
    }
}
