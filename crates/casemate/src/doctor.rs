//! `casemate doctor`: what this host can enforce, measured on a sandbox, and attacks that prove it.

mod advice;
mod diagnosis;
mod host;
mod table;

use casemate_model::{Isolation, one_line};
use casemate_ports::KeeperError;
use casemate_sandbox::{
    GvisorKeeper, NamespaceKeeper,
    escape::{self, Arena, Attempt, Traps, Verdict},
};
use tokio::runtime::Builder;

use self::{
    diagnosis::{Attack, Diagnosis, EgressFound, GvisorFound, Outcome},
    host::Host,
    table::Table,
};
use crate::{
    egress,
    exit::Exit,
    report::{self, Failure},
    tier,
};

/// Say what this host can enforce, and attack sandboxes to prove it.
///
/// Exits with 0 when every attack was held, with 1 when one got through, and with 121 when no sandbox can be
/// made here.
#[derive(Debug, clap::Args)]
pub(crate) struct DoctorArgs {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &DoctorArgs) -> Result<Exit, Failure> {
    let attempts = escape::catalogue().map_err(Failure::failed)?;
    // One thread: the keeper clones this process.
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::failed(error).context("cannot start"))?;
    let examined = runtime.block_on(async {
        tokio::select! {
            diagnosis = examine(&attempts) => Some(diagnosis),
            _ = tokio::signal::ctrl_c() => None,
        }
    });
    let Some(diagnosis) = examined else {
        return Ok(Exit::Cancelled);
    };
    if args.json {
        let json = serde_json::to_string(&diagnosis).map_err(Failure::failed)?;
        report::print(format_args!("{json}\n"))?;
    } else {
        report::print(format_args!("{}", Table(&diagnosis)))?;
    }
    Ok(diagnosis.exit())
}

async fn examine(attempts: &[Attempt]) -> Diagnosis {
    let found = match egress::enforced().await {
        Ok(enforced) => EgressFound::Kept(enforced),
        Err(error) => EgressFound::Missing {
            why: one_line(error.as_ref()),
        },
    };
    let mut diagnosis = examine_sandboxes(attempts).await;
    diagnosis.egress = Some(found);
    diagnosis
}

async fn examine_sandboxes(attempts: &[Attempt]) -> Diagnosis {
    let host = Host::look();
    match sandbox().await {
        Ok((keeper, isolation)) => {
            let attacks = attack_all(&keeper, attempts).await;
            let found = match examine_gvisor(keeper, attempts).await {
                Ok(found) => found,
                Err(why) => GvisorFound::Missing { why },
            };
            Diagnosis::of_attacks(host, isolation, attacks).with_gvisor(found)
        }
        Err(error) => {
            let advice = advice::advice(&host);
            Diagnosis::without_sandbox(host, one_line(&error), advice)
        }
    }
}

/// Makes sandboxes with gVisor in them, and attacks them; or says in one line why there are none.
async fn examine_gvisor(
    keeper: NamespaceKeeper,
    attempts: &[Attempt],
) -> Result<GvisorFound, String> {
    let runsc = tier::gvisor().map_err(|error| one_line(&error))?;
    let version = runsc.version().to_owned();
    let keeper = GvisorKeeper::new(keeper, runsc);
    let isolation = escape::measure(&keeper).await;
    let isolation = isolation.map_err(|error| one_line(&error))?;
    let platform = keeper.platform().map(|platform| platform.to_string());
    Ok(GvisorFound::Kept {
        version,
        platform: platform.unwrap_or_default(),
        isolation,
        attacks: attack_all(&keeper, attempts).await,
    })
}

async fn attack_all(arena: &impl Arena, attempts: &[Attempt]) -> Vec<Attack> {
    let mut attacks = Vec::new();
    for attempt in attempts {
        if let Some(theme) = attempt.doctor() {
            attacks.push(attack(arena, attempt, theme).await);
        }
    }
    attacks
}

async fn sandbox() -> Result<(NamespaceKeeper, Isolation), KeeperError> {
    let keeper = NamespaceKeeper::new()?;
    let isolation = escape::measure(&keeper).await?;
    Ok((keeper, isolation))
}

async fn attack(keeper: &impl Arena, attempt: &Attempt, theme: &str) -> Attack {
    let tried = async {
        let traps = Traps::lay(None)?;
        escape::attempt(keeper, attempt, traps).await
    };
    let outcome = match tried.await {
        Ok(Verdict::Held) => Outcome::Held,
        Ok(Verdict::GotThrough(findings)) => Outcome::GotThrough { findings },
        Ok(Verdict::Skipped(why)) => Outcome::Skipped { why },
        Err(error) => Outcome::Unknown {
            why: one_line(&error),
        },
    };
    Attack {
        theme: theme.to_owned(),
        attempt: attempt.name().to_owned(),
        must_not: attempt.why().to_owned(),
        outcome,
    }
}
