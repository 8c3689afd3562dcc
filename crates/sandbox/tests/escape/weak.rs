//! No sandbox at all: the suite must notice.

use std::{io::Read as _, process::Stdio};

use casemate_model::{Artefact, Cause, Exit, Isolation, IsolationTier, Stream, Usage};
use casemate_ports::{
    ArtefactSink, CallIo, Command, Ended, Event, Keeper, KeeperError, Ready, Sandbox, SandboxSpec,
};
use casemate_sandbox::escape::{Arena, Way};

/// Runs programs on the host as they are.
#[derive(Debug)]
pub(crate) struct WeakKeeper;

#[derive(Debug)]
pub(crate) struct NoSandbox;

impl Keeper for WeakKeeper {
    type Sandbox = NoSandbox;

    async fn create(&self, _: SandboxSpec) -> Result<NoSandbox, KeeperError> {
        Ok(NoSandbox)
    }
}

impl Arena for WeakKeeper {
    fn way(&self) -> Way {
        Way::Once
    }

    async fn clear(&self) -> Result<(), KeeperError> {
        Ok(())
    }
}

impl Sandbox for NoSandbox {
    async fn ready(&mut self) -> Result<Ready, KeeperError> {
        let isolation = Isolation {
            tier: IsolationTier::Namespace,
            controls: Vec::new(),
        };
        Ok(Ready {
            isolation,
            inputs: Vec::new(),
        })
    }

    async fn run(&mut self, command: Command, io: CallIo) -> Result<Ended, KeeperError> {
        let (program, arguments) = command.argv.split_first().expect("a command");
        let variables = command
            .env
            .iter()
            .map(|(name, value)| (name, value.as_os_str()));
        let mut child = std::process::Command::new(program.as_os_str())
            .args(arguments.iter().map(|argument| argument.as_os_str()))
            .envs(variables)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut stdout = Vec::new();
        child
            .stdout
            .take()
            .expect("a pipe")
            .read_to_end(&mut stdout)
            .expect("its output");
        let code = child.wait().expect("its end").code().unwrap_or(1);
        let stdout_bytes = stdout.len() as u64;
        io.events
            .send(Event::Output(Stream::Stdout, stdout))
            .await
            .expect("a caller");
        Ok(Ended {
            cause: Cause::Completed,
            exit: u8::try_from(code).ok().map(Exit::Code),
            usage: Usage::default(),
            stdout_bytes,
            stderr_bytes: 0,
            results_bytes: 0,
            output_truncated: false,
            denied: Vec::new(),
            violations: Vec::new(),
        })
    }

    async fn collect(self, _: &mut dyn ArtefactSink) -> Result<Vec<Artefact>, KeeperError> {
        Ok(Vec::new())
    }
}
