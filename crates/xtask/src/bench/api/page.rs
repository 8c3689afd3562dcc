//! The page of `cargo xtask bench api`.

use std::fmt::Write as _;

use super::{
    super::{host::Host, report::PEER, sample::Summary},
    Sizes,
    back::Back,
    calls::{IN_FLIGHT, Rates, Warm, p50},
    crowd::Crowd,
};
use crate::Page;

/// Everything that the page says.
#[derive(Debug)]
pub(super) struct ApiReport {
    pub(super) host: Host,
    pub(super) file_system: &'static str,
    pub(super) sizes: Sizes,
    pub(super) first: Option<Summary>,
    pub(super) again: Option<Summary>,
    pub(super) warm: Warm,
    pub(super) rates: Rates,
    pub(super) crowd: Crowd,
    pub(super) back: Back,
}

/// A goal of issue 8, and how it stands.
struct Goal {
    what: &'static str,
    goal: String,
    value: Option<f64>,
    met: Option<bool>,
}

impl Goal {
    fn most(what: &'static str, most: f64, value: Option<f64>) -> Self {
        Self {
            what,
            goal: format!("≤ {most}"),
            value,
            met: value.map(|value| value <= most),
        }
    }
}

impl ApiReport {
    pub(super) fn page(&self) -> Page {
        let mut content = self.heading();
        content.push_str("\n## Goals\n\n| What | Goal | Measured | Met |\n|---|---:|---:|---|\n");
        for goal in self.goals() {
            let value = goal
                .value
                .map_or_else(|| "–".to_owned(), |value| format!("{value:.2}"));
            let met = match goal.met {
                Some(true) => "yes",
                Some(false) => "**no**",
                None => "–",
            };
            let _ = writeln!(
                content,
                "| {} | {} | {value} | {met} |",
                goal.what, goal.goal
            );
        }
        content.push_str(&self.tables());
        Page {
            path: "docs/benchmarks/api.md".to_owned(),
            content,
        }
    }

    fn goals(&self) -> Vec<Goal> {
        let median = |of: Option<Summary>| of.map(|of| of.median_ms);
        let crowd = &self.crowd;
        let before = p50(&crowd.before);
        let slowest = self.back.iter().flat_map(|(_, times)| times).max();
        let peer = self.rates.best_peer();
        let times = peer.map(|peer| self.rates.governed / peer);
        vec![
            Goal::most(
                "HTTP on top of a warm Python call, p50 ms",
                1.0,
                Some(p50(&self.warm.added)),
            ),
            Goal {
                what: "Governed `true` calls a second, to bubblewrap's",
                goal: "≥ 2".to_owned(),
                value: times,
                met: times.map(|times| times >= 2.0),
            },
            Goal::most(
                "`casemate up` to ready, new state directory, p50 ms",
                500.0,
                median(self.first),
            ),
            Goal::most(
                "The same, used state directory, p50 ms",
                500.0,
                median(self.again),
            ),
            Goal::most(
                "Back after any `kill -9`, the slowest, ms",
                2_000.0,
                slowest.map(|slowest| slowest.as_secs_f64() * 1_000.0),
            ),
            Goal::most(
                "Gateway memory of an idle thread, KiB",
                64.0,
                Some(crowd.of_thread / 1024.0),
            ),
            Goal::most(
                "Gateway memory of an attached stream, KiB",
                64.0,
                Some(crowd.of_stream / 1024.0),
            ),
            Goal::most(
                "Warm call with idle threads, to the same before",
                1.2,
                Some(p50(&crowd.with_threads) / before),
            ),
            Goal::most(
                "Warm call with attached streams too, to the same before",
                1.2,
                Some(p50(&crowd.with_streams) / before),
            ),
        ]
    }

    fn heading(&self) -> String {
        let (host, sizes) = (&self.host, &self.sizes);
        format!(
            "# What the interface costs\n\n\
             Measured by `cargo xtask bench api` on {}, at commit {},\non {} cores of {}, Linux {}; the state directory is on {}.\n\n\
             `casemate up` with its built-in profile, asked over TCP with an API key, the connection kept. The life of a call alone is what the gateway's own clock\n\
             says of it (`Server-Timing`), of the same calls: from the request that was understood to the answer that is made. There are {} idle threads and {} attached\n\
             streams here (the goals of issue 8 speak of 10 000 and 1 000); memory is the gateway's resident memory, of each. What sandboxes of idle threads take is on\n\
             the page of `cargo xtask bench sandbox`.\n",
            host.date,
            host.commit,
            host.cores,
            host.cpu,
            host.kernel,
            self.file_system,
            sizes.threads,
            sizes.streams,
        )
    }

    fn tables(&self) -> String {
        let mut text = String::from(
            "\n## A warm Python call\n\n| Way | Median ms | p10 | p90 | p99 |\n|---|---:|---:|---:|---:|\n",
        );
        for (way, times) in [
            ("over TCP with an API key", &self.warm.over_network),
            ("over the Unix socket", &self.warm.over_socket),
            ("its life alone", &self.warm.alone),
            ("what HTTP over TCP added", &self.warm.added),
            ("in a crowd: before", &self.crowd.before),
            ("in a crowd: with idle threads", &self.crowd.with_threads),
            (
                "in a crowd: with attached streams too",
                &self.crowd.with_streams,
            ),
        ] {
            if let Some(summary) = Summary::of(times) {
                row(&mut text, way, summary);
            }
        }
        text.push_str("\n## From start to ready, and back\n\n| What | Median ms | p10 | p90 | p99 |\n|---|---:|---:|---:|---:|\n");
        for (what, summary) in [
            ("start, new state directory", self.first),
            ("start, used state directory", self.again),
        ] {
            if let Some(summary) = summary {
                row(&mut text, what, summary);
            }
        }
        for (name, times) in &self.back {
            if let Some(summary) = Summary::of(times) {
                row(
                    &mut text,
                    &format!("from the death of the {name} to the next call that ran"),
                    summary,
                );
            }
        }
        text.push_str("\n## Rates\n\n| What | Each second |\n|---|---:|\n");
        let _ = writeln!(
            text,
            "| casemate: `true`, {IN_FLIGHT} in flight, each in its session | {:.1} |",
            self.rates.governed
        );
        if let Some((few, many)) = self.rates.peer {
            let _ = writeln!(text, "| {PEER}: `true`, 2 at a time | {few:.1} |");
            let _ = writeln!(text, "| {PEER}: `true`, {IN_FLIGHT} at once | {many:.1} |");
        } else {
            let _ = writeln!(text, "| {PEER} is not installed | – |");
        }
        text
    }
}

fn row(text: &mut String, what: &str, of: Summary) {
    let _ = writeln!(
        text,
        "| {what} | {:.2} | {:.2} | {:.2} | {:.2} |",
        of.median_ms, of.p10_ms, of.p90_ms, of.p99_ms
    );
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn goals_that_are_missed_are_said_to_be() {
        let ms = |ms| vec![Duration::from_millis(ms); 3];
        let report = ApiReport {
            host: Host {
                date: "2026-01-02 03:04 UTC".into(),
                commit: "abc".into(),
                kernel: "6.1".into(),
                cpu: "a CPU".into(),
                cores: 2,
            },
            file_system: "ext4",
            sizes: Sizes::QUICK,
            first: Summary::of(&ms(400)),
            again: Summary::of(&ms(600)),
            warm: Warm {
                added: ms(2),
                ..Warm::default()
            },
            rates: Rates {
                governed: 500.0,
                peer: Some((200.0, 250.0)),
            },
            crowd: Crowd {
                of_thread: 65_536.0,
                of_stream: 65_537.0,
                before: ms(10),
                with_threads: ms(12),
                with_streams: ms(13),
            },
            back: vec![("keeper", ms(100)), ("gateway", ms(2_001))],
        };
        let met: Vec<_> = report
            .goals()
            .iter()
            .map(|goal| goal.met.unwrap())
            .collect();
        assert_eq!(
            met,
            [false, true, true, false, false, true, false, true, false]
        );
        let page = report.page().content;
        assert!(page.contains("| ≤ 500 | 600.00 | **no** |"), "{page}");
        assert!(page.contains("death of the gateway"), "{page}");
    }
}
