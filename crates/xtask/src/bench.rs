//! Measurements. Each compares with a peer in the same run and writes a page of `docs/benchmarks`.

mod api;
mod authority;
mod bundle;
mod contender;
mod crun;
mod egress;
mod field;
mod goals;
mod host;
mod identity;
mod ledger;
mod policy;
mod report;
mod run;
mod runsc;
mod sample;
mod sandbox;

pub use self::{
    api::{ApiOptions, api},
    crun::serve as serve_crun,
    egress::{corpus, egress, egress_soak},
    identity::identity,
    ledger::ledger,
    policy::policy,
    run::{RunOptions, run},
    sandbox::{Extent, SandboxOptions, sandbox},
};
