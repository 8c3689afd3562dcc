//! The line as a tree of counters: host, tenants, agents, sessions, lanes.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use super::{Bounds, Full, Line, Whose};

/// Below the host.
const DEPTHS: [Whose; 4] = [Whose::Tenant, Whose::Agent, Whose::Session, Whose::Lane];

/// Every call that runs or waits.
#[derive(Debug)]
pub(super) struct Tree {
    host: Node,
}

/// What became of a call that lined up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entered {
    /// It may run.
    Running,
    /// It waits.
    Waiting,
}

#[derive(Debug)]
struct Node {
    bounds: Bounds,
    running: u64,
    waiting: u64,
    below: HashMap<Arc<str>, Node>,
    /// Those below in which somebody waits: who stands in front is asked first, and stays in front until it
    /// has had its turn.
    round: VecDeque<Arc<str>>,
    /// Those who wait in a lane.
    queue: VecDeque<u64>,
}

type Step<'l> = (&'l Arc<str>, Bounds);

impl Tree {
    pub(super) fn new(host: Bounds) -> Self {
        Self {
            host: Node::new(host),
        }
    }

    /// Lines a call up, or lets it run at once if nothing stands in its way.
    pub(super) fn enter(&mut self, line: &Line, ticket: u64) -> Result<Entered, Full> {
        let path = path(line);
        if self.host.is_free(&path) {
            self.host.start(&path);
            return Ok(Entered::Running);
        }
        if let Err(full) = self.host.has_room(&path, Whose::Host, &DEPTHS) {
            self.host.prune(&path);
            return Err(full);
        }
        self.host.push(&path, ticket);
        Ok(Entered::Waiting)
    }

    /// Lets the next call run: its ticket.
    pub(super) fn next(&mut self) -> Option<u64> {
        self.host.next()
    }

    /// Takes a call out: from its queue, or from those that run.
    pub(super) fn leave(&mut self, line: &Line, ticket: u64) {
        let path = path(line);
        if !self.host.withdraw(&path, ticket) {
            self.host.end(&path);
        }
        self.host.prune(&path);
    }

    /// How many run, and how many wait.
    pub(super) const fn load(&self) -> (u64, u64) {
        (self.host.running, self.host.waiting)
    }
}

fn path(line: &Line) -> [Step<'_>; 4] {
    [
        (&line.tenant.0, line.tenant.1),
        (&line.agent.0, line.agent.1),
        (&line.session.0, line.session.1),
        (&line.lane.0, line.lane.1),
    ]
}

impl Node {
    fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            running: 0,
            waiting: 0,
            below: HashMap::new(),
            round: VecDeque::new(),
            queue: VecDeque::new(),
        }
    }

    /// The node below, with the bounds that its newest call brought.
    fn child(&mut self, (name, bounds): Step<'_>) -> &mut Self {
        let child = self
            .below
            .entry(Arc::clone(name))
            .or_insert_with(|| Self::new(bounds));
        child.bounds = bounds;
        child
    }

    /// Whether a call can run at once. Nobody in its lane waits then: the front of the lane would run.
    fn is_free(&mut self, path: &[Step<'_>]) -> bool {
        if self.running >= self.bounds.calls {
            return false;
        }
        match path.split_first() {
            Some((step, rest)) => self.child(*step).is_free(rest),
            None => self.queue.is_empty(),
        }
    }

    fn has_room(&mut self, path: &[Step<'_>], whose: Whose, deeper: &[Whose]) -> Result<(), Full> {
        if self.waiting >= self.bounds.queued {
            return Err(Full {
                whose,
                limit: self.bounds.queued,
                used: self.waiting,
            });
        }
        match (path.split_first(), deeper.split_first()) {
            (Some((step, rest)), Some((whose, deeper))) => {
                self.child(*step).has_room(rest, *whose, deeper)
            }
            _ => Ok(()),
        }
    }

    fn start(&mut self, path: &[Step<'_>]) {
        self.running += 1;
        if let Some((step, rest)) = path.split_first() {
            self.child(*step).start(rest);
        }
    }

    fn end(&mut self, path: &[Step<'_>]) {
        self.running = self.running.saturating_sub(1);
        if let Some(((name, _), rest)) = path.split_first()
            && let Some(child) = self.below.get_mut(*name)
        {
            child.end(rest);
        }
    }

    fn push(&mut self, path: &[Step<'_>], ticket: u64) {
        self.waiting += 1;
        match path.split_first() {
            None => self.queue.push_back(ticket),
            Some((step, rest)) => {
                let child = self.child(*step);
                let first = child.waiting == 0;
                child.push(rest, ticket);
                if first {
                    self.round.push_back(Arc::clone(step.0));
                }
            }
        }
    }

    /// Lets one call below this node run.
    fn next(&mut self) -> Option<u64> {
        if self.running >= self.bounds.calls || self.waiting == 0 {
            return None;
        }
        let ticket = match self.queue.pop_front() {
            Some(ticket) => ticket,
            None => self.next_below()?,
        };
        self.waiting -= 1;
        self.running += 1;
        Some(ticket)
    }

    fn next_below(&mut self) -> Option<u64> {
        for place in 0..self.round.len() {
            let name = self.round.get(place)?;
            let child = self.below.get_mut(name)?;
            if let Some(ticket) = child.next() {
                let waits_on = child.waiting > 0;
                if let Some(name) = self.round.remove(place)
                    && waits_on
                {
                    self.round.push_back(name);
                }
                return Some(ticket);
            }
        }
        None
    }

    /// Takes a waiting call out; says whether it waited.
    fn withdraw(&mut self, path: &[Step<'_>], ticket: u64) -> bool {
        let waited = match path.split_first() {
            None => {
                let place = self.queue.iter().position(|other| *other == ticket);
                place.is_some_and(|place| self.queue.remove(place).is_some())
            }
            Some(((name, _), rest)) => match self.below.get_mut(*name) {
                None => false,
                Some(child) => {
                    let waited = child.withdraw(rest, ticket);
                    if waited && child.waiting == 0 {
                        self.round.retain(|other| other != *name);
                    }
                    waited
                }
            },
        };
        if waited {
            self.waiting -= 1;
        }
        waited
    }

    /// Forgets the nodes on the way in which nothing runs and nobody waits.
    fn prune(&mut self, path: &[Step<'_>]) {
        if let Some(((name, _), rest)) = path.split_first()
            && let Some(child) = self.below.get_mut(*name)
        {
            child.prune(rest);
            if child.running == 0 && child.waiting == 0 {
                self.below.remove(*name);
            }
        }
    }

    /// How many nodes there are.
    #[cfg(test)]
    pub(super) fn nodes(&self) -> usize {
        1 + self.below.values().map(Self::nodes).sum::<usize>()
    }
}

#[cfg(test)]
impl Tree {
    pub(super) fn nodes(&self) -> usize {
        self.host.nodes()
    }
}
