//! A sandbox that is used once.

use casemate_model::{Limits, Responses, SandboxId};
use casemate_ports::{CallIo, Command, Ended, Event, Keeper, Sandbox as _, SandboxSpec};
use casemate_sandbox::NamespaceKeeper;
use tokio::sync::mpsc;

/// Runs a command in a sandbox of its own: how it ended, and what it wrote.
pub(crate) async fn run(number: u16, violations: Responses, command: Command) -> (Ended, String) {
    let keeper = NamespaceKeeper::new().unwrap();
    run_by(&keeper, number, violations, command).await
}

/// The same in one of this keeper's.
pub(crate) async fn run_by(
    keeper: &impl Keeper,
    number: u16,
    violations: Responses,
    command: Command,
) -> (Ended, String) {
    let mut random = [7; 10];
    random[8..].copy_from_slice(&number.to_be_bytes());
    let spec = SandboxSpec {
        id: SandboxId::new(1, random),
        limits: Limits::default(),
        inputs: Vec::new(),
        way_out: None,
        violations: Some(violations),
    };
    let mut sandbox = keeper.create(spec).await.expect("a sandbox");
    sandbox.ready().await.expect("a sandbox");
    let (stdin_sender, stdin) = mpsc::channel(16);
    drop(stdin_sender);
    let (_control, control) = mpsc::channel(16);
    let (events, mut output) = mpsc::channel(16);
    let io = CallIo {
        stdin,
        control,
        events,
    };
    let mut text = Vec::new();
    let hear = async {
        while let Some(Event::Output(_, bytes)) = output.recv().await {
            text.extend(bytes);
        }
    };
    let (ended, ()) = tokio::join!(sandbox.run(command, io), hear);
    (
        ended.expect("it ends"),
        String::from_utf8_lossy(&text).into_owned(),
    )
}
