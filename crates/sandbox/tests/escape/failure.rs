//! A sandbox that cannot be made: its keeper must say at which step, as `casemate doctor` tells it on.

use std::fs::File;

use casemate_model::{Limits, SandboxId};
use casemate_ports::{InputFile, Keeper as _, KeeperError, Sandbox as _, SandboxSpec};
use casemate_sandbox::NamespaceKeeper;

/// The new process and its keeper race: whoever is faster, the step is told.
const TRIES: u8 = 100;

/// What is wrong with how a failed step is told, if anything is.
pub(crate) async fn finding() -> Result<Option<String>, KeeperError> {
    let keeper = NamespaceKeeper::new()?;
    for number in 0..TRIES {
        let input = InputFile {
            name: "directory".into(),
            file: File::open("/").expect("a directory can be opened"),
        };
        let spec = SandboxSpec {
            id: SandboxId::new(0, [number; 10]),
            limits: Limits::default(),
            inputs: vec![input],
            way_out: None,
            violations: None,
        };
        let made = async { keeper.create(spec).await?.ready().await };
        match made.await {
            Err(KeeperError::Build { step, .. }) if step == "copy the inputs" => {}
            other => return Ok(Some(format!("try {number}: {other:?}"))),
        }
    }
    Ok(None)
}
