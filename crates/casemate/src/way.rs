//! The way out of a call of `casemate run`: the proxy of `egress`, judging by the rules of the profile, recording to the
//! log, in a thread of this process.
//!
//! Its listener is on the loopback of the call's sandbox, so that whoever connects to it is in that sandbox (I4). It is
//! served from when the call has its lease until its program has ended.

mod credentials;
mod judge;
mod recorder;
mod scrubs;
mod seams;
mod serve;
mod variables;

use std::{
    collections::BTreeSet,
    io,
    net::TcpListener,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, anyhow};
use casemate_egress::{
    Authority, AuthorityError, Name, Origin, Parts, Pins, Proxy, Subtree, Trust, TrustError,
    Vetting, limits::MAX_ROOTS_BYTES,
};
use casemate_files::{FileError, Privacy, read_file};
use casemate_gateway::{Facts, Journal};
use casemate_identity::Usage;
use casemate_policy::{EgressPolicy, Profile};
use casemate_ports::WayOut;

use self::{
    credentials::Lent,
    judge::Rules,
    recorder::{CallLog, Records},
    scrubs::Scrubs,
    seams::Names,
    serve::Service,
};
pub(crate) use self::{
    serve::OpenWay,
    variables::{is_reserved, variables},
};
use crate::system::System;

/// Where addresses are made up from for whoever asks; nobody can ask yet.
const MADE_UP: &str = "198.18.0.0/15";

/// Why there is no way out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WayError {
    /// The operator's authorities cannot be read.
    #[error("the authorities for destinations cannot be read")]
    Roots(#[source] FileError),
    /// The operator's authorities cannot be used.
    #[error("the authorities for destinations in `{0}` cannot be used")]
    Trust(String, #[source] TrustError),
    /// The sandbox cannot have an authority.
    #[error("no authority can be made for the way out")]
    Authority(#[source] AuthorityError),
}

/// Whether calls under this profile have a way out.
pub(crate) fn is_wanted(profile: &Profile) -> bool {
    !profile.sandbox.network.allowed_domains.is_empty()
}

/// The operator's own authorities for destinations, beside Mozilla's.
fn roots_in(root: &Path) -> PathBuf {
    root.join("egress").join("roots.pem")
}

/// A way out before there is a sandbox.
#[derive(Debug)]
pub(crate) struct PlannedWay {
    policy: EgressPolicy,
    usages: Vec<Usage>,
    root: PathBuf,
    trust: Trust,
    authority: Authority,
}

impl PlannedWay {
    /// The way out under `profile`, with what the operator keeps in the state directory at `root`; nothing if the profile
    /// allows no destination.
    ///
    /// # Errors
    /// When there should be one and cannot.
    pub(crate) fn of(profile: &Profile, root: &Path) -> Result<Option<Self>, WayError> {
        if !is_wanted(profile) {
            return Ok(None);
        }
        let policy = EgressPolicy::compile(profile);
        let names: BTreeSet<_> = policy
            .hosts()
            .map(|host| host.as_str().trim_start_matches("*."))
            .collect();
        let subtrees: Vec<_> = names
            .into_iter()
            .filter_map(|name| Name::parse(name).ok().map(Subtree::Name))
            .collect();
        let authority = Authority::new(&subtrees, &System, Arc::new(System));
        Ok(Some(Self {
            policy,
            usages: profile.egress.iter().filter_map(Usage::of).collect(),
            root: root.to_owned(),
            trust: trust(&roots_in(root))?,
            authority: authority.map_err(WayError::Authority)?,
        }))
    }

    /// What the sandbox has to have.
    pub(crate) fn way_out(&self) -> WayOut {
        WayOut {
            authority: self.authority.pem(),
        }
    }

    /// Serves `listener` for the call of `facts`, and records in `journal`.
    ///
    /// # Errors
    /// When the proxy cannot start.
    pub(crate) async fn open(
        self,
        listener: TcpListener,
        facts: &Facts,
        journal: Arc<Journal>,
    ) -> anyhow::Result<OpenWay> {
        let lent = Lent::of(&self.root, facts, self.usages).await;
        let origin = Origin {
            call: facts.decision,
            trace: facts.trace_id.clone(),
        };
        let records = Arc::new(Records::new(Arc::new(CallLog {
            facts: facts.clone(),
            journal,
        })));
        let rules = Arc::new(Rules::new(self.policy, facts)?);
        let made_up = MADE_UP.parse().map_err(|_| anyhow!("no such block"))?;
        let proxy = Proxy::new(Parts {
            judge: Arc::clone(&rules) as _,
            resolver: Arc::new(Names::new()),
            injector: Arc::clone(&lent) as _,
            filters: Arc::new(Scrubs::of(Arc::clone(&lent))),
            recorder: Arc::clone(&records) as _,
            clock: Arc::new(System),
            entropy: Arc::new(System),
            vetting: Vetting::default(),
            trust: self.trust,
            authority: self.authority,
            routes: Vec::new(),
            pins: Pins::new(made_up)?,
        })
        .context("the proxy cannot be set up")?;
        OpenWay::start(
            listener,
            Service {
                proxy,
                rules,
                origin,
                records,
                lent,
            },
        )
        .await
        .context("the way out cannot be served")
    }
}

/// Mozilla's authorities, and those of the operator's file if there is one.
fn trust(path: &Path) -> Result<Trust, WayError> {
    let bundled = Trust::bundled();
    match path.try_exists() {
        Ok(false) => return Ok(bundled),
        Ok(true) => {}
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Ok(bundled),
        // What cannot be looked at is said by who reads it.
        Err(_) => {}
    }
    let pem =
        read_file(path, MAX_ROOTS_BYTES as u64, Privacy::Configured).map_err(WayError::Roots)?;
    bundled
        .with_pem(&pem)
        .map_err(|error| WayError::Trust(path.display().to_string(), error))
}
