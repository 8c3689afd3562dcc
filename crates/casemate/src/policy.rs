//! `casemate policy`: bundles of profiles, tools and policies, and which one is in force.

mod activate;
mod bundle;
mod check;
mod decision;
mod diff;
mod keys;
mod list;
mod proofs;

pub(crate) use self::{
    activate::{journal, operate, operate_in},
    bundle::{ActivePolicies, store},
    keys::new as new_key,
};
use crate::{cli::PolicyCommand, exit::Exit, report::Failure};

pub(crate) fn run(command: PolicyCommand) -> Result<Exit, Failure> {
    match command {
        PolicyCommand::Check { bundle } => check::check(&bundle),
        PolicyCommand::Test { bundle } => check::test(&bundle),
        PolicyCommand::Show { bundle } => check::show(&bundle),
        PolicyCommand::Prove { bundle, solver } => proofs::run(&bundle, solver.as_deref()),
        PolicyCommand::Diff {
            old,
            new,
            solver,
            json,
        } => diff::run(&old, &new, solver.as_deref(), json),
        PolicyCommand::Activate(args) => activate::activate(&args),
        PolicyCommand::Rollback { to } => activate::rollback(to.as_deref()),
        PolicyCommand::Approve { bundle, key, out } => activate::approve(&bundle, &key, &out),
        PolicyCommand::List { json } => list::run(json),
        PolicyCommand::Explain { decision, json } => decision::explain(&decision, json),
        PolicyCommand::Replay { decision } => decision::replay(&decision),
        PolicyCommand::Key(command) => keys::run(command),
    }
}
