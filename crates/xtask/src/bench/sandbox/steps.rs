//! Where the time of a call goes, as the gateway says in `Server-Timing`.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

/// What happens until the gateway notes each step, in the order in which they come.
const STEPS: [(&str, &str); 10] = [
    ("begin", "to a thread that may block"),
    ("line", "who calls; its turn"),
    (
        "session",
        "its session: opened, or found, and its use noted",
    ),
    (
        "place",
        "its place in the session, made before, and measured",
    ),
    ("decide", "the decision"),
    ("record", "the decision on disk"),
    ("output", "to its first output"),
    ("end", "to its end"),
    ("outcome", "the outcome on disk"),
    ("answer", "the answer put together"),
];

/// One call.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Steps {
    /// Milliseconds of each step.
    of: BTreeMap<String, f64>,
    /// What is left: between client and gateway.
    rest_ms: f64,
}

impl Steps {
    pub(super) fn parse(header: &str, elapsed: Duration) -> Self {
        let mut of = BTreeMap::new();
        for part in header.split(", ") {
            if let Some((step, ms)) = part.split_once(";dur=")
                && let Ok(ms) = ms.parse::<f64>()
            {
                *of.entry(step.to_owned()).or_default() += ms;
            }
        }
        let known: f64 = of.values().sum();
        Self {
            of,
            rest_ms: elapsed.as_secs_f64() * 1_000.0 - known,
        }
    }
}

/// The medians of each step, a column for each kind of call.
pub(super) fn table(kinds: &[(String, Vec<Steps>)]) -> String {
    let mut table = String::from(
        "\n## Where the time goes\n\nMedians of each step in milliseconds.\n\n| Step |",
    );
    for (kind, _) in kinds {
        let _ = write!(table, " {kind} |");
    }
    table.push_str("\n|---|");
    table.push_str(&"---:|".repeat(kinds.len()));
    table.push('\n');
    for (step, meaning) in STEPS {
        row(&mut table, meaning, kinds, |steps| {
            steps.of.get(step).copied()
        });
    }
    row(
        &mut table,
        "between client and gateway, both ways",
        kinds,
        |steps| Some(steps.rest_ms),
    );
    table
}

fn row(
    table: &mut String,
    meaning: &str,
    kinds: &[(String, Vec<Steps>)],
    value: impl Fn(&Steps) -> Option<f64>,
) {
    let _ = write!(table, "| {meaning} |");
    for (_, calls) in kinds {
        let shown = median(calls.iter().filter_map(&value))
            .map_or_else(|| "–".to_owned(), |ms| format!("{ms:.3}"));
        let _ = write!(table, " {shown} |");
    }
    table.push('\n');
}

/// The middle one.
pub(super) fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_and_the_rest_make_up_the_whole() {
        let steps = Steps::parse("line;dur=0.500, end;dur=1.000", Duration::from_millis(2));
        assert!((steps.rest_ms - 0.5).abs() < 1e-9);
        let table = table(&[("warm".to_owned(), vec![steps])]);
        assert!(table.contains("| who calls; its turn | 0.500 |"), "{table}");
        assert!(table.contains("| the decision | – |"), "{table}");
        assert!(table.contains("both ways | 0.500 |"), "{table}");
    }

    #[test]
    fn the_median_is_one_of_them() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), Some(2.0));
        assert_eq!(median(std::iter::empty()), None);
    }
}
