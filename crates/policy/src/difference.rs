//! What one policy permits that another does not: in words, and by example.
//!
//! The words come from comparing what both say, and err on one side only: whatever is not known to narrow counts as wider. The examples
//! are requests that were decided by both engines.

mod compare;
mod examples;

use std::collections::BTreeSet;

use casemate_model::Digest;
use serde::Serialize;

use self::{compare::Compare, examples::examples};
use crate::{
    decide::Verdict, engine::Engine, inputs::Inputs, profile::Profile, tool::ToolFacts,
    visible::quoted,
};

/// A change, in words.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Change {
    /// The route, or `*` for all of them.
    pub route: String,
    /// Whether more may happen.
    pub direction: Direction,
    /// What changed.
    pub what: String,
}

/// Whether a change lets more happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// More may happen, or it is not known that it may not.
    Wider,
    /// Less may happen.
    Narrower,
}

/// A call that becomes possible.
#[derive(Clone, Debug, Serialize)]
pub struct Example {
    /// What would be asked.
    pub inputs: Inputs,
    /// What the old policy answers.
    pub before: Verdict,
    /// Why.
    pub because: String,
    /// What the new one answers.
    pub after: Verdict,
}

/// What changes between two policies.
#[derive(Clone, Debug, Serialize)]
pub struct Difference {
    /// The old one, if there was one.
    pub old: Option<Digest>,
    /// The new one.
    pub new: Digest,
    /// In words.
    pub changes: Vec<Change>,
    /// Calls that become possible.
    pub examples: Vec<Example>,
}

impl Difference {
    /// What changes when `new` takes the place of `old`.
    #[must_use]
    pub fn between(old: Option<&Engine>, new: &Engine) -> Self {
        let mut changes = Vec::new();
        let routes = |engine: &Engine| engine.routes().map(str::to_owned).collect::<BTreeSet<_>>();
        let before = old.map(routes).unwrap_or_default();
        for route in &before {
            if new.profile(route).is_none() {
                changes.push(change(route, Direction::Narrower, "the route is gone"));
            }
        }
        for route in new.routes() {
            let Some(now) = new.profile(route) else {
                continue;
            };
            match old.and_then(|old| Some((old, old.profile(route)?))) {
                None => changes.push(change(
                    route,
                    Direction::Wider,
                    format!(
                        "the route is new, with the tools {}",
                        named(now.tools.listed())
                    ),
                )),
                Some((old, then)) => {
                    let mut compare = Compare::of(route, &mut changes);
                    compare.profiles(then, now);
                    compare.tools((old, then), (new, now));
                }
            }
        }
        policies(old, new, &mut changes);
        changes.sort();
        Self {
            old: old.map(Engine::digest),
            new: new.digest(),
            changes,
            examples: examples(old, new),
        }
    }

    /// Whether more may happen, as far as words and examples show it.
    #[must_use]
    pub fn is_wider(&self) -> bool {
        let wider = |change: &Change| change.direction == Direction::Wider;
        !self.examples.is_empty() || self.changes.iter().any(wider)
    }

    /// Names what an approver is shown: the same difference has the same digest.
    ///
    /// # Errors
    /// Only if serialisation fails, which a value of this type does not cause.
    pub fn digest(&self) -> Result<Digest, serde_json::Error> {
        serde_json_canonicalizer::to_vec(self).map(|bytes| Digest::of(&bytes))
    }
}

fn change(route: &str, direction: Direction, what: impl Into<String>) -> Change {
    Change {
        route: route.to_owned(),
        direction,
        what: what.into(),
    }
}

fn named<'n>(names: impl Iterator<Item = &'n str>) -> String {
    let names: Vec<_> = names.map(quoted).collect();
    match names.as_slice() {
        [] => "none".to_owned(),
        names => names.join(", "),
    }
}

fn facts(engine: &Engine, profile: &Profile, name: &str) -> ToolFacts {
    ToolFacts::of(profile, name, engine.tool(name))
}

/// Policies that forbid: one that is gone lets more happen, one that changed may.
fn policies(old: Option<&Engine>, new: &Engine, changes: &mut Vec<Change>) {
    let forbids = |engine: &Engine| {
        let policies = engine.policies().policies();
        let forbids = policies.filter(|policy| policy.effect() == cedar_policy::Effect::Forbid);
        forbids
            .map(|policy| {
                (
                    policy.id().to_string(),
                    policy.to_cedar().unwrap_or_default(),
                )
            })
            .collect::<std::collections::BTreeMap<_, _>>()
    };
    let (then, now) = (old.map(forbids).unwrap_or_default(), forbids(new));
    for (id, text) in &then {
        match now.get(id) {
            None => changes.push(change(
                "*",
                Direction::Wider,
                format!("the policy {} is gone", quoted(id)),
            )),
            Some(other) if other != text => {
                changes.push(change(
                    "*",
                    Direction::Wider,
                    format!("the policy {} is another one", quoted(id)),
                ));
            }
            Some(_) => {}
        }
    }
    for id in now.keys().filter(|id| !then.contains_key(*id)) {
        changes.push(change(
            "*",
            Direction::Narrower,
            format!("the policy {} is new", quoted(id)),
        ));
    }
}
