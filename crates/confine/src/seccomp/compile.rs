//! From a table of system calls to a program for the kernel: a binary decision tree over the number.
//!
//! Used by build.rs, which is why nothing else of the crate is used here. A linear list, as libraries
//! make it, costs a quarter of a millisecond to install for 300 calls; docs/adr/0003 has the numbers.

use std::collections::BTreeMap;

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Action {
    /// The kernel does it.
    Allow,
    /// `ENOSYS`.
    Absent,
    /// `EPERM`, and nobody is told.
    Refuse,
    /// The keeper is asked.
    Notify,
}

/// One comparison of an argument.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Comparison {
    /// Which argument, 0 to 5.
    pub(crate) argument: u8,
    /// Bits of its lower word that count.
    pub(crate) mask: u32,
    /// What they must be.
    pub(crate) value: u32,
    /// Whether the upper word must be zero as well.
    pub(crate) wide: bool,
}

/// What happens to one number.
#[derive(Clone, Debug)]
pub(crate) enum Rule {
    /// Always the same.
    Always(Action),
    /// `then` if all comparisons of any alternative hold, else `otherwise`.
    If {
        any: Vec<Vec<Comparison>>,
        then: Action,
        otherwise: Action,
    },
}

/// One instruction of classic BPF.
pub(crate) type Instruction = (u16, u8, u8, u32);

const LOAD_WORD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const AND: u16 = 0x54; // BPF_ALU | BPF_AND | BPF_K
const JUMP_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const JUMP_GREATER_EQUAL: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
const RETURN: u16 = 0x06; // BPF_RET | BPF_K

const OFFSET_NUMBER: u32 = 0;
const OFFSET_ARCH: u32 = 4;
const OFFSET_ARGUMENTS: u32 = 16;

const ENOSYS: u32 = 38;
const EPERM: u32 = 1;

const fn verdict(action: Action) -> u32 {
    match action {
        Action::Allow => 0x7fff_0000,           // SECCOMP_RET_ALLOW
        Action::Absent => 0x0005_0000 | ENOSYS, // SECCOMP_RET_ERRNO
        Action::Refuse => 0x0005_0000 | EPERM,
        Action::Notify => 0x7fc0_0000, // SECCOMP_RET_USER_NOTIF
    }
}

/// Compiles `rules` for the architecture `arch` (an `AUDIT_ARCH_…` number). Every other architecture and
/// every number without a rule is absent.
pub(crate) fn compile(arch: u32, rules: &BTreeMap<u32, Rule>) -> Result<Vec<Instruction>, String> {
    let mut assembler = Assembler::default();
    assembler.emit(LOAD_WORD, Target::Next, Target::Next, OFFSET_ARCH);
    assembler.emit(
        JUMP_EQUAL,
        Target::Next,
        Target::Verdict(Action::Absent),
        arch,
    );
    assembler.emit(LOAD_WORD, Target::Next, Target::Next, OFFSET_NUMBER);
    let intervals = intervals(rules);
    assembler.tree(&intervals);
    assembler.finish()
}

/// Numbers from here up to the next entry share a rule.
type Interval<'a> = (u32, &'a Rule);

static ABSENT: Rule = Rule::Always(Action::Absent);

fn intervals<'rules>(rules: &'rules BTreeMap<u32, Rule>) -> Vec<Interval<'rules>> {
    let mut intervals: Vec<Interval<'rules>> = Vec::new();
    let mut push = |start: u32, rule: &'rules Rule| {
        let same = intervals
            .last()
            .is_some_and(|(_, last)| match (last, rule) {
                (Rule::Always(a), Rule::Always(b)) => a == b,
                _ => false,
            });
        if !same {
            intervals.push((start, rule));
        }
    };
    let mut next = 0;
    for (&number, rule) in rules {
        if number > next {
            push(next, &ABSENT);
        }
        push(number, rule);
        next = number + 1;
    }
    push(next, &ABSENT);
    intervals
}

/// Where a jump goes.
#[derive(Clone, Copy, Debug)]
enum Target {
    Next,
    Label(usize),
    Verdict(Action),
}

#[derive(Default)]
struct Assembler {
    code: Vec<(u16, Target, Target, u32)>,
    labels: Vec<Option<usize>>,
}

impl Assembler {
    fn emit(&mut self, operation: u16, yes: Target, no: Target, operand: u32) {
        self.code.push((operation, yes, no, operand));
    }

    fn label(&mut self) -> usize {
        self.labels.push(None);
        self.labels.len() - 1
    }

    fn place(&mut self, label: usize) {
        if let Some(slot) = self.labels.get_mut(label) {
            *slot = Some(self.code.len());
        }
    }

    /// Where the code for `intervals` will be; a verdict needs none of its own.
    fn target(&mut self, intervals: &[Interval<'_>]) -> Target {
        match intervals {
            [(_, Rule::Always(action))] => Target::Verdict(*action),
            _ => Target::Label(self.label()),
        }
    }

    fn tree(&mut self, intervals: &[Interval<'_>]) {
        match intervals {
            [] => {}
            [(_, Rule::Always(_))] => {}
            [
                (
                    _,
                    Rule::If {
                        any,
                        then,
                        otherwise,
                    },
                ),
            ] => self.condition(any, *then, *otherwise),
            _ => {
                let (low, high) = intervals.split_at(intervals.len() / 2);
                let Some((start, _)) = high.first() else {
                    return;
                };
                let (below, above) = (self.target(low), self.target(high));
                self.emit(JUMP_GREATER_EQUAL, above, below, *start);
                for (target, half) in [(below, low), (above, high)] {
                    if let Target::Label(label) = target {
                        self.place(label);
                        self.tree(half);
                    }
                }
            }
        }
    }

    fn condition(&mut self, any: &[Vec<Comparison>], then: Action, otherwise: Action) {
        for alternative in any {
            let next = self.label();
            for comparison in alternative {
                let low = OFFSET_ARGUMENTS + 8 * u32::from(comparison.argument);
                self.emit(LOAD_WORD, Target::Next, Target::Next, low);
                if comparison.mask != u32::MAX {
                    self.emit(AND, Target::Next, Target::Next, comparison.mask);
                }
                self.emit(
                    JUMP_EQUAL,
                    Target::Next,
                    Target::Label(next),
                    comparison.value,
                );
                if comparison.wide {
                    self.emit(LOAD_WORD, Target::Next, Target::Next, low + 4);
                    self.emit(JUMP_EQUAL, Target::Next, Target::Label(next), 0);
                }
            }
            self.emit(RETURN, Target::Next, Target::Next, verdict(then));
            self.place(next);
        }
        self.emit(RETURN, Target::Next, Target::Next, verdict(otherwise));
    }

    /// Appends the verdicts and turns targets into distances.
    fn finish(mut self) -> Result<Vec<Instruction>, String> {
        let verdicts = [
            Action::Allow,
            Action::Absent,
            Action::Refuse,
            Action::Notify,
        ];
        let first_verdict = self.code.len();
        for action in verdicts {
            self.emit(RETURN, Target::Next, Target::Next, verdict(action));
        }
        let distance = |from: usize, target: Target| {
            let to = match target {
                Target::Next => from + 1,
                Target::Label(label) => self
                    .labels
                    .get(label)
                    .copied()
                    .flatten()
                    .ok_or_else(|| format!("label {label} was never placed"))?,
                Target::Verdict(action) => {
                    let index = verdicts.iter().position(|verdict| *verdict == action);
                    first_verdict + index.unwrap_or(1)
                }
            };
            u8::try_from(to - from - 1)
                .map_err(|_| format!("a jump from {from} to {to} is too far for the kernel"))
        };
        let mut program = Vec::with_capacity(self.code.len());
        for (from, &(operation, yes, no, operand)) in self.code.iter().enumerate() {
            let jumps = operation == JUMP_EQUAL || operation == JUMP_GREATER_EQUAL;
            let (yes, no) = if jumps {
                (distance(from, yes)?, distance(from, no)?)
            } else {
                (0, 0)
            };
            program.push((operation, yes, no, operand));
        }
        Ok(program)
    }
}
