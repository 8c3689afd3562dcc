//! The exit codes of Casemate itself.

use std::process::ExitCode;

use casemate_model::{Cause, Exit as ProgramExit, Outcome};

macro_rules! exits {
    ($($(#[doc = $doc:literal])+ $name:ident = $code:literal),+ $(,)?) => {
        /// How `casemate` ends, when it is not the program in the sandbox that says so.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Exit {
            /// As the program did.
            Program(u8),
            $($(#[doc = $doc])+ $name),+
        }

        impl Exit {
            /// The number.
            pub(crate) const fn code(self) -> u8 {
                match self {
                    Self::Program(code) => code,
                    $(Self::$name => $code),+
                }
            }

            /// The codes with their meanings, for people.
            pub(crate) fn table() -> String {
                let mut table = String::from("Exit codes of `casemate run` and `casemate call`:\n");
                $(
                    let meaning = [$($doc),+].map(str::trim).join(" ");
                    table.push_str(&format!("  {:<5} {meaning}\n", $code));
                )+
                table.push_str(PROGRAM);
                table
            }
        }
    };
}

const PROGRAM: &str = "  126   The command is in the sandbox, but cannot be executed.
  127   The command is not in the sandbox.
  other The exit code of the program; 128 + N when signal N killed it.
A program can use the same codes: --json tells them apart, and ours come with a line on standard error.
Other commands exit with 0, 1, 2 or 123, `doctor` also with 121 and 125, `session` with 120 and 121.";

exits! {
    /// It is done.
    Success = 0,
    /// What was looked at is not valid, or not there.
    Invalid = 1,
    /// The command line cannot be followed: nothing happened.
    Usage = 2,
    /// The policy refused: nothing ran.
    Refused = 120,
    /// The sandbox could not be made: nothing ran.
    NoSandbox = 121,
    /// The memory limit killed the program, or its sandbox broke.
    Killed = 122,
    /// The decision (nothing ran) or the outcome could not be recorded, or Casemate itself failed.
    Failed = 123,
    /// The time limit was reached.
    TimedOut = 124,
    /// Ctrl-C, a signal, or nobody left to read the output.
    Cancelled = 125,
}

impl Exit {
    /// How a call ended.
    pub(crate) fn of(outcome: &Outcome) -> Self {
        Self::of_end(outcome.cause, outcome.exit)
    }

    /// How a program ended.
    pub(crate) const fn of_end(cause: Cause, exit: Option<ProgramExit>) -> Self {
        match cause {
            Cause::Completed | Cause::NotExecutable => match exit {
                Some(ProgramExit::Code(code)) => Self::Program(code),
                Some(ProgramExit::Signal(signal)) => Self::Program(128_u8.saturating_add(signal)),
                None => Self::Failed,
            },
            Cause::TimedOut => Self::TimedOut,
            Cause::MemoryExceeded | Cause::SandboxLost | Cause::Violation => Self::Killed,
            Cause::Cancelled => Self::Cancelled,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_explained() {
        let table = Exit::table();
        for exit in [
            Exit::Usage,
            Exit::Refused,
            Exit::NoSandbox,
            Exit::Killed,
            Exit::Failed,
            Exit::TimedOut,
            Exit::Cancelled,
        ] {
            assert!(
                table.contains(&format!("\n  {} ", exit.code())),
                "{exit:?}\n{table}"
            );
        }
    }
}
