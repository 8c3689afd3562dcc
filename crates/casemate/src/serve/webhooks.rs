//! Messages to other services, and the keys that sign them.

use std::{path::Path, sync::Arc};

use anyhow::{Context as _, anyhow};
use casemate_answers::SigningKey;
use casemate_gateway::{Clock as _, Entropy as _};
use casemate_webhooks::{Couriers, Surroundings, Webhooks};

use crate::{
    exit::Exit,
    report::{self, Failure},
    state,
    system::System,
};

/// Begins to carry messages to the receivers that a file names.
pub(super) fn start(webhooks: Webhooks, root: &Path) -> anyhow::Result<Couriers> {
    let surroundings: Arc<dyn Surroundings> = Arc::new(Here);
    let (ledger, cursors) = (state::ledger_in(root), state::webhooks_in(root));
    let couriers = Couriers::start(webhooks, &ledger, &cursors, &surroundings);
    couriers.context("cannot tell the webhooks anything")
}

/// This process.
#[derive(Debug)]
struct Here;

impl Surroundings for Here {
    fn now_ms(&self) -> u64 {
        System.now_ms()
    }

    fn random_below(&self, bound: u64) -> u64 {
        let mut bytes = [0; 8];
        // Without randomness every pause is the shortest of its kind.
        match System.fill(&mut bytes) {
            Ok(()) => u64::from_le_bytes(bytes) % bound.max(1),
            Err(_) => 0,
        }
    }

    fn tell(&self, line: &str) {
        report::line(line);
    }
}

/// Makes a key by which messages are signed, and prints its public form.
pub(crate) fn new_key(file: &Path) -> Result<Exit, Failure> {
    let key = SigningKey::generate().map_err(Failure::failed)?;
    let (Some(text), Some(public)) = (key.secret_text(), key.public()) else {
        return Err(Failure::failed(anyhow!("the key has no private form")));
    };
    let content = zeroize::Zeroizing::new(format!("{}\n", &*text));
    casemate_files::create_file(file, content.as_bytes()).map_err(Failure::failed)?;
    report::print(format_args!("{public}\n"))?;
    Ok(Exit::Success)
}
