//! The page of `cargo xtask bench run`.

use std::{fmt::Write as _, time::Duration};

use super::{
    RunOptions,
    contender::{PROGRAMS, Program},
    host::Host,
    sample::Summary,
};
use crate::Page;

/// The way that the others are compared with.
pub(super) const PEER: &str = "bubblewrap";

/// The counted runs of one program in one way.
#[derive(Debug)]
pub(super) struct Series {
    pub(super) program: &'static Program,
    pub(super) way: &'static str,
    pub(super) runs: Vec<Duration>,
}

impl Series {
    pub(super) const fn new(program: &'static Program, way: &'static str) -> Self {
        Self {
            program,
            way,
            runs: Vec::new(),
        }
    }
}

/// A way that was not measured.
#[derive(Debug)]
pub(super) struct Absent {
    pub(super) way: &'static str,
    pub(super) why: &'static str,
}

/// Everything that the page says.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) options: RunOptions,
    pub(super) host: Host,
    pub(super) file_system: &'static str,
    pub(super) series: Vec<Series>,
    pub(super) absent: Vec<Absent>,
    /// Runs that began on a machine that would not become idle.
    pub(super) on_busy_machine: usize,
}

impl Report {
    /// One page for runs after idle time, another for the tight loop.
    pub(super) fn page(&self) -> Page {
        let path = if self.options.idle_ms == 0 {
            "docs/benchmarks/run-tight.md"
        } else {
            "docs/benchmarks/run.md"
        };
        let mut content = self.heading();
        for program in &PROGRAMS {
            content.push_str(&self.table(program));
        }
        content.push_str(
            "\nbubblewrap: every namespace, the same parts of the host read-only, no seccomp filter, no limits, no record.\n\
             crun: a minimal bundle with the same parts of the host, in a cgroup of its own, no seccomp filter, no record.\n",
        );
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
            path: path.to_owned(),
            content,
        }
    }

    fn heading(&self) -> String {
        let RunOptions {
            runs,
            idle_ms,
            seed,
        } = self.options;
        let host = &self.host;
        let (title, before) = if idle_ms == 0 {
            (
                "What a run costs, in a tight loop",
                "without a pause".to_owned(),
            )
        } else {
            (
                "What a run costs",
                format!("each after the machine was at least 90 % idle for {idle_ms} ms"),
            )
        };
        format!(
            "# {title}\n\n\
             Measured by `cargo xtask bench run --runs {runs} --idle-ms {idle_ms} --seed {seed}`\n\
             on {}, at commit {},\non {} cores of {}, Linux {}.\n\n\
             Wall time from the start of a process to its end with its streams read. {runs} runs of each program in\n\
             each way, in one series, in random order, {before};\n\
             one more run of each came first and does not count.\n\
             Casemate's time includes the decision, its record and the outcome's record, on {}.\n",
            host.date, host.commit, host.cores, host.cpu, host.kernel, self.file_system,
        )
    }

    /// The ways of one program, with their ratio to the peer.
    fn table(&self, program: &Program) -> String {
        let mut table = format!(
            "\n## {}\n\n| Way | Median ms | p10 | p90 | To {PEER} |\n|---|---:|---:|---:|---:|\n",
            program.name
        );
        let ways: Vec<(&str, Summary)> = self
            .series
            .iter()
            .filter(|series| series.program.name == program.name)
            .filter_map(|series| Some((series.way, Summary::of(&series.runs)?)))
            .collect();
        let peer = ways.iter().find(|(way, _)| *way == PEER);
        for (way, summary) in &ways {
            let ratio = peer.map_or_else(
                || "–".to_owned(),
                |(_, peer)| format!("{:.2}", summary.median_ms / peer.median_ms),
            );
            let _ = writeln!(
                table,
                "| {way} | {:.2} | {:.2} | {:.2} | {ratio} |",
                summary.median_ms, summary.p10_ms, summary.p90_ms
            );
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_ratios_and_says_what_is_missing() {
        let series = |way, times: [u64; 3]| Series {
            program: &PROGRAMS[0],
            way,
            runs: times.map(Duration::from_millis).to_vec(),
        };
        let mut report = Report {
            options: RunOptions {
                runs: 3,
                idle_ms: 120,
                seed: 7,
            },
            host: Host {
                date: "2026-01-02 03:04 UTC".into(),
                commit: "abc".into(),
                kernel: "6.1".into(),
                cpu: "a CPU".into(),
                cores: 2,
            },
            file_system: "ext4",
            series: vec![series(PEER, [5, 4, 6]), series("casemate run", [8, 7, 9])],
            absent: vec![Absent {
                way: "crun",
                why: "it is not installed",
            }],
            on_busy_machine: 1,
        };
        let page = report.page();
        assert_eq!(page.path, "docs/benchmarks/run.md");
        for line in [
            "| bubblewrap | 5.00 | 4.00 | 6.00 | 1.00 |",
            "| casemate run | 8.00 | 7.00 | 9.00 | 1.60 |",
            "crun was not measured: it is not installed.",
            "1 of 6 runs began on a machine that would not become idle.",
        ] {
            assert!(
                page.content.contains(line),
                "{line} is missing from\n{}",
                page.content
            );
        }
        report.series.remove(0);
        assert!(
            report
                .page()
                .content
                .contains("| casemate run | 8.00 | 7.00 | 9.00 | – |")
        );
    }
}
