//! Who has spent what: the state that the records of budgets add up to. No files, no clock.

use std::{
    collections::{BTreeMap, HashMap},
    iter,
};

use serde::{Deserialize, Serialize};

use crate::{
    Amounts, BudgetRule, Exhausted, Period, Scope, Spender,
    limits::{MAX_ACCOUNTS, MAX_OPEN_RESERVATIONS},
};

/// Between the names in a key: no name has it.
const BETWEEN: char = '\0';

/// What was used, and what open reservations hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Usage {
    /// What was used.
    pub used: Amounts,
    /// What is held by reservations that are not settled.
    pub reserved: Amounts,
}

/// The spending of a tenant, an agent or a thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) total: Usage,
    /// The last day on which it spent something.
    pub(crate) day: u64,
    /// What it spent on that day.
    pub(crate) today: Usage,
    /// Its open reservations.
    pub(crate) open: usize,
}

/// An open reservation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Open {
    pub(crate) key: Box<str>,
    pub(crate) day: u64,
    pub(crate) at_ms: u64,
    pub(crate) amounts: Amounts,
}

/// Who has spent what.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Books {
    /// The number of the next reservation.
    pub(crate) next: u64,
    /// The latest day that something was reserved on. It never goes back, or a day could be spent twice.
    pub(crate) day: u64,
    pub(crate) accounts: HashMap<Box<str>, Account>,
    pub(crate) open: BTreeMap<u64, Open>,
}

/// What does not fit into the books.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Misfit {
    Exhausted(Exhausted),
    TooManyAccounts,
    TooManyOpen,
}

impl Books {
    /// The day on which spending at `day` counts.
    pub(crate) fn on(&self, day: u64) -> u64 {
        day.max(self.day)
    }

    /// Whether `wanted` fits under all `rules`.
    pub(crate) fn judge(
        &self,
        key: &str,
        day: u64,
        rules: &[BudgetRule],
        wanted: &Amounts,
    ) -> Result<(), Misfit> {
        for rule in rules {
            let usage = match scope_key(key, rule.scope) {
                None => Usage::default(),
                Some(key) => self.usage(key, rule.per, day),
            };
            let [used, reserved] = [usage.used, usage.reserved].map(|all| all.of(rule.resource));
            let wanted = wanted.of(rule.resource);
            if used.saturating_add(reserved).saturating_add(wanted) > rule.limit {
                return Err(Misfit::Exhausted(Exhausted {
                    rule: *rule,
                    used,
                    reserved,
                    wanted,
                }));
            }
        }
        let missing = accounts_of(key).filter(|key| !self.accounts.contains_key(*key));
        if self.accounts.len() + missing.count() > MAX_ACCOUNTS {
            return Err(Misfit::TooManyAccounts);
        }
        match self.open.len() >= MAX_OPEN_RESERVATIONS {
            true => Err(Misfit::TooManyOpen),
            false => Ok(()),
        }
    }

    /// What an account spent until `day`, or on it.
    pub(crate) fn usage(&self, key: &str, per: Period, day: u64) -> Usage {
        match (self.accounts.get(key), per) {
            (Some(account), Period::Total) => account.total,
            (Some(account), Period::Day) if account.day == day => account.today,
            _ => Usage::default(),
        }
    }

    /// Holds what was judged to fit.
    pub(crate) fn reserve(&mut self, id: u64, open: Open) {
        self.next = self.next.max(id.saturating_add(1));
        self.day = self.on(open.day);
        for key in accounts_of(&open.key) {
            let account = match self.accounts.get_mut(key) {
                Some(account) => account,
                None => self.accounts.entry(key.into()).or_default(),
            };
            account.reserve(open.day, &open.amounts);
        }
        self.open.insert(id, open);
    }

    /// Turns a reservation into what was used. Returns whether it was open.
    pub(crate) fn settle(&mut self, id: u64, actual: &Amounts) -> bool {
        let Some(open) = self.open.remove(&id) else {
            return false;
        };
        for key in accounts_of(&open.key) {
            if let Some(account) = self.accounts.get_mut(key) {
                account.settle(&open, actual);
            }
        }
        true
    }

    /// Counts all reservations before `id` as used. Returns how many they were.
    pub(crate) fn forget_before(&mut self, id: u64) -> usize {
        let later = self.open.split_off(&id);
        let before: Vec<_> = self
            .open
            .iter()
            .map(|(id, open)| (*id, open.amounts))
            .collect();
        for (id, amounts) in &before {
            self.settle(*id, amounts);
        }
        self.open = later;
        before.len()
    }
}

impl Account {
    fn reserve(&mut self, day: u64, amounts: &Amounts) {
        if day > self.day {
            self.day = day;
            self.today = Usage::default();
        }
        self.total.reserved.add(amounts);
        // A reservation of a day that is over is read back from a file after the account of today.
        if day == self.day {
            self.today.reserved.add(amounts);
        }
        self.open += 1;
    }

    fn settle(&mut self, open: &Open, actual: &Amounts) {
        self.total.reserved.subtract(&open.amounts);
        self.total.used.add(actual);
        if open.day == self.day {
            self.today.reserved.subtract(&open.amounts);
            self.today.used.add(actual);
        }
        self.open = self.open.saturating_sub(1);
    }
}

/// The key under which everything that `spender` spends is counted. The thread is left out if nothing limits it: a
/// thread may be made for each call.
pub(crate) fn spender_key(spender: &Spender<'_>, rules: &[BudgetRule]) -> Box<str> {
    let mut key = format!("{}{BETWEEN}{}", spender.tenant, spender.agent);
    if rules.iter().any(|rule| rule.scope == Scope::Thread) {
        key.push(BETWEEN);
        key.push_str(spender.thread);
    }
    key.into()
}

/// The part of a spender's key that names the account of `scope`. A call has none.
pub(crate) fn scope_key(key: &str, scope: Scope) -> Option<&str> {
    let depth = match scope {
        Scope::Call => return None,
        Scope::Tenant => 0,
        Scope::Agent => 1,
        Scope::Thread => 2,
    };
    accounts_of(key).nth(depth)
}

/// The keys of the accounts of a spender: of its tenant, its agent, its thread.
fn accounts_of(key: &str) -> impl Iterator<Item = &str> {
    key.match_indices(BETWEEN)
        .filter_map(|(at, _)| key.get(..at))
        .chain(iter::once(key))
}

/// The names in a key.
pub(crate) fn names(key: &str) -> Vec<&str> {
    key.split(BETWEEN).collect()
}

/// The key of some names.
pub(crate) fn key_of(names: &[impl AsRef<str>]) -> Box<str> {
    let mut key = String::new();
    for (nth, name) in names.iter().enumerate() {
        if nth > 0 {
            key.push(BETWEEN);
        }
        key.push_str(name.as_ref());
    }
    key.into()
}
