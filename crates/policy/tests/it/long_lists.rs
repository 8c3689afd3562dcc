//! Long lists are no deep ones: nothing recurses along them.

use std::thread;

use casemate_model::{
    DestinationClass, Digest, IsolationTier, Reach, RunMode, SideEffect, Strength,
};
use casemate_policy::{
    BundleParts, Decision, Destination, Engine, Inputs, Manifest, Profile, Syntax, Token, Verdict,
    Wish,
};

use crate::build::{NOW_MS, isolation};

const MANY: usize = 1_000;

/// So many names as the elements of a list.
fn list(count: usize, name: impl Fn(usize) -> String) -> String {
    let names: Vec<_> = (0..count).map(|nth| format!("\"{}\"", name(nth))).collect();
    names.join(", ")
}

/// A profile with so many tools, and with so many of everything else.
fn engine(tools: usize, others: usize) -> Engine {
    let words = |what: &str| list(others, |nth| format!("{what}-{nth}"));
    let domains = list(others, |nth| {
        let below = if nth % 2 == 0 { "*." } else { "" };
        format!("{below}a{nth}.example.com")
    });
    let text = format!(
        "route = \"long\"\nrisk_class = \"low\"\ntier = \"tool_limited\"\n\
         [identity]\nallowed_issuers = [{}]\nrequired_audience = \"us\"\nrequired_scopes = [{}]\nallowed_tenants = [{}]\n\
         [sandbox]\nfilesystem = \"workspace\"\nworkspace = \"/workspace\"\n\
         [sandbox.network]\nallowed_domains = [{domains}]\nblock_private_networks = true\nrequire_tls = true\n\
         [sandbox.limits]\nmax_runtime_ms = 1000\nmax_output_bytes = 1000\n\
         [tools]\nallowed = [{}]\napproval_required = []\n\
         [observability]\nrequired_trace_fields = []\nredact = []\n",
        words("issuer"),
        words("scope"),
        words("tenant"),
        list(tools, |nth| format!("tool.{nth}")),
    );
    let profile = Profile::parse(text.as_bytes(), Syntax::Toml);
    let parts = BundleParts {
        profiles: vec![profile.unwrap_or_else(|wrong| panic!("{wrong:?}"))],
        manifests: (0..tools).map(manifest).collect(),
        ..BundleParts::default()
    };
    Engine::compile(parts).unwrap_or_else(|faults| panic!("{}", faults[0]))
}

fn manifest(nth: usize) -> Manifest {
    let text = format!(
        "name = \"tool.{nth}\"\nside_effect = \"read\"\ntier = \"read_only\"\nscopes = [\"own-{nth}\"]\nidempotency = \"none\"\n\
         approval = \"profile\"\ndestinations = [\"*.example.com\"]\n"
    );
    Manifest::parse(text.as_bytes(), Syntax::Toml).unwrap()
}

/// Whoever has every scope and is last in every list asks for this tool, or for an access.
fn ask(engine: &Engine, tool: Option<usize>, others: usize, host: &str) -> Decision {
    let last = others - 1;
    let wish = tool.map_or_else(
        || Wish::Access("file.read".to_owned()),
        |nth| Wish::Tool(format!("tool.{nth}")),
    );
    let scopes = (0..MANY).flat_map(|nth| [format!("scope-{nth}"), format!("own-{nth}")]);
    engine.judge(&Inputs {
        policy: engine.digest(),
        route: "long".to_owned(),
        wish,
        side_effect: SideEffect::Read,
        tenant: format!("tenant-{last}"),
        user: "ada".to_owned(),
        agent: "agent".to_owned(),
        token: Token {
            issuer: format!("issuer-{last}"),
            subject: "ada".to_owned(),
            tenant: format!("tenant-{last}"),
            audience: "us".to_owned(),
            scopes: scopes.collect(),
            expires_at_ms: NOW_MS + 1,
            credential: String::new(),
            behalf: Vec::new(),
            bounds: Default::default(),
        },
        delegated: None,
        mode: RunMode::Autonomous,
        now_ms: NOW_MS,
        idempotency_key: false,
        action_hash: Some(Digest::of(b"action")),
        // What is done with a session goes nowhere.
        destination: tool.map(|_| Destination {
            host: host.to_owned(),
            class: DestinationClass::Public,
            reach: Reach::Global,
        }),
        approval: None,
        labels: None,
        budget: None,
        isolation: Some(isolation(IsolationTier::Vm, Strength::Enforced)),
        flaw: None,
    })
}

/// On a thread with the stack that a server's threads have.
fn with_a_small_stack(work: impl FnOnce() + Send + 'static) {
    let small = thread::Builder::new().stack_size(2 << 20);
    small.spawn(work).unwrap().join().unwrap();
}

fn answers(tools: usize, others: usize) {
    let engine = engine(tools, others);
    let (first, last) = ("x.a0.example.com", format!("a{}.example.com", others - 1));
    for (tool, host) in [(0, first), (tools - 1, last.as_str())] {
        let decision = ask(&engine, Some(tool), others, host);
        assert_eq!(decision.verdict, Verdict::Allow, "{decision:?}");
    }
    let beside = format!("a{others}.example.com");
    for (tool, host, reason) in [
        (0, "a0.example.com", "egress_denied"),
        (tools - 1, beside.as_str(), "egress_denied"),
        (tools, first, "missing_scope"),
    ] {
        let decision = ask(&engine, Some(tool), others, host);
        assert_eq!(decision.reason.as_str(), reason, "{decision:?}");
    }
    let access = ask(&engine, None, others, first);
    assert_eq!(access.verdict, Verdict::Allow, "{access:?}");
}

/// I15: a thousand domains, issuers, tenants and scopes are decided as two are.
#[test]
fn a_thousand_of_everything_but_tools() {
    with_a_small_stack(|| answers(2, MANY));
}

/// I15: so are a thousand tools.
#[test]
fn a_thousand_tools() {
    with_a_small_stack(|| answers(MANY, 2));
}
