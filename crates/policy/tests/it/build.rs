//! Calls and callers that are allowed, for tests to spoil.

use std::collections::BTreeMap;

use casemate_model::{
    Call, Control, ControlName, Isolation, IsolationTier, Program, RunMode, SideEffect, Strength,
};
use casemate_policy::{
    Approval, Authenticator, Claims, Decision, DomainRule, Engine, Inputs, Labels, Profile,
    Request, Syntax, Verified,
};

/// The seeds' profile, byte for byte.
pub(crate) const SEED: &[u8] = include_bytes!("../../profiles/support_refund_assistant.json");
/// When every test happens.
pub(crate) const NOW_MS: u64 = 1_795_000_000_000;

pub(crate) fn seed_profile() -> Profile {
    Profile::parse(SEED, Syntax::Json).unwrap()
}

/// A decision to be made, all of its parts owned.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) profile: Profile,
    pub(crate) call: Call,
    /// What an interpreter would run.
    pub(crate) source: Option<Vec<u8>>,
    pub(crate) claims: Claims,
    pub(crate) isolation: Isolation,
    pub(crate) mode: RunMode,
    pub(crate) approval: Option<Approval>,
    pub(crate) labels: Option<Labels>,
}

impl Case {
    /// `casemate run` of Python under the built-in profile: allowed.
    pub(crate) fn run() -> Self {
        let profile = Profile::builtin().unwrap();
        Self {
            call: Call {
                tenant: "local".into(),
                user: "uid:1000".into(),
                agent: "local".into(),
                route: profile.route.clone(),
                tool: "python".into(),
                side_effect: SideEffect::Draft,
                destination: None,
                idempotency_key: Some("key".into()),
                within: None,
                program: Program {
                    argv: vec!["python3".into(), "-".into()],
                    cell: None,
                    terminal: false,
                    code: None,
                    env: BTreeMap::new(),
                    inputs: Vec::new(),
                },
                limits: profile.sandbox.limits,
                policy: profile.digest(),
            },
            source: None,
            claims: Claims {
                issuer: "casemate:local".into(),
                subject: "uid:1000".into(),
                tenant: "local".into(),
                audience: "casemate-run".into(),
                scopes: ["code:execute".to_owned()].into(),
                expires_at_ms: NOW_MS + 1,
                credential: "uid:1000".into(),
                behalf: Vec::new(),
                bounds: Default::default(),
            },
            isolation: isolation(IsolationTier::Namespace, Strength::Enforced),
            mode: RunMode::Autonomous,
            approval: None,
            labels: None,
            profile,
        }
    }

    /// A support agent that looks an order up under the seeds' profile: allowed.
    pub(crate) fn support() -> Self {
        let profile = seed_profile();
        let mut case = Self::run();
        case.call.route = profile.route.clone();
        case.call.policy = profile.digest();
        case.call.tool = "orders.lookup".into();
        case.call.side_effect = SideEffect::Read;
        case.call.limits = profile.sandbox.limits;
        case.claims.issuer = "https://identity.example.com".into();
        case.claims.audience = "support-agent-runtime".into();
        case.claims.scopes = profile.identity.required_scopes.iter().cloned().collect();
        case.profile = profile;
        case
    }

    pub(crate) fn decide(&self) -> Decision {
        let engine = self.engine();
        engine.judge(&self.inputs(&engine))
    }

    pub(crate) fn engine(&self) -> Engine {
        Engine::of_profile(self.profile.clone().into()).unwrap()
    }

    pub(crate) fn inputs(&self, engine: &Engine) -> Inputs {
        let claims = Verified::vouch(self.claims.clone(), Authenticator::LocalUser);
        engine.inputs(&Request {
            call: &self.call,
            action: self.call.action_hash().unwrap(),
            source: self.source.as_deref(),
            claims: &claims,
            isolation: &self.isolation,
            now_ms: NOW_MS,
            mode: self.mode,
            approval: self.approval.as_ref(),
            labels: self.labels,
        })
    }
}

/// A sandbox with every control of the same strength.
pub(crate) fn isolation(tier: IsolationTier, strength: Strength) -> Isolation {
    let control = |name: &ControlName| Control {
        name: *name,
        strength,
        by: "test".into(),
        note: String::new(),
    };
    Isolation {
        tier,
        controls: ControlName::ALL.iter().map(control).collect(),
    }
}

/// A rule as a profile would have it.
pub(crate) fn domains(rule: &str) -> Vec<DomainRule> {
    let text = String::from_utf8(SEED.to_vec()).unwrap();
    let text = text.replace(
        r#""api.example.com", "docs.example.com""#,
        &format!("\"{rule}\""),
    );
    let profile = Profile::parse(text.as_bytes(), Syntax::Json).unwrap();
    profile.sandbox.network.allowed_domains
}
