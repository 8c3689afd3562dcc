//! `casemate profile`: what a route may do.

mod pin;

use std::path::Path;

use casemate_model::{IsolationTier, Text, one_line};
use casemate_policy::{Profile, ProfileError};

use crate::{
    cli::ProfileCommand,
    exit::Exit,
    report::{self, Failure},
};

pub(crate) fn run(command: ProfileCommand) -> Result<Exit, Failure> {
    match command {
        ProfileCommand::Show => {
            let profile = Profile::builtin().map_err(Failure::failed)?;
            report::print(format_args!(
                "{}",
                String::from_utf8_lossy(profile.source())
            ))?;
            Ok(Exit::Success)
        }
        ProfileCommand::Check { files } => {
            let mut exit = Exit::Success;
            for file in files {
                if !check(&file)? {
                    exit = Exit::Invalid;
                }
            }
            Ok(exit)
        }
        ProfileCommand::Pin { file, server } => pin::pin(&file, &server),
    }
}

const UNHEARD_IN_GVISOR: &str = "in the tier `gvisor` nothing that is refused is reported: `violations.system_calls` does nothing, and `violations.honey_files` sees who reads one, not who maps one";

/// Says what is wrong with a profile, or that nothing is.
fn check(file: &Path) -> Result<bool, Failure> {
    match Profile::load(file) {
        Ok(profile) => {
            let (route, digest) = (&profile.route, profile.digest());
            report::print(format_args!(
                "{}: valid, route {route}, {digest}\n",
                Text::from(file.as_os_str().to_owned())
            ))?;
            if profile.sandbox.tier == IsolationTier::Gvisor {
                report::hint(UNHEARD_IN_GVISOR);
            }
            Ok(true)
        }
        Err(error) => {
            explain(&error);
            Ok(false)
        }
    }
}

/// Whether a profile can be used; prints why it cannot.
pub(crate) fn is_valid(file: &Path) -> bool {
    match Profile::load(file) {
        Ok(_) => true,
        Err(error) => {
            explain(&error);
            false
        }
    }
}

/// Prints everything that is wrong with a profile.
pub(crate) fn explain(error: &ProfileError) {
    match error.rendered() {
        Some(text) => report::write(format_args!("{text}")),
        None => report::line(&one_line(error)),
    }
}
