//! `casemate completions` and `casemate man`: what shells and people are told of the command line, made from it.

use anyhow::anyhow;
use clap::CommandFactory as _;
use clap_complete::Shell;
use clap_mangen::Man;

use crate::{
    cli::Cli,
    exit::Exit,
    report::{self, Failure},
};

/// Print what a shell needs to complete the command line.
#[derive(Debug, clap::Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Print the manual page of `casemate`, or of one of its commands, for `man -l -`.
#[derive(Debug, clap::Args)]
pub(crate) struct ManArgs {
    /// The words of the command, such as `policy activate`
    #[arg(value_name = "COMMAND")]
    command: Vec<String>,
}

pub(crate) fn completions(args: &CompletionsArgs) -> Result<Exit, Failure> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "casemate", &mut text);
    print(&text)
}

pub(crate) fn man(args: &ManArgs) -> Result<Exit, Failure> {
    let mut command = Cli::command();
    command.build();
    for word in &args.command {
        let found = command
            .find_subcommand(word)
            .filter(|one| !one.is_hide_set());
        let unknown = || Failure::usage(anyhow!("there is no command `{}`", word.escape_debug()));
        command = found.ok_or_else(unknown)?.clone();
    }
    let mut text = Vec::new();
    Man::new(command)
        .render(&mut text)
        .map_err(|error| Failure::failed(error).context("cannot make the page"))?;
    print(&text)
}

fn print(text: &[u8]) -> Result<Exit, Failure> {
    report::print(format_args!("{}", String::from_utf8_lossy(text)))?;
    Ok(Exit::Success)
}
