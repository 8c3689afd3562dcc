//! Tests of policies as data: what is asked, and what must be answered.

use std::collections::BTreeSet;

use casemate_model::{
    Control, ControlName, Digest, Isolation, IsolationTier, Reason, RunMode, SideEffect, Strength,
};
use serde::Deserialize;

use crate::{
    arguments::Arguments,
    bundle::{BundleFault, PolicyFile},
    decide::{Access, CheckName, Decision, Verdict, destination},
    diagnostic::{Diagnostic, Fault, Report},
    engine::Engine,
    grant::needed,
    inputs::{Approval, Budget, Flaw, Inputs, Labels, Token, Wish},
    profile::Profile,
    visible::{message, quoted, shown},
};

/// When tests happen, in milliseconds since 1970, if they do not say it.
const NOW_MS: u64 = 1_795_000_000_000;
/// The most tests of one file.
pub const MAX_TESTS: usize = 10_000;

/// One test. What it does not say is as the profile wants it: the caller is one whom the profile accepts, with every scope of the tool,
/// an idempotency key and a sandbox that enforces everything.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trial {
    /// What it shows.
    pub name: String,
    route: String,
    tool: Option<String>,
    access: Option<String>,
    side_effect: Option<SideEffect>,
    arguments: Option<serde_json::Value>,
    #[serde(default)]
    caller: Caller,
    tenant: Option<String>,
    agent: Option<String>,
    delegated: Option<BTreeSet<String>>,
    mode: Option<RunMode>,
    now_ms: Option<u64>,
    idempotency_key: Option<bool>,
    destination: Option<String>,
    approval: Option<Given>,
    labels: Option<Labels>,
    budget_left: Option<u64>,
    tier: Option<IsolationTier>,
    #[serde(default)]
    lacks: Vec<ControlName>,
    /// What must be answered.
    pub expect: Verdict,
    /// Why.
    pub reason: Option<Reason>,
}

/// Who calls, where that is not whom the profile accepts.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Caller {
    issuer: Option<String>,
    subject: Option<String>,
    tenant: Option<String>,
    audience: Option<String>,
    scopes: Option<BTreeSet<String>>,
    expires_in_ms: Option<i64>,
}

/// Which approval there is.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Given {
    Valid,
    Expired,
    OtherCall,
    ByRequester,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    test: Vec<Trial>,
}

/// How a test ended.
#[derive(Clone, Debug)]
pub struct Tried {
    /// What it shows.
    pub name: String,
    /// What was answered.
    pub decision: Decision,
    /// What was expected instead, if something was.
    pub failure: Option<String>,
}

impl Trial {
    /// Reads a file of tests.
    ///
    /// # Errors
    /// Where it is wrong.
    pub fn read(file: &PolicyFile) -> Result<Vec<Self>, BundleFault> {
        let fault = |at: usize, message: String, hint: &str| {
            let mut report = Report::new(&file.text);
            report.add(at, "", || Fault::new(message, hint));
            let found = report
                .finish(())
                .err()
                .and_then(|found| found.into_iter().next());
            BundleFault {
                file: file.name.clone(),
                diagnostic: found.unwrap_or_else(|| Diagnostic {
                    line: 1,
                    column: 1,
                    path: String::new(),
                    message: String::new(),
                    hint: String::new(),
                }),
            }
        };
        let text = str::from_utf8(&file.text).map_err(|error| {
            fault(
                error.valid_up_to(),
                "not UTF-8".to_owned(),
                "save it as UTF-8",
            )
        })?;
        let read: File = toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            fault(
                at,
                message(error.message()),
                "see docs/reference/policy-tests.md",
            )
        })?;
        if read.test.is_empty() {
            return Err(fault(
                0,
                "it has no tests".to_owned(),
                "add a `[[test]]`, or leave the file out",
            ));
        }
        if read.test.len() > MAX_TESTS {
            return Err(fault(
                0,
                format!("more than {MAX_TESTS} tests"),
                "split the file",
            ));
        }
        for test in &read.test {
            if test.tool.is_some() == test.access.is_some() {
                let message = format!(
                    "the test {} needs `tool` or `access`, and not both",
                    quoted(&test.name)
                );
                return Err(fault(0, message, "name what is asked for"));
            }
            let known = |access: &str| Access::KINDS.iter().any(|kind| kind.as_str() == access);
            if let Some(access) = test.access.as_deref().filter(|access| !known(access)) {
                let message = format!(
                    "the test {} asks for {}, which nobody can do with a session",
                    quoted(&test.name),
                    quoted(access)
                );
                let kinds: Vec<_> = Access::KINDS.iter().map(|kind| kind.as_str()).collect();
                return Err(fault(
                    0,
                    message,
                    &format!("write one of {}", kinds.join(", ")),
                ));
            }
        }
        Ok(read.test)
    }

    /// Asks what the test asks.
    #[must_use]
    pub fn run(&self, engine: &Engine) -> Tried {
        let decision = match engine.profile(&self.route) {
            Some(profile) => engine.judge(&self.inputs(engine, profile)),
            None => engine.judge(&self.inputs(engine, &Profile::blank())),
        };
        let (verdict, reason) = (decision.verdict, decision.reason);
        let reason_fits = self.reason.is_none_or(|wanted| wanted == reason);
        let failure = (verdict != self.expect || !reason_fits).then(|| {
            let wanted = self
                .reason
                .map_or_else(String::new, |reason| format!(" ({reason})"));
            format!(
                "expected {}{wanted}, got {} ({reason}): {}",
                self.expect.as_str(),
                verdict.as_str(),
                decision.detail
            )
        });
        Tried {
            name: shown(&self.name),
            decision,
            failure,
        }
    }

    /// What a decision about it is made from.
    #[must_use]
    pub fn inputs(&self, engine: &Engine, profile: &Profile) -> Inputs {
        let caller = &self.caller;
        let first = |words: &[String]| words.first().cloned().unwrap_or_default();
        let now_ms = self.now_ms.unwrap_or(NOW_MS);
        let subject = caller.subject.clone().unwrap_or_else(|| "user".to_owned());
        let own = caller
            .tenant
            .clone()
            .unwrap_or_else(|| first(&profile.identity.allowed_tenants));
        let facts = self.tool.as_deref().and_then(|tool| engine.tool(tool));
        let wish = match (&self.tool, &self.access) {
            (Some(tool), _) => Wish::Tool(tool.clone()),
            (None, access) => Wish::Access(access.clone().unwrap_or_default()),
        };
        let side_effect = self.side_effect.unwrap_or_else(|| match &wish {
            Wish::Tool(_) => facts
                .and_then(|facts| facts.side_effect)
                .unwrap_or(SideEffect::ExternalSend),
            Wish::Access(access) => Access::KINDS
                .iter()
                .find(|kind| kind.as_str() == access)
                .map_or(SideEffect::Draft, |kind| kind.side_effect()),
        });
        let scopes = match (&caller.scopes, &self.tool) {
            (Some(scopes), _) => scopes.clone(),
            (None, Some(tool)) => needed(profile, tool, facts).map(str::to_owned).collect(),
            (None, None) => {
                let tools = profile.tools.listed();
                let needed = tools.flat_map(|tool| needed(profile, tool, engine.tool(tool)));
                needed.map(str::to_owned).collect()
            }
        };
        let action = Digest::of(self.name.as_bytes());
        let after = caller.expires_in_ms.unwrap_or(60_000);
        Inputs {
            policy: engine.digest(),
            route: self.route.clone(),
            side_effect,
            tenant: self.tenant.clone().unwrap_or_else(|| own.clone()),
            user: subject.clone(),
            agent: self.agent.clone().unwrap_or_else(|| "agent".to_owned()),
            token: Token {
                issuer: caller
                    .issuer
                    .clone()
                    .unwrap_or_else(|| first(&profile.identity.allowed_issuers)),
                subject: subject.clone(),
                tenant: own,
                audience: caller
                    .audience
                    .clone()
                    .unwrap_or_else(|| profile.identity.required_audience.clone()),
                scopes,
                expires_at_ms: now_ms.saturating_add_signed(after),
                credential: String::new(),
                behalf: Vec::new(),
                bounds: Default::default(),
            },
            delegated: self.delegated.clone(),
            mode: self.mode.unwrap_or(RunMode::Autonomous),
            now_ms,
            idempotency_key: self.idempotency_key.unwrap_or(true),
            // Nobody approves what is no call.
            action_hash: self.tool.is_some().then_some(action),
            destination: self
                .destination
                .as_deref()
                .map(|host| destination(Some(profile), host)),
            approval: self
                .approval
                .map(|given| given.of(action, &subject, now_ms)),
            labels: self.labels,
            budget: self.budget_left.map(|left| Budget { left }),
            isolation: self.tool.is_some().then(|| self.isolation()),
            flaw: self.flaw(engine),
            wish,
        }
    }

    fn isolation(&self) -> Isolation {
        let given = |name: &&ControlName| !self.lacks.contains(name);
        let controls: Vec<_> = ControlName::ALL.iter().filter(given).copied().collect();
        everything_enforced(self.tier.unwrap_or(IsolationTier::Vm), &controls)
    }

    /// What is wrong with the arguments, if the test has some.
    fn flaw(&self, engine: &Engine) -> Option<Flaw> {
        let (arguments, tool) = (self.arguments.as_ref()?, self.tool.as_deref()?);
        let manifest = engine.manifest(tool)?;
        let refused = |detail: String| Flaw {
            check: CheckName::Call,
            reason: Reason::InvalidCall,
            detail,
        };
        match Arguments::parse(arguments.to_string().as_bytes()) {
            Ok(arguments) => {
                let fault = manifest.check(&arguments).err()?;
                Some(refused(fault.to_string()))
            }
            Err(fault) => Some(refused(fault.to_string())),
        }
    }
}

/// A boundary that enforces these controls whole.
pub(crate) fn everything_enforced(tier: IsolationTier, controls: &[ControlName]) -> Isolation {
    let control = |name: &ControlName| Control {
        name: *name,
        strength: Strength::Enforced,
        by: "supposed".to_owned(),
        note: String::new(),
    };
    Isolation {
        tier,
        controls: controls.iter().map(control).collect(),
    }
}

impl Given {
    fn of(self, action: Digest, requester: &str, now_ms: u64) -> Approval {
        let valid = Approval {
            action_hash: action,
            approver: "approver".to_owned(),
            expires_at_ms: now_ms.saturating_add(60_000),
        };
        match self {
            Self::Valid => valid,
            Self::Expired => Approval {
                expires_at_ms: now_ms,
                ..valid
            },
            Self::OtherCall => Approval {
                action_hash: Digest::of(b"another call"),
                ..valid
            },
            Self::ByRequester => Approval {
                approver: requester.to_owned(),
                ..valid
            },
        }
    }
}
