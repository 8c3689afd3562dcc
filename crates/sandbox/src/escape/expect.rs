//! What must come of one attempt.

use std::borrow::Cow;

use casemate_model::{Artefact, Limits};
use serde::Deserialize;

use super::{Way, drive::Observed, sink::Captured};

/// The most artefacts that a keeper may list: ten thousand, and one entry that names the rest.
const MAX_ARTEFACTS: usize = 10_001;

/// Beside this, all traps must be untouched.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Expect {
    /// How it may end, in the words of [`Observed::ending`].
    ends: Vec<String>,
    /// What its standard output contains.
    stdout: Vec<String>,
    /// What neither of its streams contains.
    lacks: Vec<String>,
    /// Attempts that are listed as denied.
    denied: Vec<Attempted>,
    /// Whether output was dropped.
    truncated: Option<bool>,
    /// Artefacts that are given back, by their paths as they are shown.
    given: Vec<String>,
    /// Artefacts that are listed, but not given back.
    skipped: Vec<String>,
    /// Artefacts that are not even listed.
    absent: Vec<String>,
    /// The most time for all of it, in milliseconds: generous, for slow machines.
    elapsed_ms_max: Option<u128>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Attempted {
    kind: String,
    what: String,
}

impl Default for Expect {
    fn default() -> Self {
        Self {
            ends: vec!["exit 0".into()],
            stdout: Vec::new(),
            lacks: Vec::new(),
            denied: Vec::new(),
            truncated: None,
            given: Vec::new(),
            skipped: Vec::new(),
            absent: Vec::new(),
            elapsed_ms_max: None,
        }
    }
}

impl Expect {
    /// The same run in this `way`: under gVisor nobody hears of calls that are refused, so none is listed.
    pub(super) fn heard_in(&self, way: Way) -> Cow<'_, Self> {
        if way == Way::Gvisor && !self.denied.is_empty() {
            return Cow::Owned(Self {
                denied: Vec::new(),
                ..self.clone()
            });
        }
        Cow::Borrowed(self)
    }

    /// Everything that is not as it must be, and what no attempt may do.
    pub(super) fn disappointments(
        &self,
        limits: &Limits,
        observed: &Observed,
        captured: &Captured,
    ) -> Vec<String> {
        let mut findings = self.of_output(limits, observed);
        findings.extend(self.of_artefacts(captured));
        if !self.ends.contains(&observed.ending) {
            findings.push(format!("it had to end with `{}`", self.ends.join("` or `")));
        }
        for Attempted { kind, what } in &self.denied {
            if !observed
                .denied
                .iter()
                .any(|seen| seen.kind == *kind && seen.what == *what)
            {
                findings.push(format!("the denied {kind} `{what}` is not listed"));
            }
        }
        if self
            .elapsed_ms_max
            .is_some_and(|most| observed.elapsed_ms > most)
        {
            findings.push(format!("it took {} ms", observed.elapsed_ms));
        }
        findings
    }

    fn of_output(&self, limits: &Limits, observed: &Observed) -> Vec<String> {
        let mut findings = Vec::new();
        let [stdout, stderr] = observed
            .streams()
            .map(|(_, bytes)| String::from_utf8_lossy(bytes));
        let missing = self.stdout.iter().filter(|text| !stdout.contains(*text));
        findings.extend(missing.map(|text| format!("stdout does not contain `{text}`")));
        let wrong = self
            .lacks
            .iter()
            .filter(|text| stdout.contains(*text) || stderr.contains(*text));
        findings.extend(wrong.map(|text| format!("its output contains `{text}`")));
        let given = observed.stdout.len() + observed.stderr.len();
        if given as u64 > limits.output_bytes {
            findings.push(format!("{given} bytes of output are more than its limit"));
        }
        if self
            .truncated
            .is_some_and(|truncated| truncated != observed.output_truncated)
        {
            findings.push("whether output was dropped is not told as it is".to_owned());
        }
        findings
    }

    fn of_artefacts(&self, captured: &Captured) -> Vec<String> {
        let mut findings = Vec::new();
        let find = |path: &str| {
            captured
                .list
                .iter()
                .find(|found| found.path.to_string() == path)
        };
        let is_given = |found: &Artefact| found.sha256.is_some() && found.skipped.is_none();
        for path in &self.given {
            if !find(path).is_some_and(is_given) {
                findings.push(format!("`{path}` was not given back"));
            }
        }
        for path in &self.skipped {
            if find(path).is_none_or(is_given) {
                findings.push(format!("`{path}` was not skipped"));
            }
        }
        for path in self.absent.iter().filter(|path| find(path).is_some()) {
            findings.push(format!("`{path}` is listed"));
        }
        for found in captured
            .list
            .iter()
            .filter(|found| !is_below(found.path.as_bytes()))
        {
            findings.push(format!(
                "`{}` is no path below the output directory",
                found.path
            ));
        }
        if captured.list.len() > MAX_ARTEFACTS {
            findings.push(format!("{} artefacts are listed", captured.list.len()));
        }
        findings
    }
}

fn is_below(path: &[u8]) -> bool {
    let plain = |name: &[u8]| !matches!(name, b"" | b"." | b"..") && !name.contains(&0);
    path.split(|byte| *byte == b'/').all(plain)
}

#[cfg(test)]
mod tests {
    use casemate_model::{DeniedAttempt, Digest};

    use super::*;

    fn expect(text: &str) -> Expect {
        toml::from_str(text).unwrap()
    }

    fn observed() -> Observed {
        Observed {
            ending: "exit 0".into(),
            stdout: b"said this".into(),
            stderr: b"and that".into(),
            denied: vec![DeniedAttempt {
                kind: "syscall".into(),
                what: "mount".into(),
                count: 1,
            }],
            output_truncated: false,
            elapsed_ms: 100,
        }
    }

    fn artefact(path: &str, skipped: Option<&str>) -> Artefact {
        Artefact {
            path: path.into(),
            bytes: 0,
            sha256: Some(Digest::of(b"")),
            skipped: skipped.map(str::to_owned),
        }
    }

    fn captured(list: Vec<Artefact>) -> Captured {
        let mut captured = Captured::default();
        captured.list = list;
        captured
    }

    fn findings(expect: &Expect, list: Vec<Artefact>) -> Vec<String> {
        expect.disappointments(&Limits::default(), &observed(), &captured(list))
    }

    #[test]
    fn what_is_as_expected_is_no_finding() {
        let expect = expect(
            "ends = ['timed_out', 'exit 0']
             stdout = ['said']
             lacks = ['secret']
             denied = [{ kind = 'syscall', what = 'mount' }]
             truncated = false
             given = ['a/b']
             skipped = ['link']
             absent = ['other']
             elapsed_ms_max = 100",
        );
        let list = vec![artefact("a/b", None), artefact("link", Some("a link"))];
        assert_eq!(findings(&expect, list), Vec::<String>::new());
    }

    /// Each expectation alone can be disappointed.
    #[test]
    fn what_is_not_as_expected_is_a_finding() {
        for text in [
            "ends = ['exit 1']",
            "ends = []",
            "stdout = ['and that']",
            "lacks = ['and that']",
            "denied = [{ kind = 'network', what = 'mount' }]",
            "denied = [{ kind = 'syscall', what = 'ptrace' }]",
            "truncated = true",
            "given = ['link']",
            "given = ['missing']",
            "skipped = ['a/b']",
            "skipped = ['missing']",
            "absent = ['a/b']",
            "absent = ['link']",
            "elapsed_ms_max = 99",
        ] {
            let list = vec![artefact("a/b", None), artefact("link", Some("a link"))];
            assert_eq!(findings(&expect(text), list).len(), 1, "{text}");
        }
    }

    /// I15: whatever an attempt expects, these never hold.
    #[test]
    fn some_things_no_attempt_may_do() {
        for path in [
            "/etc/passwd",
            "../up",
            "a/../b",
            "a//b",
            "a/",
            ".",
            "a/./b",
            "nul\0",
        ] {
            let list = vec![artefact(path, None)];
            assert_eq!(findings(&Expect::default(), list).len(), 1, "{path}");
        }
        let many = vec![artefact("x", None); MAX_ARTEFACTS + 1];
        assert_eq!(findings(&Expect::default(), many).len(), 1);
        let limits = Limits {
            output_bytes: 16,
            ..Limits::default()
        };
        let nothing = Captured::default();
        assert_eq!(
            Expect::default()
                .disappointments(&limits, &observed(), &nothing)
                .len(),
            1
        );
    }
}
