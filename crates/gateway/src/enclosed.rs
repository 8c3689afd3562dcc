//! The third state: its sandbox is being made.

use std::fmt;

use casemate_model::{
    Call, CellForm, DecisionId, Digest, InputDigest, Program, Reason, SideEffect,
};
use casemate_policy::{Claims, RoutePolicy, Verified};
use casemate_ports::{Echo, Sandbox};

use crate::{Checked, Denied, Facts, Manifest, Refused, evidence::Evidence};

/// A call whose sandbox is being made. If it is dropped, so is the sandbox.
pub struct Enclosed<S> {
    facts: Box<Facts>,
    sandbox: S,
    policy: RoutePolicy,
    side_effect: SideEffect,
    claims: Verified<Claims>,
}

impl<S: Sandbox> Enclosed<S> {
    pub(crate) const fn new(
        facts: Box<Facts>,
        sandbox: S,
        policy: RoutePolicy,
        tool: Manifest,
        claims: Verified<Claims>,
    ) -> Self {
        Self {
            facts,
            sandbox,
            policy,
            side_effect: tool.side_effect,
            claims,
        }
    }

    /// The id that joins everything about this call.
    #[must_use]
    pub const fn decision(&self) -> DecisionId {
        self.facts.decision
    }

    /// The policy that it is proposed under.
    #[must_use]
    pub fn policy(&self) -> RoutePolicy {
        self.policy.clone()
    }

    /// Waits until the sandbox is complete, and puts the call into the canonical form that is decided on,
    /// approved, recorded and run.
    ///
    /// # Errors
    /// When the sandbox cannot be made, or holds another source than the one that was asked for.
    pub async fn check(mut self) -> Result<Checked<S>, Denied> {
        let ready = match self.sandbox.ready().await {
            Ok(ready) => ready,
            Err(error) => return Err(Denied::by_keeper(self.facts, &error)),
        };
        self.facts.isolation = Some(ready.isolation.clone());
        let hashed = self
            .call(ready.inputs)
            .and_then(|call| match call.action_hash() {
                Ok(action) => Ok((call, action)),
                Err(error) => Err(error.to_string()),
            });
        let (call, action) = match hashed {
            Ok(hashed) => hashed,
            Err(detail) => return Err(Denied::new(self.facts, Reason::InvalidCall, detail)),
        };
        let evidence = Box::new(Evidence {
            call,
            action,
            isolation: ready.isolation,
            claims: self.claims,
        });
        Ok(Checked::new(self.facts, evidence, self.sandbox))
    }

    /// Gives up because nothing can be recorded; `why` is one line for people.
    #[must_use]
    pub fn without_record(self, why: &str) -> Refused {
        Refused::unrecorded(self.facts, why)
    }

    fn call(&self, inputs: Vec<InputDigest>) -> Result<Call, String> {
        let ask = &self.facts.ask;
        let claims = self.claims.get();
        Ok(Call {
            tenant: claims.tenant.clone(),
            user: claims.subject.clone(),
            agent: ask.agent.clone(),
            route: self.policy.route.clone(),
            tool: ask.tool.clone(),
            side_effect: self.side_effect,
            destination: ask.destination.clone(),
            idempotency_key: ask.key_of(self.facts.decision),
            within: ask.within.clone(),
            program: Program {
                argv: ask.command.argv.clone(),
                code: self.code(&inputs)?,
                cell: ask.command.cell.as_ref().map(|cell| match cell.echo {
                    Echo::Last => CellForm::Notebook,
                    Echo::Nothing => CellForm::Script,
                }),
                terminal: ask.command.terminal.is_some(),
                env: ask.command.env.clone(),
                inputs,
            },
            limits: ask.limits,
            policy: self.policy.policy_digest(),
        })
    }

    /// The digest of the call's source, as the sandbox holds it or will be sent it.
    fn code(&self, inputs: &[InputDigest]) -> Result<Option<Digest>, String> {
        let (command, code) = (&self.facts.ask.command, &self.facts.ask.code);
        let Some(code) = code else {
            return match command.cell {
                None => Ok(None),
                Some(_) => Err("the call has a cell without its source".to_owned()),
            };
        };
        let digest = Digest::of(&code.source);
        let held = match (&command.cell, &code.input) {
            (Some(cell), None) => cell.source == code.source,
            (None, Some(name)) => inputs
                .iter()
                .any(|input| input.name == *name && input.sha256 == digest),
            (Some(_), Some(_)) | (None, None) => false,
        };
        match (held, &code.input) {
            (true, _) => Ok(Some(digest)),
            (false, Some(name)) if command.cell.is_none() => {
                Err(format!("`{name}` changed while it was read"))
            }
            (false, _) => Err("the call's source is not what would run".to_owned()),
        }
    }
}

impl<S> fmt::Debug for Enclosed<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Enclosed").field(&self.facts).finish()
    }
}
