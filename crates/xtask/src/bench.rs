//! Measurements. Each compares with a peer in the same run and writes a page of `docs/benchmarks`.

mod contender;
mod crun;
mod host;
mod ledger;
mod report;
mod run;
mod sample;

pub use self::{
    crun::serve as serve_crun,
    ledger::ledger,
    run::{RunOptions, run},
};
