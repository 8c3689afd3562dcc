//! The table in `seccomp.toml`. Used by build.rs and by the test that compares it with the program.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::compile::{Action, Comparison, Rule};

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Table {
    pub(crate) group: Vec<Group>,
    pub(crate) condition: Vec<Condition>,
}

/// Calls with one answer.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Group {
    pub(crate) action: Word,
    #[cfg_attr(not(test), expect(dead_code, reason = "for people; a test reads it"))]
    pub(crate) why: String,
    pub(crate) calls: String,
}

/// A call whose answer depends on its arguments.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Condition {
    pub(crate) call: String,
    #[cfg_attr(not(test), expect(dead_code, reason = "for people; a test reads it"))]
    pub(crate) why: String,
    pub(crate) any: Vec<Vec<Argument>>,
    pub(crate) then: Word,
    pub(crate) otherwise: Word,
    /// Whether it holds only under a kernel that tells nobody, in place of what a group says.
    #[serde(default)]
    pub(crate) unheard: bool,
}

/// One comparison.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Argument {
    pub(crate) argument: u8,
    #[serde(default = "all_bits")]
    pub(crate) mask: u32,
    pub(crate) value: u32,
    #[serde(default)]
    pub(crate) wide: bool,
}

const fn all_bits() -> u32 {
    u32::MAX
}

/// An action as it is written.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Word {
    Allow,
    Refuse,
    Watch,
    Violation,
    Absent,
}

/// Who hears of calls that are refused or watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// The keeper, who answers them.
    ByKeeper,
    /// Nobody: under a kernel that tells nobody, what would be refused is, and what is only watched goes on.
    ByNobody,
}

impl Word {
    const fn action(self, heard: Heard) -> Action {
        match (self, heard) {
            (Self::Allow, _) | (Self::Watch, Heard::ByNobody) => Action::Allow,
            (Self::Absent, _) => Action::Absent,
            (Self::Refuse | Self::Violation, Heard::ByNobody) => Action::Refuse,
            (Self::Refuse | Self::Watch | Self::Violation, Heard::ByKeeper) => Action::Notify,
        }
    }
}

/// The rules by number, and the calls that are watched, by name.
#[derive(Debug)]
pub(crate) struct Rules {
    pub(crate) by_number: BTreeMap<u32, Rule>,
    pub(crate) names: BTreeMap<u32, String>,
    pub(crate) watched: Vec<u32>,
    /// The calls of which every notification is a violation.
    pub(crate) violations: Vec<u32>,
}

impl Table {
    /// Resolves names with `number`, which answers `Ok(None)` for a call that another architecture has.
    pub(crate) fn rules(
        &self,
        heard: Heard,
        number: impl Fn(&str) -> Result<Option<u32>, String>,
    ) -> Result<Rules, String> {
        let mut rules = Rules {
            by_number: BTreeMap::new(),
            names: BTreeMap::new(),
            watched: Vec::new(),
            violations: Vec::new(),
        };
        let mut add = |name: &str, rule: Rule, words: [Word; 2]| {
            let Some(number) = number(name)? else {
                return Ok(());
            };
            if words.contains(&Word::Watch) {
                rules.watched.push(number);
            }
            if words.contains(&Word::Violation) {
                if words.contains(&Word::Refuse) || words.contains(&Word::Watch) {
                    return Err(format!("`{name}` tells of what is no violation too"));
                }
                rules.violations.push(number);
            }
            rules.names.insert(number, name.to_owned());
            match rules.by_number.insert(number, rule) {
                Some(_) => Err(format!("`{name}` is listed twice")),
                None => Ok(()),
            }
        };
        let counts = |condition: &&Condition| !condition.unheard || heard == Heard::ByNobody;
        let replaced = |name: &str| {
            let mut conditions = self.condition.iter().filter(counts);
            conditions.any(|condition| condition.unheard && condition.call == name)
        };
        for group in &self.group {
            let calls = group.calls.split_whitespace();
            for name in calls.filter(|name| !replaced(name)) {
                let action = group.action.action(heard);
                add(name, Rule::Always(action), [group.action; 2])?;
            }
        }
        for condition in self.condition.iter().filter(counts) {
            let comparison = |argument: &Argument| Comparison {
                argument: argument.argument,
                mask: argument.mask,
                value: argument.value,
                wide: argument.wide,
            };
            let any = condition
                .any
                .iter()
                .map(|all| all.iter().map(comparison).collect());
            let rule = Rule::If {
                any: any.collect(),
                then: condition.then.action(heard),
                otherwise: condition.otherwise.action(heard),
            };
            add(&condition.call, rule, [condition.then, condition.otherwise])?;
        }
        Ok(rules)
    }
}
