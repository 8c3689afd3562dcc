//! Death: of anything below our own gateway and keeper, and of these.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use fastrand::Rng;
use rustix::process::Signal;

use super::world::{Victim, World};
use crate::served::{Gateway, Process, descendants, signal};

/// Between two deaths in sandboxes, in milliseconds.
const PAUSE_MS: std::ops::Range<u64> = 1_500..6_000;
/// Between two deaths of gateway or keeper.
const LONG_PAUSE_MS: std::ops::Range<u64> = 8_000..25_000;

pub(super) struct Chaos {
    random: Rng,
    gateway: Gateway,
    world: Arc<World>,
    next: Instant,
    next_great: Instant,
    killed: BTreeMap<String, u64>,
}

impl Chaos {
    pub(super) fn new(random: Rng, gateway: Gateway, world: Arc<World>) -> Self {
        let now = Instant::now();
        Self {
            random,
            gateway,
            world,
            next: now + Duration::from_millis(PAUSE_MS.end),
            next_great: now + Duration::from_millis(LONG_PAUSE_MS.start),
            killed: BTreeMap::new(),
        }
    }

    pub(super) const fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    pub(super) fn into_gateway(self) -> Gateway {
        self.gateway
    }

    /// Kills what is due; gateway and keeper only if they may die.
    pub(super) fn strike(&mut self, may_be_great: bool) -> Result<()> {
        if self.gateway.has_ended()? {
            self.world.fault("the gateway ended by itself".to_owned());
            self.world.death(Victim::Gateway);
            self.gateway.restart()?;
            self.world.death(Victim::Gateway);
        }
        let now = Instant::now();
        if may_be_great && now >= self.next_great {
            self.next_great = now + Duration::from_millis(self.random.u64(LONG_PAUSE_MS));
            match self.random.u32(0..3) {
                0 => self.kill_keeper()?,
                1 => self.kill_gateway()?,
                _ => {
                    self.kill_keeper()?;
                    self.kill_gateway()?;
                }
            }
        } else if now >= self.next {
            self.next = now + Duration::from_millis(self.random.u64(PAUSE_MS));
            self.kill_one();
        }
        Ok(())
    }

    fn kill_gateway(&mut self) -> Result<()> {
        self.world.death(Victim::Gateway);
        self.gateway.kill()?;
        self.count("gateway");
        thread::sleep(Duration::from_millis(self.random.u64(0..300)));
        self.gateway.restart()?;
        self.world.death(Victim::Gateway);
        Ok(())
    }

    fn kill_keeper(&mut self) -> Result<()> {
        let keepers = self.gateway.keepers();
        if keepers.len() > 1 {
            self.world
                .fault(format!("there are {} keepers", keepers.len()));
        }
        for keeper in keepers {
            self.world.death(Victim::Keeper);
            // It may have ended just now.
            if signal(keeper, Signal::KILL).is_ok() {
                self.count("keeper");
            }
            self.world.death(Victim::Keeper);
        }
        Ok(())
    }

    /// Kills one of the processes below the keeper.
    fn kill_one(&mut self) {
        let Some(keeper) = self.gateway.keepers().first().copied() else {
            return;
        };
        let below = descendants(keeper);
        if below.is_empty() {
            return;
        }
        // Each kind is as likely as any other, however many there are of it.
        let mut kinds: BTreeMap<String, Vec<&Process>> = BTreeMap::new();
        for process in below.iter().filter(|process| !process.has_ended()) {
            let kind = kind(process, keeper, &below);
            kinds.entry(kind).or_default().push(process);
        }
        let chosen = self
            .random
            .choice(kinds.keys().cloned().collect::<Vec<_>>());
        let Some(chosen) = chosen else { return };
        let of_kind = kinds.remove(&chosen).unwrap_or_default();
        let Some(process) = self.random.choice(of_kind) else {
            return;
        };
        let victim = if process.parent == keeper {
            Victim::Nursery
        } else {
            Victim::InSandbox
        };
        self.world.death(victim);
        // It may have ended just now; then its pid is not another's yet.
        if signal(process.pid, Signal::KILL).is_ok() {
            self.count(&chosen);
        }
        self.world.death(victim);
    }

    fn count(&mut self, what: &str) {
        *self.killed.entry(what.to_owned()).or_default() += 1;
    }

    pub(super) fn summary(&self) -> String {
        let mut text = "killed:".to_owned();
        for (what, count) in &self.killed {
            let _ = write!(text, " {what} {count},");
        }
        text
    }
}

/// How far below the keeper a process is, and what it is.
fn kind(process: &Process, keeper: i32, below: &[Process]) -> String {
    let (mut depth, mut parent) = (1, process.parent);
    while parent != keeper && depth < 8 {
        let Some(found) = below.iter().find(|other| other.pid == parent) else {
            break;
        };
        parent = found.parent;
        depth += 1;
    }
    let line = process.command_line();
    let python = line.contains("python");
    match depth {
        1 => "nursery".to_owned(),
        2 if python => "template".to_owned(),
        2 => "guest".to_owned(),
        3 if python => "zygote".to_owned(),
        3 => "place".to_owned(),
        _ => "program".to_owned(),
    }
}
