//! How this user's keeper stands.

use std::path::Path;

use anyhow::Context as _;
use casemate_ports::SessionKeeper as _;
use tokio::runtime::Builder;

use super::connect_or_start;
use crate::{exit::Exit, report};

pub(super) fn run(state: &Path) -> anyhow::Result<Exit> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start")?;
    let (pools, sessions) = runtime.block_on(async {
        let keeper = connect_or_start(state).await?;
        anyhow::Ok((keeper.pools().await?, keeper.sessions().await?))
    })?;
    let status = serde_json::json!({ "pools": pools, "sessions": sessions });
    // Whoever does not read it does not want it.
    let _ = report::print(format_args!("{status}\n"));
    Ok(Exit::Success)
}
