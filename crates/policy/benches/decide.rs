//! What a decision costs at 10, 1 000 and 10 000 policies, beside a bare Cedar authorizer over five. Prints JSON.
//!
//! The five are seed 002's function as somebody would write it for one route. Bare Cedar is measured twice: with a request that was
//! built before, and with the request built natively for each decision, as every caller of it has to.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    error::Error,
    hint::black_box,
    str::FromStr as _,
    time::Instant,
};

use casemate_model::{
    Control, ControlName, DestinationClass, Digest, Isolation, IsolationTier, Reach, RunMode,
    SideEffect, Strength,
};
use casemate_policy::{
    BundleParts, Destination, Engine, Inputs, Manifest, Profile, Syntax, Token, Verdict, Wish,
};
use cedar_policy::{
    Authorizer, Context, Entities, Entity, EntityUid, PolicySet, Request, RestrictedExpression,
};
use serde_json::{Value, json};

type Failure = Box<dyn Error>;

/// Decisions that are measured of each kind.
const ROUNDS: usize = 20_000;
/// Of a scan of everything, which takes long.
const SCAN_ROUNDS: usize = 300;
/// Policies in all, about: each route has a tool and what can be done with its sessions.
const SIZES: [usize; 3] = [10, 1_000, 10_000];
/// Routes that are called in turn, of all that there are.
const IN_USE: usize = 16;
const NOW_MS: u64 = 1_795_000_000_000;

const FIVE: &str = r#"
permit (principal, action, resource == Tool::"orders.lookup")
when { context.scopes.containsAll(["orders:read", "refunds:draft"]) };
permit (principal, action, resource == Tool::"refunds.draft_refund")
when { context.scopes.containsAll(["orders:read", "refunds:draft"]) };
forbid (principal, action, resource)
unless { context.now < context.expires && context.audience == "support-agent-runtime"
    && context.token_tenant == context.tenant && ["acme", "globex"].contains(context.tenant) };
forbid (principal, action, resource)
unless { (action == Action::"read" || context.idempotency_key)
    && (!(context has destination) || ["api.example.com", "docs.example.com"].contains(context.destination)) };
forbid (principal, action, resource in Approval::"required")
unless { context has approval && context.approval.hash == context.hash && context.now < context.approval.expires };
"#;

fn main() -> Result<(), Failure> {
    let bare = bare()?;
    let mut ours = Vec::new();
    for size in SIZES {
        ours.push(engine_of(size)?);
    }
    let report = json!({ "bare Cedar, five policies": bare, "casemate": ours });
    #[expect(
        clippy::print_stdout,
        reason = "the report is what this program is for"
    )]
    {
        println!("{report:#}");
    }
    Ok(())
}

/// Bare Cedar.
fn bare() -> Result<Value, Failure> {
    let policies = PolicySet::from_str(FIVE)?;
    let authorizer = Authorizer::new();
    let (request, entities) = bare_request()?;
    if authorizer
        .is_authorized(&request, &policies, &entities)
        .decision()
        != cedar_policy::Decision::Allow
    {
        return Err("bare Cedar denies".into());
    }
    let built_before = measure(ROUNDS, || {
        black_box(authorizer.is_authorized(&request, &policies, &entities));
        Ok(())
    })?;
    let built_each_time = measure(ROUNDS, || {
        let (request, entities) = bare_request()?;
        black_box(authorizer.is_authorized(&request, &policies, &entities));
        Ok(())
    })?;
    Ok(json!({ "request built before": built_before, "request built each time": built_each_time }))
}

fn bare_request() -> Result<(Request, Entities), Failure> {
    let text = |text: &str| RestrictedExpression::new_string(text.to_owned());
    let scopes = ["orders:read", "refunds:draft"].map(text);
    let context = Context::from_pairs(
        [
            ("scopes", RestrictedExpression::new_set(scopes)),
            ("now", RestrictedExpression::new_long(1)),
            ("expires", RestrictedExpression::new_long(2)),
            ("audience", text("support-agent-runtime")),
            ("token_tenant", text("acme")),
            ("tenant", text("acme")),
            ("idempotency_key", RestrictedExpression::new_bool(true)),
            ("destination", text("api.example.com")),
            ("hash", text(&Digest::of(b"call").to_string())),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    )?;
    let tool = EntityUid::from_str("Tool::\"orders.lookup\"")?;
    let entity = Entity::new(tool.clone(), HashMap::new(), HashSet::new())?;
    let request = Request::new(
        EntityUid::from_str("User::\"ada\"")?,
        EntityUid::from_str("Action::\"read\"")?,
        tool,
        context,
        None,
    )?;
    Ok((request, Entities::from_entities([entity], None)?))
}

/// An engine of about so many policies, and what its decisions cost.
fn engine_of(size: usize) -> Result<Value, Failure> {
    // The grants of one route: one of its tool, nine of what can be done with sessions.
    let routes = (size / 10).max(1);
    let profiles = (0..routes).map(profile).collect::<Result<Vec<_>, _>>()?;
    let began = Instant::now();
    let engine = Engine::compile(BundleParts {
        digest: Digest::of(b"bench"),
        profiles,
        manifests: manifests()?,
        ..BundleParts::default()
    })
    .map_err(|faults| format!("{faults:?}"))?;
    let compiled_ms = began.elapsed().as_secs_f64() * 1e3;
    let count = engine.policies().policies().count();
    let in_turn = |routes: usize| (0..routes.min(1_024)).map(inputs).collect::<Vec<_>>();
    let allowed = decisions(&engine, &in_turn(routes.min(IN_USE)))?;
    let everywhere = decisions(&engine, &in_turn(routes))?;
    let mut refused = inputs(0);
    refused.token.audience = "another-service".to_owned();
    let denied = measure(ROUNDS, || {
        black_box(engine.judge(&refused));
        Ok(())
    })?;
    let (request, entities) = bare_request()?;
    let authorizer = Authorizer::new();
    let scanned = measure(SCAN_ROUNDS, || {
        black_box(authorizer.is_authorized(&request, engine.policies(), &entities));
        Ok(())
    })?;
    Ok(json!({
        "policies": count,
        "compiled ms": compiled_ms,
        "allowed": allowed,
        "every route in turn": everywhere,
        "denied": denied,
        "a scan of all by bare Cedar": scanned,
    }))
}

/// What the profile's tools are.
fn manifests() -> Result<Vec<Manifest>, Failure> {
    let tools = [
        ("orders.lookup", "read", "none"),
        ("policies.current_refund_policy", "read", "none"),
        ("refunds.draft_refund", "draft", "required"),
        ("refunds.issue_refund", "write", "required"),
        ("email.send_customer", "external_send", "required"),
    ];
    let manifest = |(name, side_effect, idempotency): (&str, &str, &str)| {
        let text = format!(
            "name = \"{name}\"\nside_effect = \"{side_effect}\"\ntier = \"tool_limited\"\nscopes = []\n\
             destinations = [\"api.example.com\"]\napproval = \"profile\"\nidempotency = \"{idempotency}\"\n"
        );
        let parsed = Manifest::parse(text.as_bytes(), Syntax::Toml);
        parsed.map_err(|faults| format!("{faults:?}").into())
    };
    tools.into_iter().map(manifest).collect()
}

/// What it costs to decide these in turn.
fn decisions(engine: &Engine, asked: &[Inputs]) -> Result<Value, Failure> {
    // Who asks first pays for gathering the candidates.
    for inputs in asked {
        let decision = engine.judge(inputs);
        if decision.verdict != Verdict::Allow {
            return Err(decision.detail.into());
        }
    }
    let mut nth = 0;
    measure(ROUNDS, || {
        nth = (nth + 1) % asked.len();
        black_box(engine.judge(asked.get(nth).ok_or("no inputs")?));
        Ok(())
    })
}

fn profile(nth: usize) -> Result<Profile, Failure> {
    let text = include_str!("../profiles/support_refund_assistant.json").replace(
        "\"route\": \"support_refund_assistant\"",
        &format!("\"route\": \"route-{nth}\", \"tier\": \"tool_limited\""),
    );
    Profile::parse(text.as_bytes(), Syntax::Json).map_err(|faults| format!("{faults:?}").into())
}

fn inputs(route: usize) -> Inputs {
    let control = |name: &ControlName| Control {
        name: *name,
        strength: Strength::Enforced,
        by: "kernel".to_owned(),
        note: String::new(),
    };
    let scopes: BTreeSet<_> = ["orders:read", "refunds:draft"].map(str::to_owned).into();
    Inputs {
        policy: Digest::of(b"bench"),
        route: format!("route-{route}"),
        wish: Wish::Tool("orders.lookup".to_owned()),
        side_effect: SideEffect::Read,
        tenant: "local".to_owned(),
        user: "ada".to_owned(),
        agent: "support".to_owned(),
        token: Token {
            issuer: "https://identity.example.com".to_owned(),
            subject: "ada".to_owned(),
            tenant: "local".to_owned(),
            audience: "support-agent-runtime".to_owned(),
            scopes,
            expires_at_ms: NOW_MS + 1,
            credential: String::new(),
            behalf: Vec::new(),
            bounds: Default::default(),
        },
        delegated: None,
        mode: RunMode::Autonomous,
        now_ms: NOW_MS,
        idempotency_key: true,
        action_hash: Some(Digest::of(b"call")),
        destination: Some(Destination {
            host: "api.example.com".to_owned(),
            class: DestinationClass::Public,
            reach: Reach::Global,
        }),
        approval: None,
        labels: None,
        budget: None,
        isolation: Some(Isolation {
            tier: IsolationTier::Namespace,
            controls: ControlName::ALL.iter().map(control).collect(),
        }),
        flaw: None,
    }
}

/// Median and 99th percentile, in microseconds.
fn measure(rounds: usize, mut once: impl FnMut() -> Result<(), Failure>) -> Result<Value, Failure> {
    for _ in 0..rounds / 10 {
        once()?;
    }
    let mut times = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let began = Instant::now();
        once()?;
        times.push(began.elapsed());
    }
    times.sort_unstable();
    let at = |percent: usize| {
        let time = times.get(times.len() * percent / 100);
        time.map(|time| time.as_secs_f64() * 1e6)
    };
    Ok(json!({ "p50 µs": at(50), "p99 µs": at(99) }))
}
