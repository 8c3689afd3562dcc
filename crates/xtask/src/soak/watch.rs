//! The memory and the descriptors of gateway and keeper over time.

use std::{fmt::Write as _, fs, time::Instant};

use crate::served::{Gateway, resident_bytes};

/// Growth from the first third of the watched time, after which everything is warm, to the last one.
const MOST_GROWTH_BYTES: u64 = 16 << 20;
const MOST_GROWTH_PART: u64 = 10;
/// Fewer samples tell nothing.
const LEAST_SAMPLES: usize = 30;

#[derive(Debug, Default)]
struct Samples {
    pid: i32,
    bytes: Vec<u64>,
    descriptors: Vec<u64>,
}

/// Watches the second half of a soak.
pub(super) struct Watch {
    from: Instant,
    gateway: Samples,
    keeper: Samples,
    restarts: Vec<String>,
}

impl Watch {
    pub(super) fn new(half: Instant, end: Instant) -> Self {
        Self {
            // A third of the half is for warming up.
            from: half + end.duration_since(half) / 4,
            gateway: Samples::default(),
            keeper: Samples::default(),
            restarts: Vec::new(),
        }
    }

    pub(super) fn look(&mut self, gateway: &Gateway) {
        if Instant::now() < self.from {
            return;
        }
        let keepers = gateway.keepers();
        let keeper = keepers.first().copied();
        for (what, samples, pid) in [
            ("gateway", &mut self.gateway, Some(gateway.pid())),
            ("keeper", &mut self.keeper, keeper),
        ] {
            let Some(pid) = pid else { continue };
            if samples.pid != 0 && samples.pid != pid {
                self.restarts
                    .push(format!("the {what} died while nobody killed it"));
                *samples = Samples::default();
            }
            samples.pid = pid;
            if let Ok(bytes) = resident_bytes(pid) {
                samples.bytes.push(bytes);
                let open = fs::read_dir(format!("/proc/{pid}/fd"));
                let open = open.map_or(0, |open| open.count() as u64);
                samples.descriptors.push(open);
            }
        }
    }

    pub(super) fn summary(&self) -> String {
        let mut text = String::from("memory in the second half, first and last third:");
        for (what, samples) in [("gateway", &self.gateway), ("keeper", &self.keeper)] {
            let (before, after) = thirds(&samples.bytes).unwrap_or_default();
            let (open_before, open_after) = thirds(&samples.descriptors).unwrap_or_default();
            let _ = write!(
                text,
                " {what} {:.1} → {:.1} MiB, {open_before} → {open_after} descriptors;",
                before as f64 / 1_048_576.0,
                after as f64 / 1_048_576.0
            );
        }
        text
    }

    pub(super) fn findings(&self) -> Vec<String> {
        let mut findings = self.restarts.clone();
        for (what, samples) in [("gateway", &self.gateway), ("keeper", &self.keeper)] {
            if samples.bytes.len() < LEAST_SAMPLES {
                continue;
            }
            let Some((before, after)) = thirds(&samples.bytes) else {
                continue;
            };
            if after > before + MOST_GROWTH_BYTES + before / MOST_GROWTH_PART {
                findings.push(format!("the {what} grew from {before} to {after} bytes"));
            }
        }
        findings
    }
}

/// The medians of the first and the last third.
fn thirds(samples: &[u64]) -> Option<(u64, u64)> {
    let third = samples.len() / 3;
    let median = |part: &[u64]| {
        let mut part = part.to_vec();
        part.sort_unstable();
        part.get(part.len() / 2).copied()
    };
    let first = samples.get(..third)?;
    let last = samples.get(samples.len() - third..)?;
    Some((median(first)?, median(last)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_from_the_first_third_to_the_last() {
        assert_eq!(thirds(&[1, 2, 3, 9, 9, 9, 5, 6, 7]), Some((2, 6)));
        assert_eq!(thirds(&[1]), None);
        let mut watch = Watch::new(Instant::now(), Instant::now());
        watch.keeper.bytes = (0..90).map(|n| n * (1 << 20)).collect();
        watch.gateway.bytes = vec![1 << 30; 90];
        assert_eq!(watch.findings().len(), 1, "{:?}", watch.findings());
    }
}
