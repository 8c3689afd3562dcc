//! What `cargo xtask bench sandbox` has to show, as data: each goal is a ratio in the same run, or a bound.

/// Something that is measured, of Casemate or of a way beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Measure {
    /// Milliseconds of a bare process that runs `true`.
    BareTrue,
    /// Milliseconds of a bare process that imports numpy and pandas.
    BareData,
    /// Milliseconds of bubblewrap that runs `true`.
    BubblewrapTrue,
    /// Bubblewraps with `true` a second, 2 at a time or 100 at once, whichever is more.
    BubblewrapRate,
    /// Bubblewraps that import numpy and pandas a second, 2 at a time or 16 at once, whichever is more.
    BubblewrapDataRate,
    /// Milliseconds of a new session and its first result with numpy and pandas, pool warm.
    NewSessionData,
    /// Milliseconds of a call in a live session, numpy and pandas imported.
    WarmData,
    /// Milliseconds of a new session and `true`, pool warm.
    NewSessionTrue,
    /// New sessions with a first `true` a second, 100 at once.
    SessionRate,
    /// MiB of private memory of an idle session without an interpreter, of 1 000.
    IdleMemory,
    /// MiB of private memory of an idle session with an interpreter, of 1 000.
    IdleMemoryPython,
    /// Milliseconds of a call in the only session with an interpreter.
    WarmDataAlone,
    /// Milliseconds of a call in one of 1 000 sessions.
    WarmDataCrowded,
    /// Warm Python calls a second, in 16 sessions.
    WarmDataRate,
    /// Milliseconds of a pause with 100 MB of files.
    Pause,
    /// Milliseconds of bringing it back.
    Resume,
    /// Milliseconds from a violation to the death of the last process, all cores busy: the 99th percentile.
    ViolationToDeath,
    /// The same of a plain kill of the same tree.
    KillToDeath,
}

/// How a measure has to stand to its bound.
#[derive(Clone, Copy, Debug)]
pub(super) enum Bound {
    /// At most so many times the other.
    MostTimes(f64, Measure),
    /// At least so many times the other.
    LeastTimes(f64, Measure),
    /// At most.
    Most(f64),
    /// At least.
    Least(f64),
}

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Goal {
    pub(super) what: &'static str,
    pub(super) of: Measure,
    pub(super) bound: Bound,
}

const fn goal(what: &'static str, of: Measure, bound: Bound) -> Goal {
    Goal { what, of, bound }
}

/// The goals of issues 3 and 10.
pub(super) const GOALS: [Goal; 13] = {
    use Bound::{Least, LeastTimes, Most, MostTimes};
    use Measure::*;
    [
        goal(
            "New session and its first result with numpy and pandas, ms",
            NewSessionData,
            MostTimes(0.01, BareData),
        ),
        goal(
            "Warm call with numpy and pandas, ms",
            WarmData,
            MostTimes(0.01, BareData),
        ),
        goal(
            "New session and `true`, ms",
            NewSessionTrue,
            MostTimes(0.5, BubblewrapTrue),
        ),
        goal(
            "New sessions with `true`, 100 at once, each second",
            SessionRate,
            Least(400.0),
        ),
        goal(
            "The same, beside bubblewrap",
            SessionRate,
            LeastTimes(2.0, BubblewrapRate),
        ),
        goal(
            "Memory of an idle session of 1 000, MiB",
            IdleMemory,
            Most(1.0),
        ),
        goal(
            "The same with an interpreter, MiB",
            IdleMemoryPython,
            Most(3.0),
        ),
        goal(
            "Warm call in one of 1 000 sessions, ms",
            WarmDataCrowded,
            MostTimes(1.2, WarmDataAlone),
        ),
        goal(
            "Warm Python calls in 16 sessions, each second",
            WarmDataRate,
            LeastTimes(20.0, BubblewrapDataRate),
        ),
        goal("Pause of a session with 100 MB, ms", Pause, Most(200.0)),
        goal("Its resumption, ms", Resume, Most(200.0)),
        goal(
            "Violation to the last process dead, all cores busy, p99, ms",
            ViolationToDeath,
            Most(10.0),
        ),
        goal(
            "The same, beside a kill of the same tree",
            ViolationToDeath,
            MostTimes(5.0, KillToDeath),
        ),
    ]
};

impl Bound {
    /// In words.
    pub(super) fn words(self) -> String {
        match self {
            Self::MostTimes(times, of) => format!("≤ {times} × {}", of.words()),
            Self::LeastTimes(times, of) => format!("≥ {times} × {}", of.words()),
            Self::Most(most) => format!("≤ {most}"),
            Self::Least(least) => format!("≥ {least}"),
        }
    }

    /// What it is held against, with the ratio of `value` to that, and whether it is met; nothing if the other was not measured.
    pub(super) fn judge(
        self,
        value: f64,
        measured: impl Fn(Measure) -> Option<f64>,
    ) -> Option<(f64, bool)> {
        Some(match self {
            Self::Most(most) => (value / most, value <= most),
            Self::Least(least) => (value / least, value >= least),
            Self::MostTimes(times, of) => {
                let ratio = value / measured(of)?;
                (ratio, ratio <= times)
            }
            Self::LeastTimes(times, of) => {
                let ratio = value / measured(of)?;
                (ratio, ratio >= times)
            }
        })
    }

    /// The measure that it is held against, if it is one.
    pub(super) const fn other(self) -> Option<Measure> {
        match self {
            Self::MostTimes(_, of) | Self::LeastTimes(_, of) => Some(of),
            Self::Most(_) | Self::Least(_) => None,
        }
    }
}

impl Measure {
    const fn words(self) -> &'static str {
        match self {
            Self::BareTrue => "the bare process",
            Self::BareData => "the bare cold process",
            Self::BubblewrapTrue | Self::BubblewrapRate => "bubblewrap",
            Self::BubblewrapDataRate => "bubblewrap, cold",
            Self::WarmDataAlone => "the same with one session",
            Self::KillToDeath => "the kill",
            Self::NewSessionData
            | Self::WarmData
            | Self::NewSessionTrue
            | Self::SessionRate
            | Self::IdleMemory
            | Self::IdleMemoryPython
            | Self::WarmDataCrowded
            | Self::WarmDataRate
            | Self::Pause
            | Self::Resume
            | Self::ViolationToDeath => "Casemate",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_is_met_by_its_ratio_and_not_judged_without_the_other() {
        let bound = Bound::MostTimes(0.01, Measure::BareData);
        assert_eq!(bound.judge(2.0, |_| Some(200.0)), Some((0.01, true)));
        assert_eq!(bound.judge(3.0, |_| Some(200.0)), Some((0.015, false)));
        assert_eq!(bound.judge(2.0, |_| None), None);
        let bound = Bound::LeastTimes(2.0, Measure::BubblewrapRate);
        assert_eq!(bound.judge(500.0, |_| Some(200.0)), Some((2.5, true)));
        assert_eq!(bound.judge(300.0, |_| Some(200.0)), Some((1.5, false)));
        assert_eq!(
            Bound::Least(400.0).judge(500.0, |_| None),
            Some((1.25, true))
        );
        assert_eq!(Bound::Most(1.0).judge(2.0, |_| None), Some((2.0, false)));
    }
}
