//! Which bytes of a text belong to a secret, while it is being read.
//!
//! A byte is covered when any spelling that is found has it. That depends on the whole text alone, so that it does not matter in which pieces it
//! comes; nor does it matter which of two overlapping spellings was found first.

use std::ops::Range;

use crate::{Hits, MIN_SECRET_BYTES, automaton::State, scrubber::Scrubber};

/// Positions are counted from the beginning of the text.
pub(crate) struct Cover {
    state: State,
    /// How much was read.
    position: u64,
    /// How much was taken.
    taken: u64,
    /// What is covered of the rest, in order; ranges do not touch.
    covered: Vec<Range<u64>>,
    /// The last byte that was taken is covered.
    within: bool,
}

impl Default for Cover {
    fn default() -> Self {
        Self {
            state: State::ROOT,
            position: 0,
            taken: 0,
            covered: Vec::new(),
            within: false,
        }
    }
}

impl Cover {
    /// How much was read.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// How much was taken.
    pub(crate) fn taken(&self) -> u64 {
        self.taken
    }

    /// Nothing that is left is covered.
    pub(crate) fn is_clean(&self) -> bool {
        self.covered.is_empty()
    }

    /// Reads on.
    pub(crate) fn read(&mut self, scrubber: &Scrubber, bytes: &[u8], hits: &mut Hits) {
        let Scrubber {
            automaton,
            skip,
            shortest,
            ..
        } = scrubber;
        // Where the automaton was at its root; or the beginning of these bytes.
        let (mut at, mut begun) = (0, 0);
        loop {
            if self.state == State::ROOT {
                at = skip.next(bytes, at);
                begun = at;
            }
            let Some(byte) = bytes.get(at) else { break };
            self.state = automaton.step(self.state, *byte);
            at += 1;
            for found in automaton.found(self.state) {
                let end = self.position + at as u64;
                self.cover(end.saturating_sub(found.bytes as u64)..end);
                scrubber.count(found.spelling, hits);
            }
            // Nothing can begin before what the state stands for. Skipping from there reads it again, so there must be less of it than was done with
            // (or reading would take more than linear time), and no spelling in it (or that would be found twice).
            let depth = automaton.depth(self.state);
            if depth < *shortest && depth * 2 <= at - begun {
                at -= depth;
                self.state = State::ROOT;
            }
        }
        self.position += bytes.len() as u64;
    }

    /// Reads what was read and not taken with another scrubber. What is covered stays so; a spelling in it is counted again.
    pub(crate) fn again(&mut self, scrubber: &Scrubber, held: &[u8], hits: &mut Hits) {
        let mut all = std::mem::take(&mut self.covered);
        self.state = State::ROOT;
        self.position = self.taken;
        self.read(scrubber, held, hits);
        all.append(&mut self.covered);
        all.sort_by_key(|range| range.start);
        for range in all {
            match self.covered.last_mut() {
                Some(last) if last.end >= range.start => last.end = last.end.max(range.end),
                _ => self.covered.push(range),
            }
        }
    }

    /// How far it is certain what is covered: the rest may be the beginning of a spelling.
    pub(crate) fn certain(&self, scrubber: &Scrubber) -> u64 {
        let begun = self.begun(scrubber);
        // What is covered stays so.
        match self.covered.last() {
            Some(last) if last.start <= begun => begun.max(last.end),
            _ => begun,
        }
    }

    /// Where the last beginning of a spelling is, as far as it was not taken.
    fn begun(&self, scrubber: &Scrubber) -> u64 {
        let depth = scrubber.automaton.depth(self.state) as u64;
        (self.position - depth).max(self.taken)
    }

    /// Nothing follows. A beginning of a spelling that is long enough to be worth something is covered: it would be a way to take a secret out, all but
    /// its last byte.
    pub(crate) fn end(&mut self, scrubber: &Scrubber, hits: &mut Hits) {
        let begun = self.begun(scrubber);
        let found = (self.covered.last())
            .is_some_and(|last| last.start <= begun && last.end == self.position);
        let depth = scrubber.automaton.depth(self.state);
        if depth >= MIN_SECRET_BYTES && begun < self.position && !found {
            self.cover(begun..self.position);
            hits.count_cut_off();
        }
        self.state = State::ROOT;
    }

    /// Takes everything until `end`, in order: ranges that are clean, and an error for each that is not.
    pub(crate) fn take_until(&mut self, end: u64, mut part: impl FnMut(Result<Range<u64>, ()>)) {
        let mut rest = None;
        for covered in self.covered.drain(..) {
            if covered.start >= end {
                rest.get_or_insert_with(Vec::new).push(covered);
                continue;
            }
            if self.taken < covered.start {
                part(Ok(self.taken..covered.start));
                self.within = false;
            }
            if !self.within {
                part(Err(()));
                self.within = true;
            }
            self.taken = covered.end.min(end);
            if covered.end > end {
                rest.get_or_insert_with(Vec::new).push(end..covered.end);
            }
        }
        self.covered = rest.unwrap_or_default();
        if self.taken < end {
            part(Ok(self.taken..end));
            (self.taken, self.within) = (end, false);
        }
    }

    fn cover(&mut self, mut range: Range<u64>) {
        range.start = range.start.max(self.taken);
        while let Some(last) = self.covered.last()
            && last.end >= range.start
        {
            range.start = range.start.min(last.start);
            self.covered.pop();
        }
        self.covered.push(range);
    }
}
