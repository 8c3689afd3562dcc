//! What may be done with sessions beside calls: decided by their profiles, and recorded.

use std::sync::Arc;

use casemate_model::{ContextId, Reason, SessionId, one_line};
use casemate_policy::{Access, AccessRequest, Decision, RoutePolicy, Verdict};
use casemate_ports::SessionKeeper;

use super::{Live, SessionError, SessionStores, Sessions, bounds, lodge::Stay, switched::About};
use crate::{
    Caller, Done, Lodging, Terms,
    deed::{Deed, End, OpenDeed, Subject},
};

/// What somebody wants to do with a session.
pub(super) struct Intent<'a> {
    pub(super) caller: &'a Caller,
    pub(super) access: Access<'a>,
    pub(super) lodging: Lodging,
    pub(super) subject: Subject,
}

impl<'a> Intent<'a> {
    pub(super) fn within(caller: &'a Caller, access: Access<'a>, session: SessionId) -> Self {
        Self {
            caller,
            access,
            lodging: Lodging {
                session: Some(session),
                ..Lodging::default()
            },
            subject: Subject::default(),
        }
    }

    pub(super) fn about(self, subject: Subject) -> Self {
        Self { subject, ..self }
    }

    pub(super) fn context(mut self, context: ContextId) -> Self {
        self.lodging.context = Some(context);
        self
    }
}

impl<K: SessionKeeper, P: SessionStores> Sessions<K, P> {
    /// Lets something happen to a session of the caller's: it is on disk when this returns. A refusal is
    /// too.
    pub(super) async fn permit(
        &self,
        intent: Intent<'_>,
        session: SessionId,
    ) -> Result<(Arc<Live>, OpenDeed<'_>), SessionError> {
        let claims = intent.caller.claims.get();
        let live = match self.named(&intent.caller.owner(), session).await {
            Ok(live) if bounds::reaches(claims, &live) => live,
            // Whose thread was what is over is not known here.
            Err(error) if claims.bounds.is_open() => {
                return Err(self.turn_away(intent, None, error));
            }
            Ok(_) | Err(_) => {
                return Err(self.turn_away(intent, None, SessionError::Unknown(session)));
            }
        };
        let open = self.permit_in(intent, &live).await?;
        Ok((live, open))
    }

    /// As [`Sessions::permit`], when the session is found already.
    pub(super) async fn permit_in(
        &self,
        intent: Intent<'_>,
        live: &Live,
    ) -> Result<OpenDeed<'_>, SessionError> {
        let gives_up = matches!(intent.access, Access::DestroySession | Access::CloseContext);
        match self.under(live) {
            Some(profile) => self.decide(intent, &profile),
            // No profile has to allow its owner to give it up.
            None if gives_up => {
                let ruling = Decision {
                    verdict: Verdict::Allow,
                    reason: Reason::Allowed,
                    detail: "its profile is gone, and its owner gives it up".to_owned(),
                    checks: Vec::new(),
                    policies: Vec::new(),
                };
                self.record(self.deed(intent, None, ruling)?)
            }
            None => {
                let error = self.outgrown(live, Stay::Named).await;
                Err(self.turn_away(intent, None, error))
            }
        }
    }

    /// Decides, and writes to disk what was decided.
    pub(super) fn decide(
        &self,
        intent: Intent<'_>,
        policy: &RoutePolicy,
    ) -> Result<OpenDeed<'_>, SessionError> {
        let stopped = self
            .access_is_on(&intent, &policy.route)
            .map_err(|why| (Reason::KillSwitch, why));
        let outside = bounds::access(&intent).map_err(|why| (Reason::MissingScope, why));
        if let Err((reason, detail)) = stopped.and(outside) {
            let ruling = Decision {
                verdict: Verdict::Deny,
                reason,
                detail,
                checks: Vec::new(),
                policies: Vec::new(),
            };
            return self.record(self.deed(intent, Some(policy), ruling)?);
        }
        let (inputs, ruling) = policy.decide_access(&AccessRequest {
            route: &policy.route,
            agent: &intent.caller.agent,
            access: intent.access,
            claims: &intent.caller.claims,
            now_ms: self.clock.now_ms(),
            mode: policy.modes.ceiling,
        });
        let mut deed = self.deed(intent, Some(policy), ruling)?;
        deed.inputs = inputs;
        self.record(deed)
    }

    /// Whether no switch stops it; otherwise why. A session is given up all the same.
    fn access_is_on(&self, intent: &Intent<'_>, route: &str) -> Result<(), String> {
        if matches!(intent.access, Access::DestroySession | Access::CloseContext) {
            return Ok(());
        }
        let about = About::access(intent.caller, route);
        self.switched_on(&about).map(drop)
    }

    fn record(&self, deed: Deed) -> Result<OpenDeed<'_>, SessionError> {
        if deed.ruling.verdict == Verdict::Allow {
            return self.journal.begin(deed).map_err(SessionError::Unrecorded);
        }
        self.journal
            .refuse(&deed)
            .map_err(SessionError::Unrecorded)?;
        Err(SessionError::Refused {
            decision: deed.decision,
            session: deed.lodging.session,
            reason: deed.ruling.reason,
            detail: deed.ruling.detail,
        })
    }

    /// Records that something cannot be done because of what it was to be done with.
    pub(super) fn turn_away(
        &self,
        intent: Intent<'_>,
        policy: Option<&RoutePolicy>,
        error: SessionError,
    ) -> SessionError {
        let ruling = Decision {
            verdict: Verdict::Deny,
            reason: error.reason(),
            detail: one_line(&error),
            checks: Vec::new(),
            policies: Vec::new(),
        };
        let recorded = self
            .deed(intent, policy, ruling)
            .and_then(|deed| self.journal.refuse(&deed).map_err(SessionError::Unrecorded));
        match recorded {
            Ok(()) => error,
            Err(unrecorded) => unrecorded,
        }
    }

    fn deed(
        &self,
        intent: Intent<'_>,
        policy: Option<&RoutePolicy>,
        ruling: Decision,
    ) -> Result<Deed, SessionError> {
        let named = self.journal.deed_name();
        let (decision, trace_id) = named.map_err(SessionError::Unrecorded)?;
        Ok(Deed {
            decision,
            trace_id,
            caller: intent.caller.clone(),
            access: intent.access.as_str(),
            side_effect: intent.access.side_effect(),
            terms: policy.map(Terms::of),
            inputs: None,
            ruling,
            lodging: intent.lodging,
            subject: intent.subject,
        })
    }

    /// The policy under which a session was opened, if its profile is still one of ours.
    pub(super) fn under(&self, live: &Live) -> Option<RoutePolicy> {
        let governing = self.policies.current().ok()?;
        let mut policies = governing.values();
        policies
            .find(|policy| policy.digest() == live.profile)
            .cloned()
    }
}

/// Records how something ended, and says what came of it.
pub(super) fn conclude<T>(
    mut open: OpenDeed<'_>,
    result: Result<T, SessionError>,
) -> Result<Done<T>, SessionError> {
    let end = match &result {
        Ok(_) => End::Done,
        Err(error) => {
            open.deed.subject.error = Some(one_line(error));
            End::Failed(error.reason())
        }
    };
    let closed = open.close(end);
    let value = result?;
    let decision = closed.map_err(SessionError::Unrecorded)?;
    Ok(Done { decision, value })
}
