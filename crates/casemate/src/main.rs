//! `casemate`: runs an agent's code in a sandbox, decided, recorded and provable.
//!
//! The only crate that picks drivers: the sandbox, the stores, the clock.

mod activation;
mod agent;
mod agent_lock;
mod approvals;
mod audit;
mod backup;
mod callers;
mod cli;
mod client;
mod config;
mod credential;
mod decider;
mod detach;
mod doctor;
mod egress;
mod exit;
mod gate;
mod hold;
mod identity;
mod image;
mod keeper;
mod killed;
mod log_file;
mod manual;
mod policy;
mod profile;
mod report;
mod run;
mod serve;
mod state;
mod status;
mod switch;
mod system;
mod tier;
mod up;
mod values;
mod way;

use std::process::ExitCode;

use crate::cli::{Cli, Command};

fn main() -> ExitCode {
    let done = match Cli::read().command {
        Command::Run(args) => run::run(*args),
        Command::Up(args) => up::run(&args),
        Command::Serve(args) => serve::run(&args),
        Command::Call(args) => client::call(&args),
        Command::Session(command) => client::session(command),
        Command::Mcp(args) => client::mcp(args),
        Command::Profile(command) => profile::run(command),
        Command::Policy(command) => policy::run(*command),
        Command::Approvals(command) => approvals::run(*command),
        Command::Callers(command) => callers::run(command),
        Command::Switch(command) => switch::run(command),
        Command::Gate(args) => gate::run(&args),
        Command::Agent(command) => agent::run(command),
        Command::Backup(args) => backup::backup(&args),
        Command::Restore(args) => backup::restore(&args),
        Command::Audit(command) => audit::run(command),
        Command::Image(command) => image::run(command),
        Command::Doctor(args) => doctor::run(&args),
        Command::Credential(command) => credential::run(*command),
        Command::Status(args) => status::run(&args),
        Command::Completions(args) => manual::completions(&args),
        Command::Man(args) => manual::man(&args),
        Command::Config(command) => config::run(command),
        Command::Gateway => serve::run_supervised(),
        Command::Keeper(args) => keeper::run(&args),
        Command::Identity(args) => identity::run(&args),
        Command::Egress(args) => egress::run(&args),
    };
    match done {
        Ok(exit) => exit.into(),
        Err(failure) => failure.report().into(),
    }
}
