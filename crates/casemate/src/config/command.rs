//! `casemate config`.

use anyhow::anyhow;
use casemate_webhooks::Webhooks;
use clap::Subcommand;

use super::{Config, ConfigArgs, Exit, Failure, report};
use crate::{callers, profile, serve};

/// What a gateway is told.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Say everything that is wrong with a configuration, and with the files that it names; print what it comes to
    Check {
        #[command(flatten)]
        config: Box<ConfigArgs>,
        /// Check it for `casemate up`, which needs no file of callers
        #[arg(long)]
        up: bool,
    },
    /// Print every key with its value, variable and option: docs/reference/configuration.md
    Keys,
}

pub(crate) fn run(command: ConfigCommand) -> Result<Exit, Failure> {
    match command {
        ConfigCommand::Check { config, up } => check(&config.load()?, up),
        ConfigCommand::Keys => {
            report::print(format_args!("{}", super::page()))?;
            Ok(Exit::Success)
        }
    }
}

fn check(config: &Config, up: bool) -> Result<Exit, Failure> {
    let mut wrong = 0;
    for found in config.contradictions(up) {
        report::line(&found.what);
        report::hint(found.hint);
        wrong += 1;
    }
    // Each file by itself: one that is wrong hides no other.
    if let Some(file) = &config.callers {
        wrong += failed(callers::check(file));
    }
    for file in &config.profiles {
        wrong += usize::from(!profile::is_valid(file));
    }
    if let Some(file) = &config.webhooks {
        wrong += failed(Webhooks::load(file).map_err(Failure::invalid));
    }
    wrong += failed(serve::tls_of(config));
    if wrong > 0 {
        let errors = if wrong == 1 { "error" } else { "errors" };
        return Err(Failure::invalid(anyhow!(
            "the configuration has {wrong} {errors}"
        )));
    }
    let json = serde_json::to_string(config).map_err(Failure::failed)?;
    report::print(format_args!("{json}\n"))?;
    Ok(Exit::Success)
}

/// Says what went wrong, if something did.
fn failed<T>(done: Result<T, Failure>) -> usize {
    match done {
        Ok(_) => 0,
        Err(failure) => {
            failure.report();
            1
        }
    }
}
