//! The way out of a call in a session: planned before it has a place, open while it runs.

use std::{
    convert::Infallible,
    future::pending,
    path::PathBuf,
    sync::{OnceLock, atomic::Ordering},
    time::Duration,
};

use casemate_model::{DecisionId, Reason, one_line};
use casemate_policy::Profile;
use casemate_ports::{Control, EgressError, Owner, SessionKeeper, WayOut, WayRules};
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use tokio::{sync::mpsc, time::timeout};

use super::{SessionStores, Sessions, consent::Asker, switched::Stop};
use crate::{
    Denied, Facts, Identified,
    way::{self, WayEvent},
};

/// How long egress has to say who vouches for destinations: longer than it takes to start.
const AUTHORITY_TIMEOUT: Duration = Duration::from_secs(15);

/// A way out before the call has a place.
pub(super) struct PlannedWay {
    rules: WayRules,
    authority: String,
    handover: PathBuf,
}

impl PlannedWay {
    /// Where the sockets of the call go.
    pub(super) fn handover(&self, decision: DecisionId) -> (DecisionId, PathBuf) {
        (decision, self.handover.clone())
    }
}

impl<K: SessionKeeper, P: SessionStores> Sessions<K, P> {
    /// Gives a call what it needs for its way out, if its profile allows any destination.
    pub(super) async fn plan_way(
        &self,
        mut identified: Identified,
        owner: &Owner,
        profile: &Profile,
    ) -> Result<(Identified, Option<PlannedWay>), Denied> {
        let Some(rules) = way::rules(profile) else {
            return Ok((identified, None));
        };
        if let Err(why) = identified.lead_out(&profile.base_urls) {
            return Err(identified.refuse(Reason::InvalidCall, &why, None));
        }
        let asked = timeout(AUTHORITY_TIMEOUT, self.egress.authority(owner, &rules));
        let asked = asked.await;
        let found = match asked {
            Ok(Ok(found)) => found
                .handover
                .map(|handover| (found.pem, handover))
                .ok_or_else(|| {
                    let why = "sockets of sessions are handed over nowhere";
                    EgressError::Refused(why.to_owned())
                }),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(EgressError::Late(
                "say who vouches for destinations".to_owned(),
            )),
        };
        let (authority, handover) = match found {
            Ok(found) => found,
            Err(error) => {
                let why = one_line(&error);
                return Err(identified.refuse(Reason::IsolationUnavailable, &why, None));
            }
        };
        let ports = match way::ports(profile) {
            Ok(ports) => ports,
            Err(error) => {
                let why = one_line(&error);
                return Err(identified.refuse(Reason::InvalidProfile, &why, None));
            }
        };
        let way_out = ports.map(|ports| WayOut {
            authority: authority.clone(),
            ports,
        });
        let planned = PlannedWay {
            rules,
            authority,
            handover,
        };
        Ok((identified.with_way_out(way_out), Some(planned)))
    }

    /// Opens the way out of a call that holds the right to run.
    pub(super) async fn open_way(
        &self,
        planned: Option<PlannedWay>,
        policy: &Profile,
        facts: &Facts,
    ) -> Result<Option<way::OpenWay>, EgressError> {
        let Some(planned) = planned else {
            return Ok(None);
        };
        let new = way::of_call(facts, &planned.authority, planned.rules);
        let (tenant, agent) = (facts.tenant(), &facts.ask.agent);
        let familiarity = way::Familiarity::of(policy, &self.stores, tenant, agent).await;
        let overseen = way::Overseen {
            familiarity,
            journal: self.journal.clone(),
            asks: way::Asks::People,
            decider: self.decider.clone(),
        };
        let egress = self.egress.as_ref();
        let opened = way::OpenWay::open(egress, new, None, facts, overseen).await;
        opened.map(Some)
    }

    /// Closes the way out when the call is stopped, asks people about requests that wait for them, and ends the call when the way
    /// out is lost: then it says why. Comes never.
    pub(super) async fn attend(
        &self,
        way: &mut Option<way::OpenWay>,
        asker: &Asker<'_>,
        attended: Attended<'_>,
    ) -> Infallible {
        let Attended {
            stop,
            program,
            lost,
            asked,
        } = attended;
        let Some(way) = way else {
            return pending().await;
        };
        let mut asking = FuturesUnordered::new();
        loop {
            let event = tokio::select! {
                biased;
                () = stop.stopped() => break,
                event = way.next() => event,
                Some(answered) = asking.next() => {
                    // It is over: only those that wait still end with the call.
                    asked.retain(|decision| *decision != answered);
                    continue;
                }
            };
            match event {
                WayEvent::Asked(question) => {
                    asked.push(question.request.decision);
                    question.holding.taken.store(true, Ordering::SeqCst);
                    asking.push(async move {
                        let decision = question.request.decision;
                        self.ask_people(asker, question).await;
                        decision
                    });
                }
                WayEvent::Lost(error) => {
                    let _ = lost.set(format!("its way out was lost: {}", one_line(&error)));
                    // Without one the caller went away, and what runs is killed for that.
                    if let Some(program) = program.upgrade() {
                        // A program that has ended takes nothing any more.
                        let _ = program.send(Control::Cancel).await;
                    }
                    return pending().await;
                }
            }
        }
        way.revoke();
        pending().await
    }

    /// Ends requests of a call that wait still, and says of each whether that is on record.
    pub(super) async fn end_requests(&self, asked: Vec<DecisionId>, way: &way::OpenWay) {
        for decision in asked {
            let recorded = self.end_request(decision).await;
            way.settle(decision, recorded);
        }
    }
}

/// What goes on beside a way out.
pub(super) struct Attended<'a> {
    pub(super) stop: &'a Stop,
    pub(super) program: &'a mpsc::WeakSender<Control>,
    /// Why it was lost, if it is.
    pub(super) lost: &'a OnceLock<String>,
    /// The requests about which people were asked, and have said nothing yet.
    pub(super) asked: &'a mut Vec<DecisionId>,
}
