//! `casemate policy diff`: what changes, in words and by example.

use std::path::Path;

use casemate_policy::{Difference, Direction, Engine};

use super::{
    bundle::load,
    proofs::{self, Change},
};
use crate::{
    exit::Exit,
    report::{self, Failure},
};

/// Says which calls become possible when one bundle takes another's place. Exits with 1 if any does.
pub(crate) fn run(
    old: &Path,
    new: &Path,
    solver: Option<&Path>,
    json: bool,
) -> Result<Exit, Failure> {
    let (old, new) = (load(old)?, load(new)?);
    let difference = Difference::between(Some(&old.engine), &new.engine);
    let proved = proofs::prove(Some(&old.engine), &new.engine, solver);
    let proved = proved.map(|proofs| proofs.change);
    if json {
        let text = serde_json::to_string(&difference).map_err(Failure::failed)?;
        report::print(format_args!("{text}\n"))?;
    } else {
        print(&difference)?;
        match &proved {
            Ok(Change::NoWider) => {
                report::print(format_args!(
                    "proved: no call becomes possible by its policies\n"
                ))?;
            }
            Ok(Change::Wider(example)) => report::print(format_args!(
                "proved: calls become possible, such as\n{example}\n"
            ))?,
            Ok(Change::Unknown(why)) => report::print(format_args!("not proved: {why}\n"))?,
            Err(failure) => report::print(format_args!("not proved: {failure}\n"))?,
        }
    }
    let wider = difference.is_wider() || matches!(proved, Ok(Change::Wider(_)));
    Ok(if wider { Exit::Invalid } else { Exit::Success })
}

/// Prints a difference.
pub(crate) fn print(difference: &Difference) -> Result<(), Failure> {
    for change in &difference.changes {
        let direction = match change.direction {
            Direction::Wider => "wider   ",
            Direction::Narrower => "narrower",
        };
        report::print(format_args!(
            "{direction} {}: {}\n",
            change.route, change.what
        ))?;
    }
    for example in &difference.examples {
        let inputs = &example.inputs;
        let to = inputs.destination.as_ref();
        let to = to.map_or_else(String::new, |to| format!(" to {}", to.host));
        let person = match inputs.approval {
            Some(_) => "with an approval",
            None => "without a person",
        };
        report::print(format_args!(
            "example  {}: {} calls {}{to}, {person}: {} before ({}), {} now\n",
            inputs.route,
            inputs.user,
            inputs.wish.name(),
            example.before.as_str(),
            example.because,
            example.after.as_str(),
        ))?;
    }
    if difference.changes.is_empty() && difference.examples.is_empty() {
        report::print(format_args!("nothing changes\n"))?;
    }
    Ok(())
}

/// Whether a bundle lets more happen than the one in force, and how that is known.
#[derive(Debug)]
pub(crate) struct Widening {
    pub(crate) difference: Difference,
    pub(crate) wider: bool,
    /// Why nothing was proved, if nothing was.
    pub(crate) unproved: Option<String>,
    /// Claims that do not hold.
    pub(crate) contradicted: Vec<proofs::ClaimResult>,
    pub(crate) proved: usize,
}

impl Widening {
    pub(crate) fn find(old: Option<&Engine>, new: &Engine, solver: Option<&Path>) -> Self {
        let difference = Difference::between(old, new);
        let mut found = Self {
            wider: difference.is_wider(),
            difference,
            unproved: None,
            contradicted: Vec::new(),
            proved: 0,
        };
        match proofs::prove(old, new, solver) {
            Ok(proofs) => {
                found.proved = proofs
                    .claims
                    .iter()
                    .filter(|claim| claim.contradicted_by.is_none())
                    .count();
                found.contradicted = proofs
                    .claims
                    .into_iter()
                    .filter(|claim| claim.contradicted_by.is_some())
                    .collect();
                match proofs.change {
                    Change::NoWider => {}
                    Change::Wider(_) => found.wider = true,
                    Change::Unknown(why) => found.unproved = Some(why),
                }
            }
            Err(failure) => found.unproved = Some(failure.to_string()),
        }
        found
    }
}
