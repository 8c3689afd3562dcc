//! The page of `cargo xtask bench sandbox`.

use std::{collections::BTreeMap, fmt::Write as _};

use super::{
    super::{
        RunOptions,
        contender::Program,
        goals::{GOALS, Measure},
        host::Host,
        report::{Absent, Series},
        sample::Summary,
    },
    PROGRAMS,
    crowd::Crowd,
    options::{Extent, SandboxOptions},
    rates::Rates,
    state::States,
    steps::{self, Steps},
    violation::Deaths,
};
use crate::Page;

/// Everything that the page says.
#[derive(Debug)]
pub(super) struct SandboxReport {
    pub(super) options: SandboxOptions,
    pub(super) host: Host,
    /// What the decisions and outcomes are on.
    pub(super) file_system: &'static str,
    pub(super) series: Vec<Series>,
    pub(super) measured: BTreeMap<Measure, f64>,
    /// The steps of calls, by program and way.
    pub(super) breakdown: BTreeMap<(&'static str, &'static str), Vec<Steps>>,
    /// Milliseconds of an empty answer from the gateway, and of one from the keeper behind it.
    pub(super) hop: Option<(f64, f64)>,
    pub(super) crowd: Crowd,
    pub(super) rates: Rates,
    pub(super) states: States,
    pub(super) deaths: Deaths,
    /// Sessions that began at once.
    pub(super) at_once: u32,
    /// Sandboxes that were made while a call of the series waited.
    pub(super) cold: u64,
    pub(super) absent: Vec<Absent>,
    /// Runs that began on a machine that would not become idle.
    pub(super) on_busy_machine: usize,
}

/// What stands in the way of the goals that are not met.
const WHY: &str = "\n\
    What stands between a call and a hundredth of a bare interpreter's start (2.9 ms): two records that have to be on the disk, one before and one after the call (on this\n\
    disk 0.4 to 0.8 ms each after an idle pause); four processes that wake each other (client, gateway, keeper, guest: about ten wake-ups of an idle core, 0.05 to 0.1 ms each); a copy of\n\
    an interpreter whose reference counts touch about 1 000 pages (0.5 to 0.9 ms); and the death of the copy with everything it started, which the answer waits for. A new session's first `true` has the\n\
    same records and wake-ups, beside a bubblewrap that has none; a hundred at once are bounded by two cores that share them.\n";

impl SandboxReport {
    pub(super) fn page(&self) -> Page {
        let mut content = self.heading();
        content.push_str(&self.goals());
        for program in &PROGRAMS {
            content.push_str(&self.table(program));
        }
        if self.cold > 0 {
            let _ = writeln!(
                content,
                "\n{} sandboxes were made while a call waited for them.",
                self.cold
            );
        }
        content.push_str(&self.steps());
        content.push_str(&self.crowd.tables());
        content.push_str(&self.rates.table(self.at_once));
        content.push_str(&self.states.table());
        content.push_str(&self.deaths.table());
        for Absent { way, why } in &self.absent {
            let _ = writeln!(content, "\n{way} was not measured: {why}.");
        }
        if self.on_busy_machine > 0 {
            let all: usize = self.series.iter().map(|series| series.runs.len()).sum();
            let _ = writeln!(
                content,
                "\n{} of {all} runs began on a machine that would not become idle.",
                self.on_busy_machine
            );
        }
        Page {
            path: "docs/benchmarks/sandbox.md".to_owned(),
            content,
        }
    }

    fn heading(&self) -> String {
        let RunOptions {
            runs,
            idle_ms,
            seed,
        } = self.options.run;
        let quick = match self.options.extent {
            Extent::Full => "",
            Extent::Quick => " --quick",
        };
        let host = &self.host;
        let before = if idle_ms == 0 {
            "without a pause".to_owned()
        } else {
            format!("each after the machine was at least 90 % idle for {idle_ms} ms")
        };
        format!(
            "# What sessions and warm calls cost\n\n\
             Measured by `cargo xtask bench sandbox --runs {runs} --idle-ms {idle_ms} --seed {seed}{quick}`\n\
             on {}, at commit {},\non {} cores of {}, Linux {}.\n\n\
             Wall time of {runs} runs of each program in each way, in one series, in random order,\n\
             {before}; one more run of each came first and does not count.\n\
             Casemate: `casemate serve`, over HTTP on its Unix socket, from the request sent to the whole answer read, with the decision,\n\
             its record and the outcome's record on {}. Python with numpy and pandas runs as a cell in a sandbox with the image `python-data`,\n\
             `true` in one without an interpreter; 8 unused sandboxes of each stand ready.\n",
            host.date, host.commit, host.cores, host.cpu, host.kernel, self.file_system,
        )
    }

    fn steps(&self) -> String {
        let kinds: Vec<_> = self
            .breakdown
            .iter()
            .map(|((program, way), steps)| {
                let way = way.trim_start_matches("casemate, ");
                (format!("{way}, {program}"), steps.clone())
            })
            .collect();
        let mut text = steps::table(&kinds);
        if let Some((gateway, keeper)) = self.hop {
            let _ = writeln!(
                text,
                "\nAn empty answer of the gateway takes {gateway:.3} ms, one that asks the keeper {keeper:.3} ms; a call asks it for its \
                 session, its place, that place's facts, and to run.",
            );
        }
        text
    }

    /// The goals, each with what it is held against in this run.
    fn goals(&self) -> String {
        let mut table = String::from(
            "\n## Goals\n\n| What | Casemate | Beside | Ratio | Goal | Met |\n|---|---:|---:|---:|---:|---|\n",
        );
        let of = |measure: Measure| self.measured.get(&measure).copied();
        let number = |value: Option<f64>| {
            value.map_or_else(|| "–".to_owned(), |value| format!("{value:.2}"))
        };
        for goal in GOALS {
            let value = of(goal.of);
            let judged = value.and_then(|value| goal.bound.judge(value, of));
            let met = match judged {
                None => "not measured",
                Some((_, true)) => "yes",
                Some((_, false)) => "**no**",
            };
            let _ = writeln!(
                table,
                "| {} | {} | {} | {} | {} | {met} |",
                goal.what,
                number(value),
                number(goal.bound.other().and_then(of)),
                judged.map_or_else(|| "–".to_owned(), |(ratio, _)| format!("{ratio:.4}")),
                goal.bound.words(),
            );
        }
        table.push_str(WHY);
        table
    }

    fn table(&self, program: &Program) -> String {
        let mut table = format!(
            "\n## {}\n\n| Way | Median ms | p99 | To the bare process |\n|---|---:|---:|---:|\n",
            program.name
        );
        let ways: Vec<(&str, Summary)> = self
            .series
            .iter()
            .filter(|series| series.program.name == program.name)
            .filter_map(|series| Some((series.way, Summary::of(&series.runs)?)))
            .collect();
        let bare = ways.first().map_or(f64::NAN, |(_, bare)| bare.median_ms);
        for (way, summary) in &ways {
            let _ = writeln!(
                table,
                "| {way} | {:.2} | {:.2} | {:.2} |",
                summary.median_ms,
                summary.p99_ms,
                summary.median_ms / bare
            );
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_page_judges_what_was_measured_and_says_what_was_not() {
        let series = |way, times: [u64; 3]| Series {
            program: &PROGRAMS[0],
            way,
            runs: times.map(Duration::from_millis).to_vec(),
        };
        let steps = Steps::parse("record;dur=0.25", Duration::from_millis(1));
        let report = SandboxReport {
            options: SandboxOptions {
                run: RunOptions {
                    runs: 3,
                    idle_ms: 120,
                    seed: 7,
                },
                extent: Extent::Quick,
            },
            host: Host {
                date: "2026-01-02 03:04 UTC".into(),
                commit: "abc".into(),
                kernel: "6.1".into(),
                cpu: "a CPU".into(),
                cores: 2,
            },
            file_system: "ext4",
            series: vec![
                series("bare process", [2, 1, 3]),
                series("bubblewrap", [4, 4, 6]),
            ],
            measured: BTreeMap::from([
                (Measure::NewSessionTrue, 1.0),
                (Measure::BubblewrapTrue, 4.0),
                (Measure::SessionRate, 300.0),
            ]),
            breakdown: BTreeMap::from([(("`true`", "casemate, new session"), vec![steps])]),
            hop: Some((0.1, 0.2)),
            crowd: Crowd::default(),
            rates: Rates {
                burst: Some(300.0),
                peer: Some((150.0, 140.0)),
                ..Rates::default()
            },
            states: States::default(),
            deaths: Deaths {
                violation: vec![Duration::from_millis(4)],
                kill: Vec::new(),
            },
            at_once: 100,
            cold: 2,
            absent: vec![Absent {
                way: "srt",
                why: "it is not installed",
            }],
            on_busy_machine: 0,
        };
        let content = report.page().content;
        for line in [
            "--seed 7 --quick`",
            "| New session and `true`, ms | 1.00 | 4.00 | 0.2500 | ≤ 0.5 × bubblewrap | yes |",
            "| New sessions with `true`, 100 at once, each second | 300.00 | – | 0.7500 | ≥ 400 | **no** |",
            "| Warm call with numpy and pandas, ms | – | – | – | ≤ 0.01 × the bare cold process | not measured |",
            "| bubblewrap | 4.00 | 6.00 | 2.00 |",
            "| the decision on disk | 0.250 |",
            "| bubblewrap: `true`, 2 at a time | 150.0 |",
            "| copy: a new sandbox, read, in it | – | – |",
            "| a violation, until the last process of its session is dead | 4.00 | 4.00 |",
            "2 sandboxes were made while a call waited for them.",
            "srt was not measured: it is not installed.",
        ] {
            assert!(content.contains(line), "{line} is missing from\n{content}");
        }
    }
}
