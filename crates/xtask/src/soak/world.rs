//! What the actors know together, and what was found.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt::Write as _,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::served::{Gateway, Profile, Tools};

const fn profile(route: &'static str, session: &'static str) -> Profile {
    Profile {
        route,
        session,
        image: "host",
        tools: Tools::Both,
        pool: (1, 4),
        session_idle_ms: 60_000,
        limits: "",
        of_session: "calls = 16",
    }
}

/// A route for each mode, one with the image, one with little room, and one whose sessions do not live long.
pub(super) const PROFILES: [Profile; 6] = [
    profile("thread", "thread"),
    profile("context", "context"),
    profile("call", "call"),
    Profile {
        image: "python-data",
        ..profile("data", "thread")
    },
    Profile {
        limits: SMALL_LIMITS,
        of_session: "calls = 1\nqueued = 2\noutput_bytes = 4_194_304",
        ..profile("small", "thread")
    },
    Profile {
        session_idle_ms: 1_500,
        tools: Tools::Shell,
        ..profile("short", "thread")
    },
];

const SMALL_LIMITS: &str = "max_memory_bytes = 134_217_728\nmax_processes = 24\nmax_disk_bytes = 1_048_576\n\
                            max_disk_files = 64\nmax_file_bytes = 524_288";

/// The most faults that are told.
const MAX_FAULTS: usize = 60;
/// Older deaths are felt by nobody.
const MAX_RECENT: usize = 64;
/// The most ids of each kind that are remembered.
const MAX_REMEMBERED: usize = 64;
/// The most of them that are alike.
const MAX_ALIKE: u64 = 3;

/// Whom a death hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Victim {
    Gateway,
    Keeper,
    Nursery,
    InSandbox,
}

impl Victim {
    /// For how long after a death its consequences may be felt: interpreters have to be started again.
    const fn aftermath(self) -> Duration {
        match self {
            Self::Gateway | Self::Keeper | Self::Nursery => Duration::from_secs(4),
            Self::InSandbox => Duration::from_millis(1_000),
        }
    }
}

/// A session that an actor opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) agent: String,
    pub(super) session: String,
    pub(super) route: String,
}

#[derive(Debug)]
pub(super) struct World {
    socket: PathBuf,
    shared: Mutex<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Deaths, and when.
    deaths: Vec<(Victim, Instant)>,
    sessions: Vec<Known>,
    /// The newest sessions that an actor destroyed, whoever else was using them.
    destroyed: VecDeque<String>,
    outcomes: BTreeMap<(&'static str, String), u64>,
    faults: Vec<String>,
    alike: BTreeMap<String, u64>,
}

impl World {
    pub(super) fn new(gateway: &Gateway) -> Self {
        Self {
            socket: gateway.socket(),
            shared: Mutex::default(),
        }
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    /// Notes a death: before the kill, and again when what follows it is over.
    pub(super) fn death(&self, victim: Victim) {
        self.shared().deaths.push((victim, Instant::now()));
    }

    /// Who died so that something that began at `since` may have felt it.
    pub(super) fn deaths(&self, since: Instant) -> Vec<Victim> {
        let shared = self.shared();
        let deaths = shared.deaths.iter().rev().take(MAX_RECENT);
        let recent = deaths.filter(|(victim, at)| *at + victim.aftermath() >= since);
        recent.map(|(victim, _)| *victim).collect()
    }

    /// Notes that a session is about to be destroyed.
    pub(super) fn destroys(&self, session: String) {
        let destroyed = &mut self.shared().destroyed;
        destroyed.push_back(session);
        if destroyed.len() > MAX_RECENT {
            destroyed.pop_front();
        }
    }

    /// Whether what happened to a session that is named in `text` may be because an actor destroyed it.
    pub(super) fn was_destroyed(&self, text: &str) -> bool {
        let shared = self.shared();
        shared
            .destroyed
            .iter()
            .any(|session| text.contains(session.as_str()))
    }

    /// Whether anybody has ever died who takes sessions along: a thread is told at its next call, however late that is.
    pub(super) fn took_sessions(&self) -> bool {
        !self.shared().deaths.is_empty()
    }

    /// Remembers a session, so that others can misuse it. That of a single call is remembered by nobody else.
    pub(super) fn know(&self, known: Known, chance: usize) {
        if known.route == "call" {
            return;
        }
        let sessions = &mut self.shared().sessions;
        if sessions.contains(&known) {
            return;
        }
        if sessions.len() < MAX_REMEMBERED {
            sessions.push(known);
        } else if let Some(slot) = sessions.get_mut(chance % MAX_REMEMBERED) {
            *slot = known;
        }
    }

    /// One of the remembered sessions, alive or not.
    pub(super) fn any_session(&self, chance: usize) -> Option<Known> {
        let shared = self.shared();
        let count = shared.sessions.len().max(1);
        shared.sessions.get(chance % count).cloned()
    }

    /// Counts how something ended.
    pub(super) fn count(&self, deed: &'static str, how: impl Into<String>) {
        *self
            .shared()
            .outcomes
            .entry((deed, how.into()))
            .or_default() += 1;
    }

    /// Notes something that must not be.
    pub(super) fn fault(&self, fault: String) {
        let mut shared = self.shared();
        let alike = shared.alike.entry(gist(&fault)).or_default();
        *alike += 1;
        if *alike <= MAX_ALIKE && shared.faults.len() < MAX_FAULTS {
            println!("fault: {fault}");
            shared.faults.push(fault);
        }
    }

    pub(super) fn faults(&self) -> Vec<String> {
        self.shared().faults.clone()
    }

    /// How everything ended so far.
    pub(super) fn summary(&self) -> String {
        let shared = self.shared();
        let mut text = format!("-- {} faults", shared.faults.len());
        let mut last = "";
        for ((deed, how), count) in &shared.outcomes {
            if *deed != last {
                let _ = write!(text, "\n{deed:>18}:");
                last = deed;
            }
            let _ = write!(text, " {how} {count},");
        }
        for (gist, count) in &shared.alike {
            let _ = write!(text, "\n{count} × {gist}");
        }
        text
    }
}

/// What a message says, without its names and numbers.
pub(super) fn gist(message: &str) -> String {
    const MAX_GIST: usize = 160;
    let message = message.split(" (").next().unwrap_or(message);
    let words = message.split_whitespace().map(|word| {
        if word.chars().any(|letter| letter.is_ascii_digit()) {
            "…"
        } else {
            word
        }
    });
    let words: Vec<_> = words.collect();
    words.join(" ").chars().take(MAX_GIST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alike_is_what_differs_in_names_only() {
        assert_eq!(gist("no session ses_01 there"), "no session … there");
        assert_eq!(gist("a b2 c"), gist("a b3 c"));
    }
}
