//! What the command line says of bundles.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::values;

/// Bundles of profiles, tools, policies and their tests.
///
/// A bundle is a directory, `active` for the one in force, or the digest of a stored one.
#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Explain every error in a bundle
    Check {
        /// The bundle
        #[arg(value_name = "BUNDLE")]
        bundle: PathBuf,
    },
    /// Run the tests of a bundle
    Test {
        /// The bundle
        #[arg(value_name = "BUNDLE")]
        bundle: PathBuf,
    },
    /// Print what a bundle comes to, in Cedar
    Show {
        /// The bundle
        #[arg(value_name = "BUNDLE", default_value = "active")]
        bundle: PathBuf,
    },
    /// Prove what must hold of every bundle, with a solver (cvc5)
    Prove {
        /// The bundle
        #[arg(value_name = "BUNDLE", default_value = "active")]
        bundle: PathBuf,
        /// The solver: cvc5, or a Python that has the package `cvc5` [default: found in PATH]
        #[arg(long, value_name = "FILE")]
        solver: Option<PathBuf>,
    },
    /// Say which calls become possible when NEW takes the place of OLD; exits with 1 if any does
    Diff {
        /// The old bundle
        #[arg(value_name = "OLD")]
        old: PathBuf,
        /// The new bundle
        #[arg(value_name = "NEW")]
        new: PathBuf,
        /// The solver
        #[arg(long, value_name = "FILE")]
        solver: Option<PathBuf>,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Bring a bundle into force: checked, tested, proved, compared, and approved if it permits more
    Activate(ActivateArgs),
    /// Go back to the bundle that was in force before, or to an earlier one
    Rollback {
        /// Its digest, or at least 8 of its first hex digits
        #[arg(long, value_name = "DIGEST")]
        to: Option<String>,
    },
    /// Approve, as somebody else than who activates it, what a bundle permits more than the one in force
    Approve {
        /// The bundle
        #[arg(value_name = "BUNDLE")]
        bundle: PathBuf,
        /// The approver's key, as `policy key new` made it
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// Write the approval here
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Print every bundle; the one in force has a star
    List {
        /// Print one JSON object per line
        #[arg(long)]
        json: bool,
    },
    /// Say why a call was allowed, held or refused, and what that was made from
    Explain {
        /// The decision (`dec_…`)
        #[arg(value_name = "DECISION")]
        decision: String,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Make a decision again, from what was recorded and under the policy of then; exits with 1 if it differs
    Replay {
        /// The decision (`dec_…`)
        #[arg(value_name = "DECISION")]
        decision: String,
    },
    /// Say who may publish bundles, and who may approve that one permits more
    #[command(subcommand)]
    Key(PolicyKeyCommand),
}

/// Bring a bundle into force.
#[derive(Debug, Args)]
pub(crate) struct ActivateArgs {
    /// The bundle
    #[arg(value_name = "BUNDLE")]
    pub(crate) bundle: PathBuf,
    /// The approval of what it permits more, as `policy approve` wrote it
    #[arg(long, value_name = "FILE")]
    pub(crate) approval: Option<PathBuf>,
    /// Activate it without what is lacking, for this reason: recorded, and an alert
    #[arg(long, value_name = "REASON", value_parser = values::reason)]
    pub(crate) break_glass: Option<String>,
    /// The solver
    #[arg(long, value_name = "FILE")]
    pub(crate) solver: Option<PathBuf>,
}

/// Keys of publishers and approvers.
#[derive(Debug, Subcommand)]
pub(crate) enum PolicyKeyCommand {
    /// Make a key, and print its public half
    New {
        /// Where it is kept: only for you to read
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Whose it is
        #[arg(long, value_name = "NAME")]
        name: String,
    },
    /// Print the keys that are trusted here
    Show,
    /// Trust a key
    Trust {
        /// What it may do
        #[arg(value_enum)]
        role: PolicyRole,
        /// Its public half, as `policy key new` printed it
        #[arg(value_name = "KEY")]
        key: String,
    },
    /// Trust a key no longer
    Distrust {
        /// What it may do
        #[arg(value_enum)]
        role: PolicyRole,
        /// Its public half
        #[arg(value_name = "KEY")]
        key: String,
    },
    /// Sign a bundle as its publisher
    Sign {
        /// The bundle's directory
        #[arg(value_name = "DIR")]
        bundle: PathBuf,
        /// The publisher's key
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
    },
}

/// What a trusted key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PolicyRole {
    /// Sign bundles
    Publisher,
    /// Approve that a bundle permits more
    Approver,
}
