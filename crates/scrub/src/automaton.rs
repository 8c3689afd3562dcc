//! All spellings at once: the automaton of Aho and Corasick.
//!
//! It is ours because of two things that the crate of that name does not give: its tables are erased when they are dropped, and a state says how
//! long the beginning of a spelling is that was read last, which is what has to be held back.

use std::collections::VecDeque;

use zeroize::Zeroizing;

use crate::encoding::Spelling;

/// What was read last, as far as it begins a spelling.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct State(u32);

impl State {
    /// Nothing that was read begins one.
    pub(crate) const ROOT: Self = Self(0);
}

/// A spelling that was found, and its length.
pub(crate) struct Found {
    pub(crate) spelling: usize,
    pub(crate) bytes: usize,
}

pub(crate) struct Automaton {
    nodes: Vec<Node>,
    /// The byte that leads to each node: all that is secret here.
    labels: Zeroizing<Vec<u8>>,
    /// Where each byte leads from the root.
    root: Zeroizing<Vec<u32>>,
}

/// Zero is the root, to which no child and no report leads.
#[derive(Clone, Copy, Default)]
struct Node {
    depth: u32,
    child: u32,
    sibling: u32,
    /// The longest shorter beginning that was read too.
    fail: u32,
    /// The first on the way along `fail`, from the node itself, at which a spelling ends.
    report: u32,
    /// One more than the spelling that ends here.
    ends: u32,
}

impl Automaton {
    /// An automaton of spellings that all differ.
    pub(crate) fn new(spellings: &[Spelling]) -> Self {
        let most = 1 + spellings.iter().map(|bytes| bytes.len()).sum::<usize>();
        let mut labels = Zeroizing::new(Vec::with_capacity(most));
        labels.push(0);
        let mut automaton = Self {
            nodes: vec![Node::default()],
            labels,
            root: Zeroizing::new(vec![0; 256]),
        };
        for (ends, spelling) in (1..).zip(spellings) {
            automaton.insert(spelling, ends);
        }
        automaton.link();
        automaton
    }

    /// The state after `byte`.
    pub(crate) fn step(&self, state: State, byte: u8) -> State {
        let mut node = state.0;
        loop {
            if node == 0 {
                return State(self.under_root(byte));
            }
            if let Some(child) = self.child(node, byte) {
                return State(child);
            }
            node = self.node(node).fail;
        }
    }

    /// How many of the bytes read last begin a spelling.
    pub(crate) fn depth(&self, state: State) -> usize {
        self.node(state.0).depth as usize
    }

    /// The spellings that end here, longest first.
    pub(crate) fn found(&self, state: State) -> impl Iterator<Item = Found> {
        let first = self.node(state.0).report;
        let following = |node: &u32| Some(self.node(self.node(*node).fail).report);
        std::iter::successors(Some(first), following)
            .take_while(|node| *node != 0)
            .map(|node| {
                let Node { ends, depth, .. } = self.node(node);
                Found {
                    spelling: ends as usize - 1,
                    bytes: depth as usize,
                }
            })
    }

    fn insert(&mut self, spelling: &[u8], ends: u32) {
        let mut at = 0;
        for byte in spelling {
            at = match self.child(at, *byte) {
                Some(child) => child,
                None => self.add(at, *byte),
            };
        }
        if let Some(node) = self.nodes.get_mut(at as usize) {
            node.ends = ends;
        }
    }

    fn add(&mut self, parent: u32, byte: u8) -> u32 {
        let new = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
        let Node { depth, child, .. } = self.node(parent);
        self.nodes.push(Node {
            depth: depth + 1,
            sibling: child,
            ..Node::default()
        });
        self.labels.push(byte);
        if let Some(parent) = self.nodes.get_mut(parent as usize) {
            parent.child = new;
        }
        if depth == 0
            && let Some(first) = self.root.get_mut(usize::from(byte))
        {
            *first = new;
        }
        new
    }

    /// Fills in `fail` and `report`, parents before children.
    fn link(&mut self) {
        let mut waiting = VecDeque::from([0]);
        while let Some(parent) = waiting.pop_front() {
            let mut child = self.node(parent).child;
            while child != 0 {
                let Node { sibling, ends, .. } = self.node(child);
                let byte = self.label(child);
                let fail = match parent {
                    0 => 0,
                    _ => self.step(State(self.node(parent).fail), byte).0,
                };
                let report = if ends == 0 {
                    self.node(fail).report
                } else {
                    child
                };
                if let Some(node) = self.nodes.get_mut(child as usize) {
                    (node.fail, node.report) = (fail, report);
                }
                waiting.push_back(child);
                child = sibling;
            }
        }
    }

    fn child(&self, node: u32, byte: u8) -> Option<u32> {
        if node == 0 {
            return Some(self.under_root(byte)).filter(|child| *child != 0);
        }
        let mut child = self.node(node).child;
        while child != 0 {
            if self.label(child) == byte {
                return Some(child);
            }
            child = self.node(child).sibling;
        }
        None
    }

    fn under_root(&self, byte: u8) -> u32 {
        self.root
            .get(usize::from(byte))
            .copied()
            .unwrap_or_default()
    }

    fn node(&self, node: u32) -> Node {
        self.nodes.get(node as usize).copied().unwrap_or_default()
    }

    fn label(&self, node: u32) -> u8 {
        self.labels.get(node as usize).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::{collection::vec, prelude::*};

    use super::*;

    proptest! {
        /// What is found, and how much is a beginning, is what looking at every place finds.
        #[test]
        fn it_finds_what_a_search_of_every_place_finds(
            spellings in vec("[ab]{1,5}", 1..8),
            text in "[abc]{0,40}",
        ) {
            let spellings: Vec<_> = spellings
                .into_iter()
                .collect::<BTreeSet<_>>()
                .into_iter()
                .map(|text| Spelling::new(text.into_bytes()))
                .collect();
            let automaton = Automaton::new(&spellings);
            let mut state = State::ROOT;
            for (at, byte) in text.bytes().enumerate() {
                state = automaton.step(state, byte);
                let read = &text.as_bytes()[..=at];
                let found: Vec<_> = automaton.found(state).map(|found| found.spelling).collect();
                let mut expected: Vec<_> = (0..spellings.len())
                    .filter(|spelling| read.ends_with(&spellings[*spelling]))
                    .collect();
                expected.sort_by_key(|spelling| std::cmp::Reverse(spellings[*spelling].len()));
                prop_assert_eq!(found, expected);
                let begun = (0..=read.len())
                    .rev()
                    .find(|bytes| spellings.iter().any(|spelling| spelling.starts_with(&read[read.len() - bytes..])))
                    .unwrap();
                prop_assert_eq!(automaton.depth(state), begun);
            }
        }
    }
}
