//! The command line.

mod policy;

use std::{ffi::OsString, path::PathBuf};

use casemate_identity::Handle;
use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use self::policy::{ActivateArgs, PolicyCommand, PolicyKeyCommand, PolicyRole};
use crate::{
    agent::AgentCommand,
    approvals::ApprovalsCommand,
    backup::{BackupArgs, RestoreArgs},
    callers::CallersCommand,
    client::{CallArgs, McpArgs, SessionCommand},
    config::ConfigCommand,
    credential::CredentialCommand,
    doctor::DoctorArgs,
    egress::EgressArgs,
    exit::Exit,
    identity::IdentityArgs,
    keeper::KeeperArgs,
    manual::{CompletionsArgs, ManArgs},
    serve::ServeArgs,
    status::StatusArgs,
    switch::SwitchCommand,
    up::UpArgs,
    values,
};

/// Runs an agent's code in a sandbox: decided, recorded and provable.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true, after_long_help = Exit::table())]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Cli {
    /// The command line of this process. Ends the process when there is nothing to do but to explain.
    pub(crate) fn read() -> Self {
        let words: Vec<_> = std::env::args_os().collect();
        Self::try_read(&words).unwrap_or_else(|error| error.exit())
    }

    fn try_read(words: &[OsString]) -> Result<Self, clap::Error> {
        let mut cli = Self::try_parse_from(words)?;
        let (program, form) = match &mut cli.command {
            Command::Run(run) => (&run.program, &mut run.form),
            Command::Call(call) => (&call.program, &mut call.form),
            _ => return Ok(cli),
        };
        // The program is the end of the line, and clap does not say whether `--` came before it.
        let before = words.len().checked_sub(program.len() + 1);
        if before
            .and_then(|before| words.get(before))
            .is_some_and(|word| word == "--")
        {
            *form = Form::Command;
        }
        Ok(cli)
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a program in a sandbox
    Run(Box<RunArgs>),
    /// Start the whole server, and look after it until it is stopped
    Up(UpArgs),
    /// Say how the server stands, and whether calls can be run
    Status(StatusArgs),
    /// Serve sessions and calls on a socket of this user's
    Serve(ServeArgs),
    /// Run a call in a session of `casemate serve`
    Call(Box<CallArgs>),
    /// Look at sessions of `casemate serve`, and use their files
    #[command(subcommand)]
    Session(SessionCommand),
    /// Serve the tools of `casemate serve` to a host that speaks the Model Context Protocol
    Mcp(McpArgs),
    /// Look at profiles: what a route may do
    #[command(subcommand)]
    Profile(ProfileCommand),
    /// Check, test, prove, compare and activate bundles of profiles, tools and policies
    #[command(subcommand)]
    Policy(Box<PolicyCommand>),
    /// Look at calls that wait for a person, and answer them
    #[command(subcommand)]
    Approvals(Box<ApprovalsCommand>),
    /// Check who may call over a network, and manage API keys
    #[command(subcommand)]
    Callers(CallersCommand),
    /// Stop a tenant, user, agent, route, tool or destination at once, and let it go on
    #[command(subcommand)]
    Switch(SwitchCommand),
    /// Keep credentials that sandboxes never see, and say who can use them
    #[command(subcommand)]
    Credential(Box<CredentialCommand>),
    /// Check everything that must hold before code execution is switched on
    Gate(GateArgs),
    /// List agents, and destroy everything that is kept of one
    #[command(subcommand)]
    Agent(AgentCommand),
    /// Copy everything durable, as of one moment, also while a server runs
    Backup(BackupArgs),
    /// Put a backup in the place of a state directory that is not there
    Restore(RestoreArgs),
    /// Look at the audit log
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Build, list, verify and remove images: packages for sandboxes
    #[command(subcommand)]
    Image(ImageCommand),
    /// Say what this host can enforce, and attack sandboxes to prove it
    Doctor(DoctorArgs),
    /// Print what a shell needs to complete the command line
    Completions(CompletionsArgs),
    /// Print the manual page of a command
    Man(ManArgs),
    /// Check what a server is told
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Serve as `casemate up` says on standard input, which is a socket
    #[command(hide = true)]
    Gateway,
    /// Make sandboxes for whoever connects to a socket
    #[command(hide = true)]
    Keeper(KeeperArgs),
    /// Hold credentials for whoever connects to a socket
    #[command(hide = true)]
    Identity(IdentityArgs),
    /// Serve the ways out of an agent's calls on standard input, which is a socket
    #[command(hide = true)]
    Egress(EgressArgs),
}

/// Run a program in a sandbox.
///
/// The decision is on disk before the program starts, and the outcome after it has ended. The program sees
/// its input files in /workspace/in, and what it leaves in /workspace/out can be given back with --out. It has
/// no network, and nothing of the host but the system's programs and libraries.
#[derive(Debug, Args)]
#[command(
    override_usage = "casemate run [OPTIONS] SCRIPT [ARGS]...\n       casemate run [OPTIONS] -\n       casemate run [OPTIONS] -- COMMAND...",
    after_help = EXAMPLES,
    after_long_help = format!("{EXAMPLES}\n\n{}", Exit::table())
)]
pub(crate) struct RunArgs {
    /// A Python (.py) or shell (.sh, .bash) script and its arguments; `-` reads the program from standard
    /// input; after `--`, a command of the sandbox and its arguments
    #[arg(value_name = "SCRIPT", trailing_var_arg = true, required = true)]
    pub(crate) program: Vec<OsString>,

    /// Whether `--` came before the program.
    #[arg(skip)]
    pub(crate) form: Form,

    /// The language of SCRIPT, when its name does not say it
    #[arg(long, value_enum)]
    pub(crate) language: Option<Language>,

    /// Put a copy of this file in /workspace/in, read-only; can be repeated
    #[arg(long = "file", value_name = "PATH")]
    pub(crate) files: Vec<PathBuf>,

    /// Write what the program leaves in /workspace/out to this directory
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,

    /// Set a variable; no others exist but PATH, HOME, USER, LANG, TERM, TMPDIR and those that lead to a way out; can be repeated
    #[arg(long = "env", value_name = "NAME=VALUE")]
    pub(crate) env: Vec<OsString>,

    /// Stop the program after this time, such as 500ms or 2m [default: 60s, or what the profile gives]
    #[arg(long, value_name = "TIME", value_parser = values::millis)]
    pub(crate) timeout: Option<u64>,

    /// Memory of all its processes; files in the sandbox count [default: 2GiB]
    #[arg(long, value_name = "SIZE", value_parser = values::bytes)]
    pub(crate) memory: Option<u64>,

    /// Share of the CPU, in cores, such as 1.5 [default: 2]
    #[arg(long, value_name = "CORES", value_parser = values::cpu_milli)]
    pub(crate) cpu: Option<u64>,

    /// Size of /workspace [default: 512MiB]
    #[arg(long, value_name = "SIZE", value_parser = values::bytes)]
    pub(crate) disk: Option<u64>,

    /// Processes and threads alive at once [default: 256]
    #[arg(long, value_name = "N", value_parser = values::count)]
    pub(crate) processes: Option<u64>,

    /// Give back at most this much output [default: 10MiB]
    #[arg(long, value_name = "SIZE", value_parser = values::bytes)]
    pub(crate) max_output: Option<u64>,

    /// Decide by this profile (.json or .toml) instead of the built-in one
    #[arg(long, value_name = "FILE")]
    pub(crate) profile: Option<PathBuf>,

    /// Decide by the profile of this route in the bundle in force
    #[arg(long, value_name = "NAME", conflicts_with = "profile")]
    pub(crate) route: Option<String>,

    /// Run once under this key: a repeat of the same call gets the first result
    #[arg(long, value_name = "KEY")]
    pub(crate) idempotency_key: Option<String>,

    /// The agent that asks
    #[arg(long, value_name = "NAME", default_value = "local", value_parser = values::agent)]
    pub(crate) agent: String,

    /// Print one JSON object with everything that is known about the call, instead of its output
    #[arg(long)]
    pub(crate) json: bool,

    /// Print nothing of our own but errors
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

const EXAMPLES: &str = "Examples:
  casemate run --file data.csv --out results analysis.py --column price
  echo 'print(6 * 7)' | casemate run -
  casemate run --timeout 5s -- bash -c 'ls -l /workspace/in'";

/// What the words after the options are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Form {
    /// A script of the caller's.
    #[default]
    Script,
    /// A command of the sandbox.
    Command,
}

/// What a script is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Language {
    /// Run it with python3
    Python,
    /// Run it with bash
    Bash,
}

/// Look at profiles.
#[derive(Debug, Subcommand)]
pub(crate) enum ProfileCommand {
    /// Explain every error in these files
    Check {
        /// Profiles (.json or .toml)
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Print the profile of `casemate run` when no other is named
    Show,
    /// Start a server of the Model Context Protocol that a profile has, and print its tools as they are pinned
    ///
    /// The server runs in a sandbox of `casemate run` under that profile. What is printed is the value of `tools` of the
    /// server in the profile, of what it says now; what is new and what has changed is said on standard error.
    Pin {
        /// The profile (.json or .toml)
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// The name of the server in it
        #[arg(value_name = "SERVER")]
        server: String,
    },
}

/// Check what must hold before code execution is switched on.
///
/// One line for each check that fails; exits with 1 if any does.
#[derive(Debug, Args)]
pub(crate) struct GateArgs {
    /// A profile (.json or .toml), or a route of the bundle in force
    #[arg(value_name = "PROFILE")]
    pub(crate) profile: String,
    /// A scope of the identity under which the route runs; can be repeated [default: those of a local user]
    #[arg(long = "scope", value_name = "SCOPE")]
    pub(crate) scopes: Vec<String>,
    /// Check it as a server does, whose sessions are all of the tier `namespace`
    #[arg(long, hide = true)]
    pub(crate) sessions: bool,
}

/// Images: directory trees that sandboxes show read-only, named after what is in them.
#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// Make an image of a recipe, unless it is there already
    Build {
        /// The recipe (.toml): an interpreter, and packages with the digests of their wheels
        #[arg(value_name = "FILE")]
        recipe: PathBuf,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Print every image
    List {
        /// Print one JSON object per line
        #[arg(long)]
        json: bool,
    },
    /// Check that no file of an image was changed, added or removed
    Verify {
        /// A name, a digest or at least 8 of its first hex digits [default: every image]
        #[arg(value_name = "NAME|DIGEST")]
        image: Option<String>,
        /// Print one JSON object per line
        #[arg(long)]
        json: bool,
    },
    /// Remove an image that no sandbox uses
    Rm {
        /// A name, a digest or at least 8 of its first hex digits
        #[arg(value_name = "NAME|DIGEST")]
        image: String,
    },
}

/// Look at the audit log.
#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Print the newest records
    Tail(TailArgs),
    /// Print everything about one call, one session, or one record
    Show {
        /// A decision (`dec_…`), a session (`ses_…`) or the index of a record
        #[arg(value_name = "ID|INDEX")]
        what: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Say which identity called which tool, with which scopes and credentials, under which policy
    Uses(UsesArgs),
    /// Check that no record was changed, removed, reordered or cut off
    Verify(VerifyArgs),
    /// Print the public key that verifies the log
    Key,
    /// Destroy an agent's keys, and with them the content of its records; the log still verifies
    Erase {
        /// The agent
        #[arg(long, value_name = "NAME", value_parser = values::agent)]
        agent: String,
        /// Yes, for good
        #[arg(long)]
        yes: bool,
    },
}

/// Print the newest records.
#[derive(Debug, Args)]
pub(crate) struct TailArgs {
    /// How many
    #[arg(short = 'n', long = "lines", value_name = "N", default_value_t = 10)]
    pub(crate) count: usize,
    /// Go on with new ones as they come
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// Print one JSON object per line
    #[arg(long)]
    pub(crate) json: bool,
}

/// Say which identity called which tool, with which scopes and credentials, under which policy.
#[derive(Debug, Args)]
pub(crate) struct UsesArgs {
    /// How many calls, the newest
    #[arg(short = 'n', long = "calls", value_name = "N", default_value_t = 100)]
    pub(crate) count: usize,
    /// Only calls that sent something with this credential
    #[arg(long, value_name = "HANDLE")]
    pub(crate) credential: Option<Handle>,
    /// Only calls of this agent
    #[arg(long, value_name = "NAME")]
    pub(crate) agent: Option<String>,
    /// Only calls of this tool
    #[arg(long, value_name = "NAME")]
    pub(crate) tool: Option<String>,
    /// Only calls of this caller
    #[arg(long, value_name = "NAME")]
    pub(crate) actor: Option<String>,
    /// Print one JSON object per line
    #[arg(long)]
    pub(crate) json: bool,
}

/// Check the log.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// The public key, as `audit key` prints it, or a file that holds it
    #[arg(long, value_name = "KEY|FILE")]
    pub(crate) public_key: Option<String>,
    /// A file with a checkpoint that was kept elsewhere: finds a log that was put back to an older state
    #[arg(long, value_name = "FILE")]
    pub(crate) checkpoint: Option<PathBuf>,
    /// A copy of the log's directory, instead of the log itself
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    fn read(args: &[&str]) -> Result<RunArgs, clap::Error> {
        let words = ["casemate", "run"].iter().chain(args).map(OsString::from);
        match Cli::try_read(&words.collect::<Vec<_>>())?.command {
            Command::Run(run) => Ok(*run),
            other => panic!("{other:?}"),
        }
    }

    /// What follows the script is the script's, whatever it looks like.
    #[test]
    fn arguments_of_the_program_are_not_ours() {
        use Form::{Command, Script};
        for (args, form, program) in [
            (&["a.py"][..], Script, &["a.py"][..]),
            (
                &["a.py", "--json", "-x", "--", "y"],
                Script,
                &["a.py", "--json", "-x", "--", "y"],
            ),
            (&["--agent", "a", "a.py", "--"], Script, &["a.py", "--"]),
            (&["-"], Script, &["-"]),
            (&["-", "--json"], Script, &["-", "--json"]),
            (&["-", "--", "x"], Script, &["-", "--", "x"]),
            (&["--", "a.py", "--json"], Command, &["a.py", "--json"]),
            (
                &["--quiet", "--", "sh", "--", "x"],
                Command,
                &["sh", "--", "x"],
            ),
            (&["--", "--"], Command, &["--"]),
            (&["--", "-"], Command, &["-"]),
        ] {
            let run = read(args).unwrap();
            assert!(!run.json, "{args:?}");
            assert_eq!((run.form, run.program), (form, os(program)), "{args:?}");
        }
    }

    fn os(texts: &[&str]) -> Vec<OsString> {
        texts.iter().map(OsString::from).collect()
    }

    #[test]
    fn what_cannot_be_followed_is_an_error() {
        for args in [
            &[][..],
            &["--"],
            &["--json"],
            &["--agent", "--", "a.py"],
            &["--json", "--json", "a.py"],
            &["--timeout", "30", "a.py"],
            &["--agent", "../x", "a.py"],
            &["--nonsense", "a.py"],
            &["--language", "cobol", "a.py"],
        ] {
            assert!(read(args).is_err(), "{args:?}");
        }
    }
}
