//! The second state: it is known who asks.

use casemate_authority::{Board, Epoch, Stopped, Subject};
use casemate_model::{Reason, SandboxId};
use casemate_policy::{BaseUrl, Claims, RoutePolicy, Verified};
use casemate_ports::{InputFile, Keeper, KeeperError, SandboxSpec, WayOut};

use crate::{
    Denied, Enclosed, Facts, Lodging, Manifest, QuotaUse, Runs, Terms,
    entry::TRACE_FIELDS,
    limits::{MAX_CELL_BYTES, MAX_INPUTS},
    look::{look, look_at_program, refusal},
    mcp::{self, MCP_TOOL},
    way,
};

/// A call whose caller is known.
#[derive(Debug)]
pub struct Identified {
    facts: Box<Facts>,
    inputs: Vec<InputFile>,
    sandbox: SandboxId,
    claims: Verified<Claims>,
    way_out: Option<WayOut>,
}

impl Identified {
    pub(crate) const fn new(
        facts: Box<Facts>,
        inputs: Vec<InputFile>,
        sandbox: SandboxId,
        claims: Verified<Claims>,
    ) -> Self {
        Self {
            facts,
            inputs,
            sandbox,
            claims,
            way_out: None,
        }
    }

    /// The same, in a sandbox with a way out. Whoever gives it serves the sockets ([`crate::Leased::take_way_out`]).
    #[must_use]
    pub fn with_way_out(self, way_out: Option<WayOut>) -> Self {
        Self { way_out, ..self }
    }

    /// Adds the variables by which programs find their way out, which are no caller's to choose.
    pub(crate) fn lead_out(&mut self, base_urls: &[BaseUrl]) -> Result<(), String> {
        let env = &mut self.facts.ask.command.env;
        let ours = way::variables(base_urls);
        // A call that waited has them already.
        let chosen = env
            .iter()
            .find(|(name, value)| way::is_reserved(name) && ours.get(*name) != Some(*value));
        if let Some((name, _)) = chosen {
            return Err(format!(
                "the variable `{}` leads programs to their way out: leave it to casemate",
                name.escape_debug()
            ));
        }
        env.extend(ours);
        Ok(())
    }

    /// Starts to make the sandbox that the call would run in. What it really enforces, and the digests of
    /// its inputs, are part of what is decided (I7); until then it runs nothing.
    ///
    /// # Errors
    /// When no tool has the name asked for, a record could not have a field that the profile requires, or
    /// the sandbox cannot be made.
    pub async fn enclose<K: Keeper>(
        mut self,
        policy: &RoutePolicy,
        tools: &[Manifest],
        keeper: &K,
    ) -> Result<Enclosed<K::Sandbox>, Denied> {
        let terms = Terms::of(policy);
        if let Some(unknown) = terms
            .required
            .iter()
            .find(|name| !TRACE_FIELDS.contains(&name.as_str()))
        {
            let detail = format!(
                "observability.required_trace_fields: no record has a field `{unknown}`; there are {}",
                TRACE_FIELDS.join(", ")
            );
            return Err(Denied::new(self.facts, Reason::InvalidProfile, detail));
        }
        self.facts.terms = Some(terms);
        let of_server = match mcp::tool_of(policy, &self.facts.ask) {
            Ok(of_server) => of_server.is_some(),
            Err((reason, why)) => return Err(Denied::new(self.facts, reason, why)),
        };
        let own = tools.iter().find(|tool| tool.name == self.facts.ask.tool);
        let of_server = of_server.then(|| {
            let engine = policy.engine().ok();
            let manifest = engine.and_then(|engine| engine.manifest(&self.facts.ask.tool));
            Manifest {
                side_effect: manifest.map_or(MCP_TOOL.side_effect, |manifest| manifest.side_effect),
                ..MCP_TOOL
            }
        });
        let Some(tool) = own.copied().or(of_server) else {
            let detail = format!("there is no tool `{}`", self.facts.ask.tool.escape_debug());
            return Err(Denied::new(self.facts, Reason::InvalidCall, detail));
        };
        self.facts.side_effect = Some(tool.side_effect);
        let ask = &self.facts.ask;
        if !tool.runs.takes(&ask.command, ask.code.as_ref()) {
            let detail = match tool.runs {
                Runs::Python => {
                    "the tool `python` runs Python code: a program of the sandbox is for the tool `shell`"
                }
                Runs::Programs => "only the tool `python` has cells",
            };
            return Err(Denied::new(self.facts, Reason::InvalidCall, detail));
        }
        self = self.scanned(policy)?;
        let ask = &self.facts.ask;
        let cell = ask.command.cell.as_ref();
        if let Some(bytes) = cell.map(|cell| cell.source.len())
            && bytes > MAX_CELL_BYTES
        {
            let detail = format!("a cell has at most {MAX_CELL_BYTES} bytes, this one {bytes}");
            return Err(Denied::new(self.facts, Reason::InvalidCall, detail));
        }
        if self.inputs.len() > MAX_INPUTS {
            let detail = format!("{} input files; at most {MAX_INPUTS}", self.inputs.len());
            return Err(Denied::new(self.facts, Reason::InvalidCall, detail));
        }
        let spec = SandboxSpec {
            id: self.sandbox,
            // An excess is refused by the decision, in its place in the order; until then it is not given.
            limits: self.facts.ask.limits.at_most(&policy.sandbox.limits),
            inputs: self.inputs,
            way_out: self.way_out,
            violations: Some(policy.sandbox.violations),
        };
        match keeper.create(spec).await {
            Ok(sandbox) => Ok(Enclosed::new(
                self.facts,
                sandbox,
                policy.clone(),
                tool,
                self.claims,
            )),
            Err(error) => Err(Denied::by_keeper(self.facts, &error)),
        }
    }

    /// Looks at the source: what a profile forbids is refused before anything is made for it.
    pub(crate) fn scanned(mut self, policy: &RoutePolicy) -> Result<Self, Denied> {
        let report = match self.facts.scan.take() {
            Some(report) => report,
            // What it is called with is no source.
            None if policy.mcp_tool(&self.facts.ask.tool).is_some() => Box::new(look_at_program()),
            None => Box::new(look(self.facts.tenant(), &self.facts.ask)),
        };
        let refusal = refusal(&report, &policy.sandbox.scan_forbidden);
        self.facts.scan = Some(report);
        match refusal {
            None => Ok(self),
            Some(detail) => {
                self.facts.terms = Some(Terms::of(policy));
                Err(Denied::new(self.facts, Reason::ScanFinding, detail))
            }
        }
    }

    /// Whether no switch stops the call on `route`.
    ///
    /// # Errors
    /// What stops it.
    pub fn switched_on(&self, board: &Board, route: &str) -> Result<Epoch, Stopped> {
        let facts = &self.facts;
        board.check(&Subject {
            tenant: Some(facts.tenant()),
            user: facts.claims.as_ref().map(|claims| claims.subject.as_str()),
            agent: Some(&facts.ask.agent),
            route: (!route.is_empty()).then_some(route),
            tool: Some(&facts.ask.tool),
            destination: facts.ask.destination.as_deref(),
            ..Subject::default()
        })
    }

    /// What is known of the call.
    pub(crate) const fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Notes where the call is, or was meant to be.
    pub(crate) const fn lodge(&mut self, lodging: Lodging) {
        self.facts.lodging = Some(lodging);
    }

    /// Refuses the call before it has a sandbox.
    pub(crate) fn refuse(
        mut self,
        reason: Reason,
        detail: &str,
        quota: Option<QuotaUse>,
    ) -> Denied {
        self.facts.quota = quota;
        Denied::new(self.facts, reason, detail)
    }

    /// Refuses the call because there is no keeper to make its sandbox.
    #[must_use]
    pub fn without_keeper(self, error: &KeeperError) -> Denied {
        Denied::by_keeper(self.facts, error)
    }

    /// Refuses the call because there is no policy to decide by; `why` is one line for people.
    #[must_use]
    pub fn without_policy(self, reason: Reason, why: &str) -> Denied {
        Denied::new(self.facts, reason, why)
    }
}
