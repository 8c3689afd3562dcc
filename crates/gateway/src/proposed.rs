//! The first state: somebody asks.

use std::io;

use casemate_model::{DecisionId, Entropy as IdEntropy, Reason, SandboxId};
use casemate_policy::{Claims, Verified};
use casemate_ports::InputFile;

use crate::{Ask, Clock, Denied, Entropy, Facts, Identified, Wait};

/// A call that somebody asks for. It has a name, and nothing else about it is known.
#[derive(Debug)]
pub struct Proposed {
    facts: Box<Facts>,
    inputs: Vec<InputFile>,
    sandbox: SandboxId,
}

impl Proposed {
    /// Names a call.
    ///
    /// # Errors
    /// When there is no entropy for its name.
    pub fn new(
        ask: Ask,
        inputs: Vec<InputFile>,
        clock: &dyn Clock,
        entropy: &dyn Entropy,
    ) -> io::Result<Self> {
        let at_ms = clock.now_ms();
        let mut random = [IdEntropy::default(); 2];
        entropy.fill(random.as_flattened_mut())?;
        let [first, second] = random;
        let decision = DecisionId::new(at_ms, first);
        let trace_id = ask.trace_id.clone().unwrap_or_else(|| trace_of(decision));
        let files = inputs.iter().map(|input| input.name.clone()).collect();
        Ok(Self {
            facts: Box::new(Facts {
                decision,
                at_ms,
                trace_id,
                ask,
                files,
                claims: None,
                terms: None,
                side_effect: None,
                isolation: None,
                call: None,
                action_hash: None,
                mode: None,
                inputs: None,
                ruling: None,
                wait: None,
                approval: None,
                lodging: None,
                quota: None,
                scan: None,
                replay_of: None,
            }),
            inputs,
            sandbox: SandboxId::new(at_ms, second),
        })
    }

    /// A call that waited and was approved, under the name that it has had since it was held.
    ///
    /// # Errors
    /// When there is no entropy for its sandbox's name.
    pub(crate) fn again(
        (decision, at_ms): (DecisionId, u64),
        wait: Wait,
        ask: Ask,
        inputs: Vec<InputFile>,
        clock: &dyn Clock,
        entropy: &dyn Entropy,
    ) -> io::Result<Self> {
        let mut proposed = Self::new(ask, inputs, clock, entropy)?;
        let facts = &mut proposed.facts;
        facts.decision = decision;
        facts.at_ms = at_ms;
        facts.wait = Some(wait);
        Ok(proposed)
    }

    /// The id that joins everything about this call.
    #[must_use]
    pub const fn decision(&self) -> DecisionId {
        self.facts.decision
    }

    /// The agent that asks, as it calls itself.
    #[must_use]
    pub fn agent(&self) -> &str {
        &self.facts.ask.agent
    }

    /// Its input files.
    pub(crate) fn inputs(&self) -> &[InputFile] {
        &self.inputs
    }

    /// Says who asks: what an authenticator answers for, never what was asked (R123, I14).
    ///
    /// # Errors
    /// When a name in the call could not be recorded or looked up.
    pub fn authenticate(mut self, claims: Verified<Claims>) -> Result<Identified, Denied> {
        self.facts.claims = Some(claims.get().clone());
        match self.facts.ask.bad_name() {
            None => Ok(Identified::new(
                self.facts,
                self.inputs,
                self.sandbox,
                claims,
            )),
            Some(flaw) => {
                self.facts.ask.cut_names();
                self.facts.trace_id = trace_of(self.facts.decision);
                Err(Denied::new(self.facts, Reason::InvalidCall, flaw))
            }
        }
    }
}

/// A W3C trace id: the 32 hex digits of the decision.
pub(crate) fn trace_of(decision: DecisionId) -> String {
    let text = decision.to_string();
    text.rsplit('_').next().unwrap_or_default().to_owned()
}
